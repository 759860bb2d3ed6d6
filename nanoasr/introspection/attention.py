"""Where the network looks: the weights of one attention layer.

Inference uses fused attention, which never writes its weights down. Here the layers below the chosen one are run again,
and its queries and keys are compared in the open. All of it is work for the worker thread.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from ..checkpoint.load import Checkpoint
from ..errors import OptionError
from ..families.base import Family, Inspection
from ..families.nano import NanoInspection
from ..model.cache import Cache
from ..model.qwen3 import Qwen3
from ..model.sanm import Encoder, positions
from ..results.words import Token
from .continuation import continue_text


@dataclass(frozen=True)
class TextAttention:
    """Where one layer of the language model looked as it chose each token of a text; arrays are evaluated."""

    tokens: tuple[Token, ...]
    weights: mx.array  # [heads, U, N]: over prompt, audio, prompt and the text so far; each row sums to 1
    audio: mx.array  # [heads, U, A]: the part of `weights` that falls on the audio tokens


def encoder_attention(family: Family, x: Inspection, layer: int) -> mx.array:
    """See `Recognizer.attention`."""
    weights = _encoder_weights(family.encoder, family.encoder_input(x), layer)
    mx.eval(weights)
    return weights


def text_attention(
    checkpoint: Checkpoint, x: NanoInspection, layer: int, tokens: Sequence[Token] | None
) -> TextAttention:
    """See `Recognizer.text_attention`."""
    llm = checkpoint.model.llm
    tokens = tuple(continue_text(checkpoint, x) if tokens is None else tokens)
    unknown = [token.id for token in tokens if not 0 <= token.id < llm.config.vocab_size]
    if unknown:
        raise OptionError(f"tokens with ids {unknown[:5]}: this checkpoint has no such ids; give tokens that it wrote")
    weights = _text_weights(llm, x.embed(llm, [token.id for token in tokens[:-1]]), layer)
    first = len(x.prefix_ids)
    # a token is chosen where the one before it is read
    chosen = first + len(x.audio_tokens) + len(x.suffix_ids) - 1
    weights = weights[:, chosen : chosen + len(tokens)]
    found = TextAttention(tokens, weights, weights[:, :, first : first + len(x.audio_tokens)])
    mx.eval(found.weights, found.audio)
    return found


def _encoder_weights(encoder: Encoder, features: mx.array, layer: int) -> mx.array:
    """[T', 560] -> [heads, T', T']"""
    first = encoder.encoders0 + encoder.encoders
    blocks = first + encoder.get("tp_encoders", [])
    layer = _place(layer, len(blocks), "encoder")
    x = features[None] * math.sqrt(encoder.config.output_size)
    x = (x + positions(*features.shape)).astype(encoder.after_norm.weight.dtype)
    for i, block in enumerate(blocks[:layer]):
        x = block(x, None)
        if i == len(first) - 1:
            x = encoder.after_norm(x)
    attention = blocks[layer].self_attn
    q, k, _ = mx.split(attention.linear_q_k_v(blocks[layer].norm1(x))[0], 3, axis=-1)
    q, k = (y.reshape(len(features), attention.heads, -1).transpose(1, 0, 2) for y in (q, k))
    return _weights(q, k)


def _text_weights(llm: Qwen3, embedded: mx.array, layer: int) -> mx.array:
    """[N, L] -> [heads, N, N], 0 above the diagonal"""
    layer = _place(layer, len(llm.model.layers), "language model")
    x, cache, steps = embedded[None], Cache(llm.config), len(embedded)
    for block, memory in zip(llm.model.layers[:layer], cache.layers, strict=False):
        x = block(x, cache.mask(steps), 0, memory, 0)
    block = llm.model.layers[layer]
    q, k, _ = block.before_attention(x, block.self_attn.qk_scale(), 0)
    ahead = mx.triu(mx.full((steps, steps), -math.inf), 1)
    return _weights(q[0], mx.repeat(k[0], q.shape[1] // k.shape[1], axis=0), ahead)


def _weights(q: mx.array, k: mx.array, mask: mx.array | float = 0.0) -> mx.array:
    scores = (q.astype(mx.float32) * q.shape[-1] ** -0.5) @ k.astype(mx.float32).swapaxes(1, 2)
    return mx.softmax(scores + mask, axis=-1)


def _place(layer: int, count: int, what: str) -> int:
    if not isinstance(layer, int) or not -count <= layer < count:
        raise OptionError(f"layer={layer!r:.80}: the {what} has layers 0 to {count - 1}; -1 is its last")
    return layer % count
