"""A decoder's layers as a single CUDA kernel, `decoder.cuh`, and the cache that it reads and extends.

Launching a pass's few hundred operations takes several times as long as reading a 0.6 B decoder's weights, whether the
pass is over one token or over thirty. In a pass of hundreds, every multiprocessor would read all activations again for
its few rows of a weight: there the products are MLX's own, and only attention is a kernel.
"""

from collections.abc import Sequence
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from .. import backend
from . import cuda
from .config import LLMConfig

MOST_TOKENS = 384  # of a prompt; longer ones take the ordinary layers as little time
WIDE_TOKENS = 192  # a pass of more takes MLX's products
_MOST_STEPS = 128  # of such a pass: attention computes the keys of new tokens again for each of them
_MOST_SPARE = 32  # slots that are kept free for rows to come
_LINEAR = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
_NORMS = ("input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm")
_INPUTS = ("x", "qkv", "output", "gate_up", "down", "input_norm", "post_norm", "q_norm", "k_norm", "cache", "rows")
_SOURCE = """
decoder::Attention at{};
at.offset = const_cast<int*>(rows), at.slot = at.offset + x_shape[0];
at.batch = x_shape[0], at.steps = x_shape[1], at.eps = EPS;
at.slots = cache_shape[1], at.capacity = cache_shape[3];
decoder::pass<LAYERS, HIDDEN, HEADS, KV_HEADS, D, INTER, MT, QKV_TILES, GATE_TILES>(
    x, {qkv, output, gate_up, down, input_norm, post_norm, q_norm, k_norm}, const_cast<__nv_bfloat16*>(cache), at,
    const_cast<unsigned*>(arrived), THETA, out, scratch);
"""

_ATTENTION = """
decoder::Attention at{};
at.offset = const_cast<int*>(rows), at.slot = at.offset + qkv_shape[0];
at.batch = qkv_shape[0], at.steps = qkv_shape[1], at.eps = EPS;
at.slots = cache_shape[1], at.capacity = cache_shape[3];
at.qkv = qkv, at.q_norm = q_norm, at.k_norm = k_norm, at.out = out;
at.keys = const_cast<__nv_bfloat16*>(cache);
at.values = at.keys + size_t(at.slots) * KV_HEADS * at.capacity * D;
decoder::attend_alone<HEADS, KV_HEADS, D>(at, THETA);
"""


class FusedCache:
    """The keys and values of all layers and rows in one array, which `FusedLayers` extends in place.

    Rows are as long as they are, so that forgetting steps copies nothing; `gaps` counts the padding on the left of each
    row of the prompts that come first.
    """

    GROWTH = 256

    def __init__(self, config: LLMConfig, gaps: Sequence[int] = ()):
        self.config = config
        self.lengths = [-gap for gap in gaps]
        self.slots = list(range(len(gaps)))
        self.data: mx.array | None = None  # [2 * layers, slots, KV heads, capacity, head_dim]
        self._rows: mx.array | None = None
        self._host: FusedCache | None = None  # whose array this one's rows are in

    def open(self, gaps: Sequence[int], steps: int) -> "FusedCache":
        """Return an empty cache for prompts of `steps`, to be joined, in free slots of this one's array."""
        more = len(gaps)
        first = self._free(more)
        if first is None or steps + 1 > self.data.shape[3]:
            first = len(self.slots)
            spare = min(first, _MOST_SPARE)
            self._rebuild(max(first + max(more, spare), self.data.shape[1]), steps + 1)
        opened = FusedCache(self.config, gaps)
        opened.slots, opened.data, opened._host = list(range(first, first + more)), self.data, self
        return opened

    def _free(self, count: int) -> int | None:
        """Return the first of so many free slots that follow each other."""
        ends = [-1, *sorted(self.slots), self.data.shape[1]]
        return next((before + 1 for before, after in pairwise(ends) if after - before > count), None)

    @property
    def length(self) -> int:
        """The steps of the longest row."""
        return max(self.lengths, default=0)

    @property
    def rows(self) -> mx.array:
        """The rows' lengths and slots. The device's copy moves on by itself: to send another one takes it long."""
        if self._rows is None:
            self._rows = mx.array([*self.lengths, *self.slots])
        return self._rows

    def extended(self, steps: int, out: mx.array, moves_on: bool = True) -> None:
        """Note that the pass with this output has extended every row; `moves_on`: so has the device's copy."""
        self.data, rows = mx.depends([self.data, self.rows], [out])
        self._rows = rows if moves_on else None
        self.lengths = [length + steps for length in self.lengths]

    def reserve(self, rows: int, steps: int) -> None:
        """Make room for `steps` more of each row."""
        if not self.lengths:
            self.lengths, self.slots = [0] * rows, list(range(rows))
        needed = self.length + steps
        if self.data is None:
            self.data = self._empty(rows, needed)
        elif needed > self.data.shape[3]:
            self._rebuild(len(self.slots), needed)

    def adopt(self, keys_and_values: Sequence[mx.array], steps: int) -> None:
        """Take over what ordinary layers made of the prompts: [rows, KV heads, steps, head_dim], padding included."""
        data = mx.stack([array[:, :, :steps] for array in keys_and_values])
        rows = data.shape[1]
        gaps = [-length for length in self.lengths] or [0] * rows
        if any(gaps):
            index = mx.minimum(mx.arange(steps) + mx.array(gaps)[:, None], steps - 1)
            data = mx.take_along_axis(data, index[None, :, None, :, None], axis=3)
        self.lengths, self._rows = [steps - gap for gap in gaps], None
        if self._host and steps <= self.data.shape[3]:
            self._write(data)
        else:
            self.data, self._host, self.slots = _lengthened(data, self._rounded(steps + 1)), None, list(range(rows))

    def _write(self, data: mx.array) -> None:
        """Write rows in slots that follow each other. One reference is left, so that nothing else is copied."""
        first, (_, rows, _, steps, _) = self.slots[0], data.shape
        held, self.data, self._host.data = self.data, None, None
        held[:, first : first + rows, :, :steps] = data
        self.data = self._host.data = held

    def _empty(self, rows: int, steps: int) -> mx.array:
        config = self.config
        size = (2 * config.num_hidden_layers, rows, config.num_key_value_heads, self._rounded(steps), config.head_dim)
        return mx.zeros(size, dtype=mx.bfloat16)

    def _rounded(self, steps: int) -> int:
        return -(-steps // self.GROWTH) * self.GROWTH

    def drop_last(self, counts: Sequence[int]) -> None:
        """Forget the last `counts[i]` steps of each row."""
        if any(counts):
            self._rows = None
        self.lengths = [length - count for length, count in zip(self.lengths, counts, strict=True)]

    def keep_rows(self, rows: list[int]) -> None:
        """Keep only these rows of the batch, in this order."""
        self._rows = None
        self.lengths, self.slots = [self.lengths[row] for row in rows], [self.slots[row] for row in rows]
        spare = self.data.shape[1] - len(rows)
        if len(set(rows)) < len(rows) or (spare > max(_MOST_SPARE, 3 * len(rows)) and not self._host):
            self._rebuild(len(rows), self.data.shape[3])

    def _rebuild(self, slots: int, steps: int) -> None:
        """Move the rows to the first of so many slots, each with room for `steps`."""
        order = self.slots + [self.slots[0]] * (slots - len(self.slots))
        data = self.data if order == list(range(self.data.shape[1])) else self.data[:, mx.array(order)]
        self.data, self.slots = _lengthened(data, self._rounded(steps)), list(range(len(self.slots)))
        self._host = self._rows = None

    def join(self, other: "FusedCache") -> None:
        """Add the rows of `other`, below these."""
        if other._host is not self:
            opened = self.open([0] * len(other.slots), other.data.shape[3] - 1)
            other._rebuild(len(other.slots), self.data.shape[3])
            opened._write(other.data)
            opened.lengths, other = other.lengths, opened
        self.data, self._rows = other.data, None  # what the passes of `other` have written
        self.lengths, self.slots = self.lengths + other.lengths, self.slots + other.slots

    def state(self) -> list[mx.array]:
        """Its arrays, for mx.eval."""
        return [self.data, self.rows]


def _lengthened(data: mx.array, capacity: int) -> mx.array:
    more = capacity - data.shape[3]
    return mx.pad(data, [(0, 0)] * 3 + [(0, more), (0, 0)]) if more > 0 else data


class FusedLayers:
    """Runs a pass of few tokens through all layers at once. Their weights become parts of one array of each kind."""

    def __init__(self, config: LLMConfig, layers: Sequence[nn.Module]):
        self.config, self._layers = config, layers
        self._weights = [cuda.stack([cuda.find(layer, path) for layer in layers]) for path in _LINEAR + _NORMS]
        self._origin = cuda.Origin(layers, _LINEAR + _NORMS)
        source, attention = (
            text.replace("EPS", f"{config.rms_norm_eps}f").replace("THETA", f"{float(config.rope_theta)}f")
            for text in (_SOURCE, _ATTENTION)
        )
        self._kernel = cuda.Kernel("decoder", _INPUTS, source, _shared_memory(config))
        self._attention = mx.fast.cuda_kernel(
            name="attention",
            input_names=["qkv", "q_norm", "k_norm", "cache", "rows"],
            output_names=["out"],
            source=attention,
            header=cuda.header("decoder"),
        )
        heads = (config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim
        mixed = config.num_attention_heads * config.head_dim
        self._scratch = heads + mixed + config.hidden_size + config.intermediate_size  # numbers of each token

    @property
    def current(self) -> bool:
        """False once a layer has other weights."""
        return self._origin.unchanged

    def takes(self, rows: int, steps: int, cache: FusedCache) -> bool:
        """Return True unless ordinary layers take less time."""
        return cache.length > 0 or rows * steps <= MOST_TOKENS or steps <= _MOST_STEPS

    def __call__(self, x: mx.array, cache: FusedCache) -> mx.array:
        """x [B, steps, hidden_size] -> the last layer's output; the cache is extended."""
        rows, steps, _ = x.shape
        cache.reserve(rows, steps)
        if rows * steps > WIDE_TOKENS and steps <= _MOST_STEPS:
            return self._wide(x, cache)
        config, tokens = self.config, rows * steps
        qkv_tiles, gate_tiles = _tiles(config)
        template = {
            "LAYERS": config.num_hidden_layers,
            "HIDDEN": config.hidden_size,
            "HEADS": config.num_attention_heads,
            "KV_HEADS": config.num_key_value_heads,
            "D": config.head_dim,
            "INTER": config.intermediate_size,
            "MT": 1 if tokens <= 16 else 2,
            "QKV_TILES": qkv_tiles,
            "GATE_TILES": gate_tiles,
        }
        inputs = [x, *self._weights, cache.data, cache.rows]
        out = self._kernel(inputs, template, x.shape, tokens * self._scratch)
        cache.extended(steps, out)
        return out

    def _wide(self, x: mx.array, cache: FusedCache) -> mx.array:
        rows, steps, size = x.shape
        x = x.reshape(rows * steps, size)
        for i, layer in enumerate(self._layers):
            attention, mlp = layer.self_attn, layer.mlp
            qkv = attention.qkv_proj(layer.input_layernorm(x))
            mixed = self._attend(qkv.reshape(rows, steps, -1), attention, cache.data[2 * i : 2 * i + 2], cache.rows)
            x = mx.addmm(x, mixed, attention.o_proj.weight.T)
            gated = swiglu(mlp.gate_up_proj(layer.post_attention_layernorm(x)))
            x = mx.addmm(x, gated, mlp.down_proj.weight.T)
        cache.extended(steps, x, moves_on=False)
        return x.reshape(rows, steps, size)

    def _attend(self, qkv: mx.array, attention: nn.Module, cache: mx.array, rows: mx.array) -> mx.array:
        """Extend a layer's keys and values, [2, slots, KV heads, capacity, D] -> [B * steps, heads * D]."""
        config, tokens = self.config, qkv.shape[0] * qkv.shape[1]
        heads = {"HEADS": config.num_attention_heads, "KV_HEADS": config.num_key_value_heads, "D": config.head_dim}
        blocks = -(-tokens * config.num_key_value_heads // 4)  # a block attends for four keys' heads at once
        [mixed] = self._attention(
            inputs=[qkv, attention.q_norm.weight, attention.k_norm.weight, cache, rows],
            template=list(heads.items()),
            grid=(cuda.THREADS * min(blocks, 4 * cuda.device()[1]), 1, 1),
            threadgroup=(cuda.THREADS, 1, 1),
            output_shapes=[(tokens, config.num_attention_heads * config.head_dim)],
            output_dtypes=[mx.bfloat16],
        )
        return mixed


@mx.compile
def swiglu(gate_up: mx.array) -> mx.array:
    """Return silu(gate) * up of products that stand side by side."""
    gate, up = mx.split(gate_up, 2, axis=-1)
    return gate * mx.sigmoid(gate) * up


def fits(config: LLMConfig, layers: Sequence[nn.Module]) -> bool:
    """True if the kernel can run these layers on the device in use."""
    if not backend.on_cuda:
        return False
    capability, _, shared_memory = cuda.device()
    sizes = config.hidden_size, config.intermediate_size, config.num_attention_heads * config.head_dim
    return (
        capability >= 8
        and shared_memory >= _shared_memory(config)
        and config.head_dim in (64, 128)
        and config.num_attention_heads // config.num_key_value_heads <= 4
        and all(size % 64 == 0 for size in sizes)
        and cuda.readable(layers, _LINEAR, _NORMS)
    )


def _tiles(config: LLMConfig) -> tuple[int, int]:
    """Return how many times eight rows of the larger products a block takes at once: all in one go on an H100."""
    *_, shared_memory = cuda.device()
    return (4, 3) if shared_memory >= _bytes(config, 4, 3) else (1, 1)


def _shared_memory(config: LLMConfig) -> int:
    return _bytes(config, *_tiles(config))


def _bytes(config: LLMConfig, qkv_tiles: int, gate_tiles: int) -> int:
    """Return the bytes of shared memory that `decoder::pass` uses."""
    one = config.hidden_size * max(qkv_tiles, 2 * gate_tiles)
    other = max(config.num_attention_heads * config.head_dim, config.intermediate_size)
    return 16 * (one + other) + 2 * config.head_dim + 18 * 1024
