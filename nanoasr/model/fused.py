"""A decoder's layers as a single CUDA kernel, `decoder.cuh`, and the cache that it reads and extends.

Launching a pass's few hundred operations takes several times as long as reading a 0.6 B decoder's weights, whether the
pass is over one token or over thirty.
"""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from .. import backend
from . import cuda
from .config import LLMConfig

MOST_TOKENS = 384  # of a prompt; longer ones take the ordinary layers as little time
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

    def extended(self, steps: int, out: mx.array) -> None:
        """Note that the pass with this output has extended every row."""
        self.data, self._rows = mx.depends([self.data, self.rows], [out])
        self.lengths = [length + steps for length in self.lengths]

    def reserve(self, rows: int, steps: int) -> None:
        """Make room for `steps` more of each row."""
        if not self.lengths:
            self.lengths, self.slots = [0] * rows, list(range(rows))
        needed, config = self.length + steps, self.config
        if self.data is None:
            size = (2 * config.num_hidden_layers, rows, config.num_key_value_heads, self._rounded(needed))
            self.data = mx.zeros((*size, config.head_dim), dtype=mx.bfloat16)
        elif needed > self.data.shape[3]:
            self.data = _lengthened(self.data, self._rounded(needed))

    def adopt(self, keys_and_values: Sequence[mx.array], steps: int) -> None:
        """Take over what ordinary layers made of the prompts: [rows, KV heads, steps, head_dim], padding included."""
        data = mx.stack([array[:, :, :steps] for array in keys_and_values])
        rows = data.shape[1]
        gaps = [-length for length in self.lengths] or [0] * rows
        if any(gaps):
            index = mx.minimum(mx.arange(steps) + mx.array(gaps)[:, None], steps - 1)
            data = mx.take_along_axis(data, index[None, :, None, :, None], axis=3)
        self.data = _lengthened(data, self._rounded(steps + 1))
        self.lengths, self.slots, self._rows = [steps - gap for gap in gaps], list(range(rows)), None

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
        if len(set(rows)) < len(rows) or 2 * len(rows) < self.data.shape[1]:
            self._compact()

    def _compact(self) -> None:
        if self.slots != list(range(self.data.shape[1])):
            self.data, self.slots = self.data[:, mx.array(self.slots)], list(range(len(self.slots)))

    def join(self, other: "FusedCache") -> None:
        """Add the rows of `other`, below these."""
        self._rows = None
        for each in (self, other):
            each._compact()
        steps = max(self.data.shape[3], other.data.shape[3])
        self.data = mx.concatenate([_lengthened(self.data, steps), _lengthened(other.data, steps)], axis=1)
        self.lengths, self.slots = self.lengths + other.lengths, list(range(self.data.shape[1]))

    def state(self) -> list[mx.array]:
        """Its arrays, for mx.eval."""
        return [self.data, self.rows]


def _lengthened(data: mx.array, capacity: int) -> mx.array:
    more = capacity - data.shape[3]
    return mx.pad(data, [(0, 0)] * 3 + [(0, more), (0, 0)]) if more > 0 else data


class FusedLayers:
    """Runs a pass of few tokens through all layers at once. Their weights become parts of one array of each kind."""

    def __init__(self, config: LLMConfig, layers: Sequence[nn.Module]):
        self.config = config
        self._weights = [cuda.stack([cuda.find(layer, path) for layer in layers]) for path in _LINEAR + _NORMS]
        self._origin = cuda.Origin(layers, _LINEAR + _NORMS)
        source = _SOURCE.replace("EPS", f"{config.rms_norm_eps}f").replace("THETA", f"{float(config.rope_theta)}f")
        self._kernel = cuda.Kernel("decoder", _INPUTS, source, _shared_memory(config))
        heads = (config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim
        mixed = config.num_attention_heads * config.head_dim
        self._scratch = heads + mixed + config.hidden_size + config.intermediate_size  # numbers of each token

    @property
    def current(self) -> bool:
        """False once a layer has other weights."""
        return self._origin.unchanged

    def __call__(self, x: mx.array, cache: FusedCache) -> mx.array:
        """x [B, steps, hidden_size] -> the last layer's output; the cache is extended."""
        rows, steps, _ = x.shape
        cache.reserve(rows, steps)
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
