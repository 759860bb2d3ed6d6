"""Quantization: which tensors are stored in few bits, and how."""

from dataclasses import dataclass, replace
from typing import Literal

import mlx.core as mx

from ..errors import OptionError

Part = Literal["encoder", "adaptor", "llm"]
_PREFIXES = {
    "encoder": ("audio_encoder.", "ctc_decoder.", "ctc.", "encoder."),
    "adaptor": ("audio_adaptor.",),
    "llm": ("llm.", "decoder.", "seaco_decoder.", "hotword_output_layer."),
}
GROUP_SIZES, BITS = (32, 64, 128), (2, 3, 4, 5, 6, 8)  # that MLX can read
_NEVER = ("fsmn_block", "decoder.embed.")
_EMBEDDINGS = ("llm.model.embed_tokens.weight", "llm.lm_head.weight")


@dataclass(frozen=True)
class Quantization:
    """Store the weights of some parts as integers of 4, 6 or 8 bits, with a scale and an offset for each group.

    Weights that a checkpoint stores in as few bits or fewer stay as they are; those in more bits are quantized
    again from the values they stand for, with the error of both roundings. Rows that do not divide into groups of
    `group_size` use groups of 32 or stay as they are; norms and convolution kernels always stay.

    parts       the CTC branch belongs to "encoder", Paraformer's decoder to "llm"
    embeddings  include the LLM's token embeddings, which are also its output layer where the two are tied
    """

    bits: int = 4
    group_size: int = 64
    parts: tuple[Part, ...] = ("encoder", "adaptor", "llm")
    embeddings: bool = True

    def __post_init__(self) -> None:
        if self.bits not in (4, 6, 8):
            raise OptionError(f"quantization to {self.bits!r} bits: use 4, 6 or 8")
        if self.group_size not in GROUP_SIZES:
            raise OptionError(f"quantization in groups of {self.group_size!r}: use 32, 64 or 128")
        unknown = [part for part in self.parts if part not in _PREFIXES]
        if unknown or not self.parts:
            raise OptionError(f"quantization of parts {self.parts!r}: name some of {', '.join(_PREFIXES)}")

    def group_for(self, name: str, shape: tuple[int, ...]) -> int | None:
        """Return the group size for this tensor, None if it is not quantized."""
        if len(shape) != 2 or not name.endswith(".weight") or any(part in name for part in _NEVER):
            return None
        if name in _EMBEDDINGS and not self.embeddings:
            return None
        if not any(name.startswith(prefix) for part in self.parts for prefix in _PREFIXES[part]):
            return None
        return next((size for size in (self.group_size, 32) if shape[1] % size == 0), None)


PRESETS = {
    "llm-8bit": Quantization(8, parts=("llm",)),
    "llm-4bit": Quantization(4, parts=("llm",)),
    "all-8bit": Quantization(8),
    "all-4bit": Quantization(4),
}


def parse_quantization(quantize: "str | Quantization | None") -> Quantization | None:
    """Look up a preset's name; OptionError lists the names."""
    if quantize is None or isinstance(quantize, Quantization):
        return quantize
    if not isinstance(quantize, str) or quantize not in PRESETS:
        raise OptionError(f"quantize={quantize!r:.80}: use None, a Quantization, or one of {', '.join(PRESETS)}")
    return PRESETS[quantize]


def quantized(
    name: str, value: "mx.array | Packed", quantization: Quantization | None, dtype: mx.Dtype | None
) -> "mx.array | Packed":
    """Quantize a tensor of the network if `quantization` includes it; scales and offsets in `dtype` if given."""
    group_size = quantization.group_for(name, value.shape) if quantization else None
    if not group_size:
        return value
    if not isinstance(value, Packed):
        return Packed.pack(value.astype(dtype) if dtype else value, group_size, quantization.bits)
    if value.bits <= quantization.bits:
        return value
    matrix = value.expand(dtype or value.scales.dtype)
    return replace(Packed.pack(matrix, group_size, quantization.bits), made_from=value.bits)


@dataclass(frozen=True)
class Packed:
    """A quantized matrix: integers packed in uint32, with a scale and an offset for each group of a row.

    `made_from` is the number of bits before, where it was quantized from integers instead of floating-point numbers.
    """

    weight: mx.array
    scales: mx.array
    biases: mx.array
    group_size: int
    bits: int
    made_from: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.weight.shape[0], self.scales.shape[1] * self.group_size

    @property
    def precision(self) -> str:
        """The stored precision, in words."""
        return f"{self.bits}-bit" + (f" made from {self.made_from}-bit" if self.made_from else "")

    @classmethod
    def pack(cls, matrix: mx.array, group_size: int, bits: int) -> "Packed":
        """Quantize a matrix [rows, columns]."""
        return cls(*mx.quantize(matrix, group_size=group_size, bits=bits), group_size, bits)

    @classmethod
    def stack(cls, parts: "list[Packed]") -> "Packed":
        """Stack matrices vertically; rows are quantized one by one, so no value changes."""
        weight, scales, biases = (
            mx.concatenate([getattr(part, name) for part in parts]) for name in ("weight", "scales", "biases")
        )
        return cls(weight, scales, biases, parts[0].group_size, parts[0].bits)

    def rows(self, start: int, stop: int) -> "Packed":
        """Return some of the rows."""
        pick = slice(start, stop)
        return replace(self, weight=self.weight[pick], scales=self.scales[pick], biases=self.biases[pick])

    def with_dtype(self, dtype: mx.Dtype) -> "Packed":
        """Return the same integers with scales and offsets in another type."""
        return replace(self, scales=self.scales.astype(dtype), biases=self.biases.astype(dtype))

    def expand(self, dtype: mx.Dtype) -> mx.array:
        """Return the matrix in floating-point numbers."""
        return mx.dequantize(
            self.weight.astype(mx.uint32),
            self.scales.astype(dtype),
            self.biases.astype(dtype),
            group_size=self.group_size,
            bits=self.bits,
        )
