"""The audio adaptor: encoder frames -> LLM embeddings. The CTC branch's decoder has the same form."""

import mlx.core as mx
import mlx.nn as nn

from .config import AdaptorConfig
from .sanm import FeedForward, attend


class Adaptor(nn.Module):
    """Encoded frames [B, T, encoder_dim] -> [B, ceil(T / downsample_rate), llm_dim]."""

    def __init__(self, config: AdaptorConfig):
        super().__init__()
        self.rate = config.downsample_rate
        self.linear1 = nn.Linear(config.encoder_dim * self.rate, config.ffn_dim)
        self.linear2 = nn.Linear(config.ffn_dim, config.llm_dim)
        self.blocks = [Block(config) for _ in range(config.n_layer)]

    def frame_count(self, frames: int | mx.array) -> int | mx.array:
        """Count the output frames for `frames` input frames."""
        return (frames + self.rate - 1) // self.rate

    def __call__(self, x: mx.array, keep: mx.array | None = None) -> mx.array:
        """`keep` [B, T] is False where a batch is padding; such frames are stacked as zeros, as an end is."""
        batch, frames, size = x.shape
        count = self.frame_count(frames)
        if keep is not None:
            x = x * keep[..., None].astype(x.dtype)
        x = mx.pad(x, [(0, 0), (0, count * self.rate - frames), (0, 0)])
        x = self.linear2(mx.maximum(self.linear1(x.reshape(batch, count, size * self.rate)), 0))
        if keep is not None:
            keep = keep[:, :: self.rate]
        for block in self.blocks:
            x = block(x, keep)
        return x


class Block(nn.Module):
    def __init__(self, config: AdaptorConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.llm_dim, eps=config.norm_eps)
        self.self_attn = Attention(config.llm_dim, config.attention_heads)
        self.norm2 = nn.LayerNorm(config.llm_dim, eps=config.norm_eps)
        self.feed_forward = FeedForward(config.llm_dim, config.llm_dim // 4)
        self.dropout = nn.Dropout(config.dropout)

    def __call__(self, x: mx.array, keep: mx.array | None) -> mx.array:
        x = x + self.dropout(self.self_attn(self.norm1(x), keep))
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class Attention(nn.Module):
    def __init__(self, size: int, heads: int):
        super().__init__()
        self.heads = heads
        self.linear_q_k_v = nn.Linear(size, 3 * size)
        self.linear_out = nn.Linear(size, size)

    def __call__(self, x: mx.array, keep: mx.array | None) -> mx.array:
        q, k, v = mx.split(self.linear_q_k_v(x), 3, axis=-1)
        return self.linear_out(attend(q, k, v, self.heads, keep))
