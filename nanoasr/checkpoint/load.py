"""A checkpoint folder -> the network in memory, ready to run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from .. import backend
from ..audio.features import read_cmvn
from ..errors import CheckpointError, OptionError
from ..model.config import AudioTokens
from ..model.nano import Nano
from .layouts import Layout, Tensor, read_layout
from .quantize import Packed, Quantization, parse_quantization, quantized
from .sources import find_checkpoint
from .tokenizer import Tokenizer

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16}
_FLOATING = ("float32", "bfloat16", "float16")
_GROUP_SIZES, _BITS = (32, 64, 128), (2, 3, 4, 5, 6, 8)  # that MLX can read
# The network's tensors that are made of several: fewer, larger products are what makes it fast.
_FUSED = {
    "self_attn.linear_q_k_v": ("self_attn.linear_q", "self_attn.linear_k", "self_attn.linear_v"),
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded network with all that it takes to use it."""

    layout: Layout
    model: Nano
    tokenizer: Tokenizer
    cmvn: mx.array | None
    dtype: str
    precision: str  # in words, for people


def load_checkpoint(
    source: str | None = None,
    quantize: str | Quantization | None = None,
    dtype: str | None = None,
    audio_tokens: AudioTokens | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Checkpoint:
    """Find `source` (see `find_checkpoint`) and read it; call on the worker thread.

    `on_progress` is called with the share that is read, from 0 to 1.
    """
    quantization = parse_quantization(quantize)
    check_dtype(dtype)
    if audio_tokens not in (None, "low", "full"):
        raise OptionError(f'audio_tokens={audio_tokens!r}: use "low", "full" or None, the checkpoint\'s own')
    layout = read_layout(find_checkpoint(source))
    if audio_tokens:
        layout = replace(layout, config=replace(layout.config, audio_tokens=audio_tokens))
    # On a CPU only float32 products go through the BLAS: all else is a hundred times slower, so is expanded.
    used = "float32" if backend.on_cpu else dtype or "bfloat16"
    stored: set[str] = set()
    layout, tensors = assemble(layout)
    tokenizer = load_tokenizer(layout)
    cmvn = mx.array(read_cmvn(layout.cmvn)) if layout.cmvn else None
    model = Nano(layout.config)
    with mx.stream(mx.default_device()):
        shapes = dict(tree_flatten(model.parameters()))
        for done, (name, value) in enumerate(tensors):
            # as `convert` does it, so that it makes no difference which of the two quantized
            value = quantized(name, value, quantization, DTYPES.get(dtype))
            stored.add(value.precision if isinstance(value, Packed) else str(value.dtype).split(".")[-1])
            if isinstance(value, Packed) and not backend.on_cpu:
                _place_packed(model, name, value, DTYPES[used])
            else:
                _place(model, name, value.expand(mx.float32) if isinstance(value, Packed) else value, used)
            if on_progress:
                on_progress((done + 1) / len(shapes))
    model.eval()
    words = f"stored as {', '.join(sorted(stored))}, computed in {used}"
    return Checkpoint(layout, model, tokenizer, cmvn, used, words)


def check_dtype(dtype: str | None) -> None:
    """OptionError unless it is one that the network can be computed in, or None."""
    if dtype is not None and dtype not in DTYPES:
        reason = "; float16 overflows in the adaptor" if dtype == "float16" else ""
        raise OptionError(f"dtype={dtype!r}: use {' or '.join(DTYPES)}{reason}")


def load_tokenizer(layout: Layout) -> Tokenizer:
    """The checkpoint's tokenizer; CheckpointError if it cannot be that of its LLM."""
    tokenizer, rows = Tokenizer(layout.tokenizer), layout.config.llm.vocab_size
    if tokenizer.size > rows:
        raise CheckpointError(f"{tokenizer.path}: has {tokenizer.size} ids where the LLM has {rows}; it is another's")
    _ = tokenizer.end_ids  # says so if there are none
    return tokenizer


def assemble(layout: Layout) -> tuple[Layout, Iterator[tuple[str, "mx.array | Packed"]]]:
    """The network's tensors one by one, fused, as the files store them; read when asked for, then forgotten.

    The layout comes back without its CTC branch where the files have no weights for it. CheckpointError lists
    every tensor that is missing, unknown or of the wrong shape, before anything is read.
    """
    tensors = layout.tensors()
    if layout.config.ctc and not any(name.startswith(("ctc.", "ctc_decoder.")) for name in tensors):
        layout = replace(layout, config=replace(layout.config, ctc=None))
    shapes = {name: array.shape for name, array in tree_flatten(Nano(layout.config).parameters())}
    plan = {name: [name] if name in tensors else _parts(name) for name in shapes}
    _check(layout, shapes, plan, tensors)

    def read() -> Iterator[tuple[str, mx.array | Packed]]:
        for name, sources in plan.items():
            columns = shapes[name][-1]
            values = [_read(tensors, source, columns) for source in sources]
            if len(values) == 1:
                yield name, values[0]
            elif len({(value.bits, value.group_size) if isinstance(value, Packed) else None for value in values}) > 1:
                # quantized in different ways, as recipes of mixed bits do
                yield name, mx.concatenate([v.expand(mx.float32) if isinstance(v, Packed) else v for v in values])
            elif isinstance(values[0], Packed):
                yield name, Packed.stack(values)
            else:
                yield name, mx.concatenate(values)

    return layout, read()


def split_fused(name: str, value: "mx.array | Packed", layout: Layout) -> dict[str, "mx.array | Packed"]:
    """The inverse of fusing: a network's tensor as the separate ones that the MLX layouts store."""
    parts = _parts(name)
    if len(parts) == 1 or name.startswith("audio_encoder."):  # the encoder's are one everywhere
        return {name: value}
    llm = layout.config.llm
    if ".qkv_proj." in name:
        heads = (llm.num_attention_heads, llm.num_key_value_heads, llm.num_key_value_heads)
        rows = [count * llm.head_dim for count in heads]
    else:
        total = (value.weight if isinstance(value, Packed) else value).shape[0]
        rows = [total // len(parts)] * len(parts)
    edges = np.cumsum([0, *rows]).tolist()
    cut = value.rows if isinstance(value, Packed) else lambda start, stop: value[start:stop]
    return {part: cut(edges[i], edges[i + 1]) for i, part in enumerate(parts)}


def _parts(name: str) -> list[str]:
    for fused, parts in _FUSED.items():
        if f".{fused}." in name:
            return [name.replace(fused, part) for part in parts]
    return [name]


def _check(layout: Layout, shapes: dict, plan: dict[str, list[str]], tensors: dict[str, Tensor]) -> None:
    missing, misshapen, used = [], [], set()
    for name, sources in plan.items():
        rows, columns = 0, shapes[name][-1]
        for source in sources:
            used.update({source, _beside(source, "scales"), _beside(source, "biases")} & tensors.keys())
            if source not in tensors:
                missing.append(source)
                continue
            shape = tensors[source].shape
            if _beside(source, "scales") in tensors:
                problem = _packed_problem(tensors, source, columns)
                if problem:
                    misshapen.append(problem)
            elif shape[1:] != shapes[name][1:] or not shape:
                wanted = [*shapes[name]] if len(sources) == 1 else ["*", *shapes[name][1:]]
                misshapen.append(f"{source} is {[*shape]}, should be {wanted}")
            elif tensors[source].dtype not in _FLOATING:
                misshapen.append(f"{source} is of {tensors[source].dtype} numbers, should be of floating ones")
            rows += shape[0] if shape else 0
        whole = all(source in tensors for source in sources)
        if whole and rows != shapes[name][0] and not any(m.startswith(tuple(sources)) for m in misshapen):
            misshapen.append(f"{' + '.join(sources)} have {rows} rows, should have {shapes[name][0]}")
    unknown = sorted(tensors.keys() - used)
    if missing or unknown or misshapen:
        lists = (("missing", missing), ("unknown", unknown), ("misshapen", misshapen))
        found = "; ".join(f"{len(names)} {kind}: {', '.join(names)}" for kind, names in lists if names)
        raise CheckpointError(f"{layout.folder}: its tensors do not fit its config ({layout.name}). {found}")


def _packed_problem(tensors: dict[str, Tensor], source: str, columns: int) -> str | None:
    weight, scales = tensors[source].shape, tensors[_beside(source, "scales")].shape
    biases = tensors.get(_beside(source, "biases"))
    if biases is None:
        return f"{source} is quantized without offsets, a mode that is not supported"
    matrix = len(weight) == len(scales) == 2 and weight[0] == scales[0] and biases.shape == scales
    if matrix and scales[1] and columns % scales[1] == 0 and weight[1] * 32 % columns == 0:
        possible = columns // scales[1] in _GROUP_SIZES and weight[1] * 32 // columns in _BITS
        floating = tensors[_beside(source, "scales")].dtype in _FLOATING and biases.dtype in _FLOATING
        if possible and floating and tensors[source].dtype == "uint32":
            return None
    return f"{source} is {[*weight]} with scales {[*scales]}, not a quantized row of {columns}"


def _read(tensors: dict[str, Tensor], source: str, columns: int) -> "mx.array | Packed":
    weight = tensors[source].read()
    if _beside(source, "scales") not in tensors:
        return weight
    scales, biases = (tensors[_beside(source, kind)].read() for kind in ("scales", "biases"))
    return Packed(weight, scales, biases, columns // scales.shape[1], weight.shape[1] * 32 // columns)


def _beside(name: str, kind: str) -> str:
    return f"{name.removesuffix('.weight')}.{kind}"


def _floating(value: mx.array, dtype: str) -> mx.array:
    return value.astype(DTYPES[dtype])


def _place(model: Nano, name: str, value: mx.array, dtype: str) -> None:
    *path, leaf = name.split(".")
    value = _floating(value, dtype)
    mx.eval(value)
    setattr(_module(model, path), leaf, value)


def _place_packed(model: Nano, name: str, value: Packed, dtype: mx.Dtype) -> None:
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
    parent = _module(model, path[:-1])
    setattr(parent, path[-1], module)


def _module(model: Nano, path: list[str]) -> nn.Module:
    here = model
    for step in path:
        here = here[int(step)] if isinstance(here, list) else getattr(here, step)
    return here
