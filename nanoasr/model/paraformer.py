"""Paraformer: the SAN-M encoder, a CIF predictor, and a decoder that writes all tokens in one pass."""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .bicif import BiPredictor, scale_and_integrate
from .cif import Firing, Predictor, fire
from .config import DecoderConfig, ParaformerConfig
from .ctc import log_softmax
from .sanm import Encoder, Memory, attend, keep_mask

_EPS = 1e-12


class Paraformer(nn.Module):
    """`Paraformer`, and `BiCifParaformer` where the config has `upsampled`; tensors are named as in the checkpoint.

    Methods take a batch [B, T, ...]; `lengths` [B] are each row's frames where the batch is padded, and a padded
    row gives what it gives alone.
    """

    def __init__(self, config: ParaformerConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.predictor = (
            BiPredictor(config.predictor, config.upsampled) if config.upsampled else Predictor(config.predictor)
        )
        self.decoder = TextDecoder(config.decoder, config.vocab_size)

    def encode(self, features: mx.array, lengths: mx.array | None = None) -> mx.array:
        """Encode features [B, T, 560] to [B, T, D]."""
        return self.encoder(features, keep_mask(features, lengths))

    def integrate(self, encoded: mx.array, lengths: mx.array | None = None) -> tuple[mx.array, Firing, mx.array]:
        """Integrate and fire: return weights [B, T + 1], where tokens fire, and their embeddings [B, N, D].

        Evaluates the weights, since the number of tokens depends on them.
        """
        if lengths is not None:  # the hidden state of the tail step is zero, and a convolution sees the padding
            encoded = mx.where(keep_mask(encoded, lengths)[..., None], encoded, 0)
        alphas = self.predictor(encoded, lengths)
        firing = fire(np.array(alphas))
        shares = mx.array(firing.shares[..., : encoded.shape[1]])
        return alphas, firing, (shares @ encoded.astype(mx.float32)).astype(encoded.dtype)

    def decode(
        self,
        encoded: mx.array,
        lengths: mx.array | None,
        acoustic: mx.array,
        counts: mx.array | None,
        hotwords: Sequence[Sequence[int]] = (),
    ) -> mx.array:
        """Decode token embeddings [B, N, D], `counts` [B] of them, to float32 log-probabilities [B, N, V].

        `hotwords`, the token ids of each, mean something to `SeacoParaformer` only.
        """
        hidden = self.decoder(acoustic, encoded, keep_mask(acoustic, counts), keep_mask(encoded, lengths))
        return log_softmax(self.decoder.output_layer(hidden))

    def upsampled(
        self, encoded: mx.array, lengths: mx.array | None, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compute the weights [B, 3 T] for times, scaled to `counts` tokens, and their running sums."""
        return scale_and_integrate(np.array(self.predictor.upsampled_weights(encoded, lengths)), counts)


class Decoder(nn.Module):
    """FunASR's `ParaformerSANMDecoder` without its tables: embeddings [B, N, D] -> hidden states [B, N, D]."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.decoders = [Layer(config, attention=True, memory=True) for _ in range(config.num_layers)]
        if config.self_layers:
            self.decoders2 = [Layer(config, attention=False, memory=True) for _ in range(config.self_layers)]
        self.decoders3 = [Layer(config, attention=False, memory=False)]
        self.after_norm = nn.LayerNorm(config.size, _EPS)

    def __call__(
        self, x: mx.array, source: mx.array, keep: mx.array | None = None, keep_source: mx.array | None = None
    ) -> mx.array:
        """`source` [B, T, D] is attended to; `keep` [B, N] and `keep_source` [B, T] are False at padding."""
        for layer in [*self.decoders, *self.get("decoders2", []), *self.decoders3]:
            x = layer(x, source, keep, keep_source)
        return self.after_norm(x)


class TextDecoder(Decoder):
    """A `Decoder` with a table of tokens (SeACo reads hotwords by it) and an output layer."""

    def __init__(self, config: DecoderConfig, vocab_size: int):
        super().__init__(config)
        self.embed = [nn.Embedding(vocab_size, config.size)]
        self.output_layer = nn.Linear(config.size, vocab_size)


class Layer(nn.Module):
    """Feed-forward, FSMN memory, then attention to the source; without a memory, the feed-forward layer alone."""

    def __init__(self, config: DecoderConfig, attention: bool, memory: bool):
        super().__init__()
        self.feed_forward = FeedForward(config.size, config.linear_units)
        self.norm1 = nn.LayerNorm(config.size, _EPS)
        if memory:
            self.self_attn = SelfMemory(config)
            self.norm2 = nn.LayerNorm(config.size, _EPS)
        if attention:
            self.src_attn = CrossAttention(config)
            self.norm3 = nn.LayerNorm(config.size, _EPS)

    def __call__(self, x: mx.array, source: mx.array, keep: mx.array | None, keep_source: mx.array | None) -> mx.array:
        x = self.before_attention(x, keep)
        if "src_attn" in self:
            x = x + self.src_attn(self.norm3(x), source, keep_source)
        return x

    def before_attention(self, x: mx.array, keep: mx.array | None) -> mx.array:
        """Apply the feed-forward layer, which has no residual of its own, and the memory."""
        y = self.feed_forward(self.norm1(x))
        return x + self.self_attn.fsmn_block(self.norm2(y), keep) if "self_attn" in self else y


class SelfMemory(nn.Module):
    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.fsmn_block = Memory(config.size, config.kernel_size)


class CrossAttention(nn.Module):
    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.heads = config.attention_heads
        self.linear_q = nn.Linear(config.size, config.size)
        self.linear_k_v = nn.Linear(config.size, 2 * config.size)
        self.linear_out = nn.Linear(config.size, config.size)

    def __call__(self, x: mx.array, source: mx.array, keep: mx.array | None) -> mx.array:
        k, v = mx.split(self.linear_k_v(source), 2, axis=-1)
        return self.linear_out(attend(self.linear_q(x), k, v, self.heads, keep))

    def weights(self, x: mx.array, source: mx.array) -> mx.array:
        """Attention weights [B, heads, N, T]; fused attention never writes them down."""
        k, _ = mx.split(self.linear_k_v(source), 2, axis=-1)
        q, k = (y.reshape(*y.shape[:2], self.heads, -1).transpose(0, 2, 1, 3) for y in (self.linear_q(x), k))
        return mx.softmax(q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5, axis=-1, precise=True)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU and a norm between them; the second has no bias."""

    def __init__(self, size: int, hidden: int):
        super().__init__()
        self.w_1 = nn.Linear(size, hidden)
        self.w_2 = nn.Linear(hidden, size, bias=False)
        self.norm = nn.LayerNorm(hidden, _EPS)

    def __call__(self, x: mx.array) -> mx.array:
        return self.w_2(self.norm(mx.maximum(self.w_1(x), 0)))
