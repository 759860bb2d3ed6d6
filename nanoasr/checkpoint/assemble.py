"""Match the tensors of a checkpoint's files with those of the network, and fuse or split them."""

from collections.abc import Iterator
from dataclasses import replace

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from .. import backend
from ..errors import CheckpointError
from ..model.build import build
from .layouts import Layout
from .quantize import BITS, GROUP_SIZES, Packed
from .weights import Tensor

_FLOATING = ("float32", "bfloat16", "float16")
_MAX_WEIGHT = 1e7  # a real tensor's values have a length of some thousands together
_MAX_LISTED = 30  # names in an error
# Tensors of the network that are made of several: fewer, larger products are faster.
_FUSED = {
    "self_attn.linear_q_k_v": ("self_attn.linear_q", "self_attn.linear_k", "self_attn.linear_v"),
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
Value = mx.array | Packed


def assemble(layout: Layout) -> tuple[Layout, Iterator[tuple[str, Value]]]:
    """Return the network's tensors one by one, fused, as the files store them; each is read when it is asked for.

    The layout comes back without its CTC branch where the files have no weights for it. CheckpointError lists the
    tensors that are missing, unknown or of the wrong shape, before anything is read.
    """
    tensors = layout.tensors()
    if (
        layout.family == "nano"
        and layout.config.ctc
        and not any(name.startswith(("ctc.", "ctc_decoder.")) for name in tensors)
    ):
        layout = replace(layout, config=replace(layout.config, ctc=None))
    shapes = {name: array.shape for name, array in tree_flatten(build(layout.config).parameters())}
    plan = {name: [name] if name in tensors else _parts(name) for name in shapes}
    _check(layout, shapes, plan, tensors)

    def read() -> Iterator[tuple[str, Value]]:
        for name, sources in plan.items():
            values = [_read(tensors, source, shapes[name][-1]) for source in sources]
            yield name, values[0] if len(values) == 1 else _join(values)

    return layout, read()


def split_fused(name: str, value: Value, layout: Layout) -> dict[str, Value]:
    """Undo the fusing: return the separate tensors that the MLX layouts store for one of the network."""
    parts = _parts(name)
    if len(parts) == 1 or name.startswith(("audio_encoder.", "encoder.")):  # the encoder's are fused everywhere
        return {name: value}
    llm = layout.config.llm
    if ".qkv_proj." in name:
        heads = (llm.num_attention_heads, llm.num_key_value_heads, llm.num_key_value_heads)
        rows = [count * llm.head_dim for count in heads]
    else:
        total = (value.weight if isinstance(value, Packed) else value).shape[0]
        rows = [total // len(parts)] * len(parts)
    starts = np.cumsum([0, *rows]).tolist()
    cut = value.rows if isinstance(value, Packed) else lambda start, stop: value[start:stop]
    return {part: cut(starts[i], starts[i + 1]) for i, part in enumerate(parts)}


def check_values(name: str, value: mx.array, layout: Layout) -> None:
    """Evaluate a tensor; CheckpointError if it has NaN, infinity, or numbers too large to compute with."""
    wide = value.astype(mx.float32) if value.dtype == mx.float16 else value  # whose sums could overflow
    if backend.on_cpu:  # a product by the BLAS takes a fifth of the time of a minimum and a maximum
        size = mx.sqrt(mx.inner(wide.reshape(-1), wide.reshape(-1)))
    else:  # the sum is for NaN, which a minimum may pass over
        size = mx.maximum(mx.maximum(wide.max(), -wide.min()), 0 * wide.sum())
    mx.eval(value, size)
    if not size.item() <= _MAX_WEIGHT:  # NaN is not either
        raise CheckpointError(f"{layout.folder}: {name} has values that are not finite or far too large; it is damaged")


def _parts(name: str) -> list[str]:
    for fused, parts in _FUSED.items():
        if f".{fused}." in name:
            return [name.replace(fused, part) for part in parts]
    return [name]


def _join(values: list[Value]) -> Value:
    formats = {(value.bits, value.group_size) if isinstance(value, Packed) else None for value in values}
    if len(formats) > 1:  # quantized in different ways, as recipes of mixed bits do
        values = [value.expand(mx.float32) if isinstance(value, Packed) else value for value in values]
    return Packed.stack(values) if isinstance(values[0], Packed) else mx.concatenate(values)


def _check(layout: Layout, shapes: dict, plan: dict[str, list[str]], tensors: dict[str, Tensor]) -> None:
    missing, misshapen, used = [], [], set()
    for name, sources in plan.items():
        rows, columns, faultless = 0, shapes[name][-1], True
        for source in sources:
            used.update({source, _beside(source, "scales"), _beside(source, "biases")} & tensors.keys())
            if source not in tensors:
                missing.append(source)
                faultless = False
                continue
            shape, problem = tensors[source].shape, None
            if _beside(source, "scales") in tensors:
                problem = _packed_problem(tensors, source, columns)
            elif shape[1:] != shapes[name][1:] or not shape:
                expected = [*shapes[name]] if len(sources) == 1 else ["*", *shapes[name][1:]]
                problem = f"{source} is {[*shape]}, should be {expected}"
            elif tensors[source].dtype not in _FLOATING:
                problem = f"{source} is of type {tensors[source].dtype}, should be floating-point"
            if problem:
                misshapen.append(problem)
                faultless = False
            rows += shape[0] if shape else 0
        if faultless and rows != shapes[name][0]:
            misshapen.append(f"{' + '.join(sources)} have {rows} rows, should have {shapes[name][0]}")
    unknown = sorted(tensors.keys() - used)
    if missing or unknown or misshapen:
        lists = (("missing", missing), ("unknown", unknown), ("misshapen", misshapen))
        found = "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in lists if names)
        raise CheckpointError(f"{layout.folder}: its tensors do not fit its config ({layout.name}). {found}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(f"{name:.200}" for name in names[:_MAX_LISTED]) + more


def _packed_problem(tensors: dict[str, Tensor], source: str, columns: int) -> str | None:
    weight, scales = tensors[source].shape, tensors[_beside(source, "scales")].shape
    biases = tensors.get(_beside(source, "biases"))
    if biases is None:
        return f"{source} is quantized without offsets, a mode that is not supported"
    matrix = len(weight) == len(scales) == 2 and weight[0] == scales[0] and biases.shape == scales
    if matrix and scales[1] and columns % scales[1] == 0 and weight[1] * 32 % columns == 0:
        supported = columns // scales[1] in GROUP_SIZES and weight[1] * 32 // columns in BITS
        floating = tensors[_beside(source, "scales")].dtype in _FLOATING and biases.dtype in _FLOATING
        if supported and floating and tensors[source].dtype == "uint32":
            return None
    return f"{source} is {[*weight]} with scales {[*scales]}, not a quantized row of {columns}"


def _read(tensors: dict[str, Tensor], source: str, columns: int) -> Value:
    weight = tensors[source].read()
    if _beside(source, "scales") not in tensors:
        return weight
    scales, biases = (tensors[_beside(source, kind)].read() for kind in ("scales", "biases"))
    return Packed(weight, scales, biases, columns // scales.shape[1], weight.shape[1] * 32 // columns)


def _beside(name: str, kind: str) -> str:
    return f"{name.removesuffix('.weight')}.{kind}"
