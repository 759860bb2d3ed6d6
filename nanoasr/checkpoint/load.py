"""Load a checkpoint folder into a network that is ready to run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from .. import backend
from ..audio.features import read_cmvn
from ..errors import CheckpointError, OptionError
from ..model.build import build
from ..model.config import AudioTokens
from .assemble import assemble, check_values
from .layouts import Layout, read_layout
from .quantize import Packed, Quantization, parse_quantization, quantized
from .sentencepiece import SentencePieces
from .sources import locate
from .token_list import TokenList
from .tokenizer import Tokenizer

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded network and what is needed to use it."""

    layout: Layout
    model: nn.Module  # Nano, SenseVoice or Paraformer, by `layout.family`
    tokenizer: Tokenizer | SentencePieces | TokenList
    cmvn: mx.array | None
    dtype: str
    precision: str  # in words
    notes: tuple[str, ...] = ()  # what a user should know of it

    @property
    def family(self) -> str:
        """The recognizer family: "nano", "sensevoice" or "paraformer"."""
        return self.layout.family


def load_checkpoint(
    source: str | None = None,
    quantize: str | Quantization | None = None,
    dtype: str | None = None,
    audio_tokens: AudioTokens | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Checkpoint:
    """Find `source` (see `sources.locate`) and load it; call on the worker thread.

    `on_progress` is called with the share that is read, from 0 to 1.
    """
    quantization = parse_quantization(quantize)
    check_dtype(dtype)
    if audio_tokens not in (None, "low", "full"):
        raise OptionError(f'audio_tokens={audio_tokens!r}: use "low", "full" or None for the checkpoint\'s own')
    declared = read_source(source)
    if audio_tokens:
        if declared.family != "nano":
            raise OptionError(f"audio_tokens={audio_tokens!r}: a {declared.family} checkpoint has no audio tokens")
        declared = replace(declared, config=replace(declared.config, audio_tokens=audio_tokens))
    # On a CPU only float32 products go through the BLAS; others are a hundred times slower.
    used = "float32" if backend.on_cpu else dtype or "bfloat16"
    stored: set[str] = set()
    layout, tensors = assemble(declared)
    check_parts(quantization, layout)
    tokenizer = load_tokenizer(layout)
    cmvn = read_cmvn(layout.cmvn) if isinstance(layout.cmvn, Path) else layout.cmvn
    model = build(layout.config)
    with mx.stream(mx.default_device()):
        count = len(tree_flatten(model.parameters()))
        for done, (name, value) in enumerate(tensors):
            # The same steps as in `convert`, so that both give the same weights.
            value = quantized(name, value, quantization, DTYPES.get(dtype))
            stored.add(value.precision if isinstance(value, Packed) else str(value.dtype).split(".")[-1])
            _place(model, layout, name, value, DTYPES[used])
            if on_progress:
                on_progress((done + 1) / count)
    model.eval()
    words = f"stored as {', '.join(sorted(stored))}, computed in {used}"
    cmvn = None if cmvn is None else mx.array(cmvn)
    if cmvn is not None:
        check_values("its CMVN", cmvn, layout)
    return Checkpoint(layout, model, tokenizer, cmvn, used, words, _notes(declared, layout))


def read_source(source: str | None) -> Layout:
    """Find a checkpoint and read its layout; a hub id that a download recorded goes with it."""
    located = locate(source)
    layout = read_layout(located.folder)
    return replace(layout, hub_id=located.hub_id or layout.hub_id)


def check_dtype(dtype: str | None) -> None:
    """Raise OptionError unless it is a type that the network can be computed in, or None."""
    if dtype is not None and dtype not in DTYPES:
        reason = "; float16 overflows in the adaptor" if dtype == "float16" else ""
        raise OptionError(f"dtype={dtype!r}: use {' or '.join(DTYPES)}{reason}")


def check_parts(quantization: Quantization | None, layout: Layout) -> None:
    """Raise OptionError if a checkpoint has none of the parts that are to be quantized."""
    known = {"sensevoice": ("encoder",), "paraformer": ("encoder", "llm")}.get(layout.family)
    if quantization and known and not {*known} & {*quantization.parts}:
        raise OptionError(
            f"quantize: a {layout.family} checkpoint has no {' or '.join(quantization.parts)} to quantize; use "
            f'"all-8bit", "all-4bit", or a Quantization of {" or ".join(known)}'
        )


def load_tokenizer(layout: Layout) -> Tokenizer | SentencePieces | TokenList:
    """Load the checkpoint's tokenizer; CheckpointError if it does not belong to its network."""
    if layout.family == "sensevoice":
        return SentencePieces.read(layout.tokenizer)
    if layout.family == "paraformer":
        return TokenList(*layout.files)
    tokenizer, rows = Tokenizer(layout.tokenizer), layout.config.llm.vocab_size
    if tokenizer.size > rows:
        raise CheckpointError(
            f"{tokenizer.path}: has {tokenizer.size} ids where the LLM has {rows}; it belongs to another checkpoint"
        )
    _ = tokenizer.end_ids  # raises if there are none
    return tokenizer


def _notes(declared: Layout, layout: Layout) -> tuple[str, ...]:
    name = (layout.hub_id or "").lower()
    if layout.family != "nano":
        return ()
    if layout.config.ctc or "mlt" in name or not (declared.config.ctc or "fun-asr-nano-2512" in name):
        return ()
    return (
        "these files have no CTC weights, so words have no times; the ModelScope copy of Fun-ASR-Nano-2512 has them "
        "(ms:FunAudioLLM/Fun-ASR-Nano-2512)",
    )


def _place(model: nn.Module, layout: Layout, name: str, value: "mx.array | Packed", dtype: mx.Dtype) -> None:
    if isinstance(value, Packed):
        check_values(name, value.scales, layout)
        check_values(name, value.biases, layout)
        if not backend.expands_quantized:
            _place_packed(model, name, value, dtype)
            return
        value = value.expand(dtype)
    value = value.astype(dtype)
    check_values(name, value, layout)
    *path, leaf = name.split(".")
    setattr(_module(model, path), leaf, value)


def _place_packed(model: nn.Module, name: str, value: Packed, dtype: mx.Dtype) -> None:
    *path, _ = name.split(".")
    dense = _module(model, path)
    kind = nn.QuantizedEmbedding if isinstance(dense, nn.Embedding) else nn.QuantizedLinear
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    module.group_size, module.bits, module.mode = value.group_size, value.bits, "affine"
    if kind is nn.QuantizedEmbedding:
        module.num_embeddings, module.dims = dense.weight.shape
    module.weight = value.weight
    module.scales, module.biases = value.scales.astype(dtype), value.biases.astype(dtype)
    if "bias" in dense:
        module.bias = dense.bias
    mx.eval(module.weight, module.scales, module.biases)
    setattr(_module(model, path[:-1]), path[-1], module)


def _module(model: nn.Module, path: list[str]) -> nn.Module:
    here = model
    for step in path:
        here = here[int(step)] if isinstance(here, list) else getattr(here, step)
    return here
