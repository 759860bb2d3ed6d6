"""SAN-M blocks as a single CUDA kernel, `encoder.cuh`, for one recording."""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from .. import backend
from . import cuda
from .config import EncoderConfig

MOST_FRAMES = 512  # of a recording: the kernel keeps sixteen rows of attention in shared memory
_LINEAR = ("self_attn.linear_q_k_v", "self_attn.linear_out", "feed_forward.w_1", "feed_forward.w_2")
_OTHERS = ("self_attn.fsmn_block", "norm1", "norm2")
_INPUTS = ("x", "qkv", "output", "up", "down", "memory", "vectors")
_SOURCE = """
encoder::pass<SIZE, HEADS, FF, TAPS>(x, {qkv, output, up, down, memory, vectors}, qkv_shape[0], x_shape[1],
                                     const_cast<unsigned*>(arrived), EPS, out, scratch);
"""


class FusedBlocks:
    """Runs one recording through SAN-M blocks at once."""

    def __init__(self, config: EncoderConfig, blocks: Sequence[nn.Module]):
        self.config = config
        linear = [[cuda.find(block, path) for block in blocks] for path in _LINEAR]
        output, down = cuda.stack(linear[1]), cuda.stack(linear[3])
        qkv, qkv_vectors = _fold(linear[0], [block.norm1 for block in blocks])
        up, up_vectors = _fold(linear[2], [block.norm2 for block in blocks])
        biases = [mx.stack([module.bias for module in linear[i]]).astype(mx.float32) for i in (1, 3)]
        memory = mx.stack([block.self_attn.fsmn_block.weight[..., 0].T for block in blocks])
        self._weights = [qkv, output, up, down, memory, mx.concatenate([qkv_vectors, up_vectors, *biases], axis=1)]
        mx.eval(self._weights)
        self._origin = cuda.Origin(blocks, _LINEAR + _OTHERS)
        source = _SOURCE.replace("EPS", f"{config.norm_eps}f")
        self._kernel = cuda.Kernel("encoder", _INPUTS, source, _shared_memory(config))

    @property
    def current(self) -> bool:
        """False once a block has other weights."""
        return self._origin.unchanged

    def __call__(self, x: mx.array) -> mx.array:
        """x [1, T, D] -> the last block's output."""
        config = self.config
        template = {
            "SIZE": config.output_size,
            "HEADS": config.attention_heads,
            "FF": config.linear_units,
            "TAPS": config.kernel_size,
        }
        scratch = x.shape[1] * (6 * config.output_size + config.linear_units)
        return self._kernel([x, *self._weights], template, x.shape, scratch)


def _fold(modules: Sequence[nn.Module], norms: Sequence[nn.Module]) -> tuple[mx.array, mx.array]:
    """Put the norms' factors into the weights; -> them, and their rows' sums beside the biases."""
    weights, vectors = [], []
    for module, norm in zip(modules, norms, strict=True):
        weight = (module.weight * norm.weight).astype(mx.bfloat16)
        bias = module.bias.astype(mx.float32) + module.weight.astype(mx.float32) @ norm.bias.astype(mx.float32)
        weights.append(weight)
        vectors.append(mx.concatenate([weight.astype(mx.float32).sum(axis=1), bias]))
    return mx.stack(weights), mx.stack(vectors)


def fits(config: EncoderConfig, blocks: Sequence[nn.Module]) -> bool:
    """True if the kernel can run these blocks on the device in use."""
    if not backend.on_cuda:
        return False
    capability, _, shared_memory = cuda.device()
    sizes = config.output_size, config.linear_units
    return (
        capability >= 8
        and shared_memory >= _shared_memory(config)
        and all(size % 64 == 0 for size in sizes)
        and config.output_size // config.attention_heads in (64, 128)
        and cuda.readable(blocks, _LINEAR, _OTHERS)
    )


def _shared_memory(config: EncoderConfig) -> int:
    """Return the bytes of shared memory that `encoder::pass` uses."""
    attention = 16 * (4 * MOST_FRAMES + 2 * (MOST_FRAMES + 8))
    return 16 * (4 * config.output_size + config.linear_units) + max(18 * 1024, attention)
