"""The SAN-M audio encoder of all families: FunASR's `SenseVoiceEncoderSmall` (with `tp` blocks) and `SANMEncoder`.

A block is self-attention plus a memory: a depthwise convolution over the values (FSMN), which keeps what attention
blurs, the order of neighbouring frames.
"""

import math

import mlx.core as mx
import mlx.nn as nn

from .. import backend
from . import cpu, fused_encoder
from .config import EncoderConfig
from .fused_encoder import FusedBlocks


class Encoder(nn.Module):
    """LFR features [B, T, 560] -> [B, T, output_size]."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.encoders0 = [Block(config, config.input_size)]
        self.encoders = [Block(config, config.output_size) for _ in range(config.num_blocks - 1)]
        self.after_norm = nn.LayerNorm(config.output_size, config.norm_eps)
        if config.tp_norm:
            self.tp_encoders = [Block(config, config.output_size) for _ in range(config.tp_blocks)]
            self.tp_norm = nn.LayerNorm(config.output_size, config.norm_eps)
        self._fused: dict[str, FusedBlocks | None] = {}

    def __call__(self, features: mx.array, keep: mx.array | None = None) -> mx.array:
        """`keep` [B, T] is False where a batch is padding."""
        x = features * math.sqrt(self.config.output_size)
        x = x + positions(x.shape[1], x.shape[2])
        x = x.astype(self.after_norm.weight.dtype)
        [first] = self.encoders0
        x = self.after_norm(self._through("encoders", first(x, keep), keep))
        if not self.config.tp_norm:
            return x
        return self.tp_norm(self._through("tp_encoders", x, keep))

    def _through(self, name: str, x: mx.array, keep: mx.array | None) -> mx.array:
        """Run `x` through the blocks of this name, in one kernel where there is one."""
        alone = x.shape[0] == 1 and x.shape[1] <= fused_encoder.MOST_FRAMES and keep is None
        if alone and not self.training and (fused := self._find_fused(name)):
            return fused(x)
        for block in self[name]:
            x = block(x, keep)
        return x

    def _find_fused(self, name: str) -> FusedBlocks | None:
        blocks, fused = self[name], self._fused.get(name)
        if not (fused and fused.current):
            fused = FusedBlocks(self.config, blocks) if blocks and fused_encoder.fits(self.config, blocks) else None
            self._fused[name] = fused
        return fused


class Block(nn.Module):
    def __init__(self, config: EncoderConfig, input_size: int):
        super().__init__()
        size = config.output_size
        self.norm1 = nn.LayerNorm(input_size, config.norm_eps)
        self.self_attn = Attention(config, input_size)
        self.norm2 = nn.LayerNorm(size, config.norm_eps)
        self.feed_forward = FeedForward(size, config.linear_units)
        self.dropout = nn.Dropout(config.dropout)
        self._residual = input_size == size  # the first block widens or narrows its input, so has none

    def __call__(self, x: mx.array, keep: mx.array | None) -> mx.array:
        y = self.dropout(self.self_attn(self.norm1(x), keep))
        x = x + y if self._residual else y
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class Attention(nn.Module):
    def __init__(self, config: EncoderConfig, input_size: int):
        super().__init__()
        size = config.output_size
        self.heads = config.attention_heads
        self.linear_q_k_v = nn.Linear(input_size, 3 * size)
        self.linear_out = nn.Linear(size, size)
        self.fsmn_block = Memory(size, config.kernel_size)

    def __call__(self, x: mx.array, keep: mx.array | None) -> mx.array:
        q, k, v = mx.split(self.linear_q_k_v(x), 3, axis=-1)
        mixed = attend(q, k, v, self.heads, keep)
        return self.linear_out(mixed) + self.fsmn_block(v, keep)


class Memory(nn.Module):
    """FSMN memory: a depthwise convolution of the values, plus the values themselves."""

    def __init__(self, size: int, kernel_size: int):
        super().__init__()
        self.weight = mx.random.normal((size, kernel_size, 1)) / math.sqrt(kernel_size)

    def __call__(self, v: mx.array, keep: mx.array | None) -> mx.array:
        channels, taps, _ = self.weight.shape
        keep = None if keep is None else keep[..., None].astype(v.dtype)
        v = v if keep is None else v * keep
        if backend.slow_exp:
            memory = v + cpu.depthwise(v, self.weight[..., 0])
        else:
            memory = v + mx.conv1d(v, self.weight, padding=taps // 2, groups=channels)
        return memory if keep is None else memory * keep


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them; the adaptor and the CTC branch use it too."""

    def __init__(self, size: int, hidden: int):
        super().__init__()
        self.w_1 = nn.Linear(size, hidden)
        self.w_2 = nn.Linear(hidden, size)

    def __call__(self, x: mx.array) -> mx.array:
        return self.w_2(mx.maximum(self.w_1(x), 0))


def attend(q: mx.array, k: mx.array, v: mx.array, heads: int, keep: mx.array | None = None) -> mx.array:
    """Multi-head attention of [B, N, D] queries over [B, T, D] keys and values; `keep` [B, T] is False at padding."""
    batch, frames, size = q.shape
    q, k, v = (x.reshape(batch, x.shape[1], heads, -1).transpose(0, 2, 1, 3) for x in (q, k, v))
    mask = None if keep is None else keep[:, None, None, :]
    way = cpu.attend if backend.slow_exp and q.dtype == mx.float32 else mx.fast.scaled_dot_product_attention
    mixed = way(q, k, v, scale=(size // heads) ** -0.5, mask=mask)
    return mixed.transpose(0, 2, 1, 3).reshape(batch, frames, size)


def positions(frames: int, size: int) -> mx.array:
    """Sinusoidal positions [frames, size], counted from 1 as FunASR does: sines, then cosines."""
    half = size // 2
    rates = mx.exp(mx.arange(half, dtype=mx.float32) * (-math.log(10000) / (half - 1)))
    angles = mx.arange(1, frames + 1, dtype=mx.float32)[:, None] * rates
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)


def keep_mask(x: mx.array, lengths: mx.array | None) -> mx.array | None:
    """[B, T], False where a row of `x` [B, T, ...] is padding; None without `lengths`."""
    return None if lengths is None else mx.arange(x.shape[1]) < lengths[:, None]
