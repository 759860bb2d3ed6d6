"""Qwen3, the text decoder: a causal transformer over embeddings, with a cache that grows in place."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from .. import backend
from . import cpu, fused
from .cache import KV, Cache
from .config import LLMConfig
from .fused import FusedCache, FusedLayers


class Qwen3(nn.Module):
    """Embeddings [B, L, hidden_size] -> the last layer's states; `logits` turns those into scores."""

    def __init__(self, config: LLMConfig):
        super().__init__()
        self.config = config
        self.model = Stack(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self._step: Step | None = None
        self._fused: FusedLayers | None = None

    def embed(self, ids: mx.array) -> mx.array:
        return self.model.embed_tokens(ids)

    def new_cache(
        self, gaps: Sequence[int] = (), steps: int = 0, beside: Cache | FusedCache | None = None
    ) -> Cache | FusedCache:
        """Return an empty cache; `gaps[i]` counts the padding on the left of row i's prompt.

        Its rows are going to join `beside` after a prompt of `steps`.
        """
        layers = self.model.layers
        current = self._fused is not None and self._fused.current
        if not self.training and (current or fused.fits(self.config, layers)):
            if not current:
                self._fused = FusedLayers(self.config, layers)
            return beside.open(gaps, steps) if isinstance(beside, FusedCache) else FusedCache(self.config, gaps)
        return Cache(self.config, mx.array(gaps) if any(gaps) else None)

    def __call__(self, x: mx.array, cache: Cache | FusedCache | None = None) -> mx.array:
        if not isinstance(cache, FusedCache):
            x = self._through_layers(x, cache or Cache(self.config))
        elif self._fused.takes(*x.shape[:2], cache):
            x = self._fused(x, cache)
        else:
            gaps = [-length for length in cache.lengths]
            own = Cache(self.config, mx.array(gaps) if any(gaps) else None)
            x = self._through_layers(x, own)
            cache.adopt(own.state(), own.length)
        return self.model.norm(x)

    def _through_layers(self, x: mx.array, cache: Cache) -> mx.array:
        mask, offset = cache.mask(x.shape[1]), cache.rope_offset()
        step = self._find_step() if x.shape[1] == 1 and not self.training else None
        if step:
            x = step(x, self.model.layers, mask, offset, cache)
        else:
            for layer, memory in zip(self.model.layers, cache.layers, strict=True):
                x = layer(x, mask, offset, memory, cache.length)
        cache.length += x.shape[1]
        return x

    def _find_step(self) -> "Step | None":
        """What takes single tokens through the layers, as they are made now; None where one is unlike another."""
        layers = self.model.layers
        if not self._step or self._step.make != layers[0].make:
            if any(layer.make != layers[0].make for layer in layers):
                return None
            self._step = Step(layers[0])
        return self._step

    def logits(self, states: mx.array) -> mx.array:
        if self.config.tie_word_embeddings:
            return self.model.embed_tokens.as_linear(states)
        return self.lm_head(states)


class Stack(nn.Module):
    def __init__(self, config: LLMConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = [Layer(config) for _ in range(config.num_hidden_layers)]
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class Layer(nn.Module):
    def __init__(self, config: LLMConfig):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def __call__(
        self, x: mx.array, mask: mx.array | str | None, offset: int | mx.array, memory: KV, length: int
    ) -> mx.array:
        q, k, v = self.before_attention(x, self.self_attn.qk_scale(), offset)
        return self.after_attention(x, attend(q, *memory.append(k, v, length), mask))

    def before_attention(
        self, x: mx.array, qk_scale: mx.array, offset: int | mx.array
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Queries, keys and values, each [B, heads, steps, head_dim]."""
        return self.self_attn.look(self.input_layernorm(x), qk_scale, offset)

    def after_attention(self, x: mx.array, mixed: mx.array) -> mx.array:
        """Compute the layer's output from its input and the attention's output."""
        x = x + self.dropout(self.self_attn.o_proj(_side_by_side(mixed)))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))

    @property
    def make(self) -> tuple:
        """Of which kind its products are: LoRA and quantizing change that."""
        parts = self.self_attn.qkv_proj, self.self_attn.o_proj, self.mlp.gate_up_proj, self.mlp.down_proj
        return tuple((type(part), part.__dict__.get("bits"), part.__dict__.get("group_size")) for part in parts)


def attend(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | str | None) -> mx.array:
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, mask=mask)


class Attention(nn.Module):
    def __init__(self, config: LLMConfig):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        rows = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.qkv_proj = nn.Linear(config.hidden_size, rows, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, config.hidden_size, bias=False)
        self.q_norm = nn.RMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.k_norm = nn.RMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.theta = config.rope_theta
        self._scale_cache = QKScaleCache()

    def look(self, x: mx.array, qk_scale: mx.array, offset: int | mx.array) -> tuple[mx.array, mx.array, mx.array]:
        qkv = _by_heads(self.qkv_proj(x), self.head_dim)
        # queries and keys are normalised and rotated as one: a step costs what its operations cost to launch
        qk, v = mx.split(qkv, [self.heads + self.kv_heads], axis=1)
        qk = mx.fast.rms_norm(qk, None, self.q_norm.eps) * qk_scale
        qk = mx.fast.rope(qk, self.head_dim, traditional=False, base=self.theta, scale=1.0, offset=offset, freqs=None)
        q, k = mx.split(qk, [self.heads], axis=1)
        return q, k, v

    def qk_scale(self) -> mx.array:
        """Return the weights of `q_norm` and `k_norm`, one row for each head; cached until they change."""
        weights = self.q_norm.weight, self.k_norm.weight
        if self.training or not self._scale_cache.of(weights):
            scale = mx.stack([weights[0]] * self.heads + [weights[1]] * self.kv_heads)[:, None]
            if self.training:
                return scale
            self._scale_cache = QKScaleCache(scale, weights)
        return self._scale_cache.scale


@dataclass(frozen=True)
class QKScaleCache:
    """A `qk_scale` and what it was made of; no array of a module's own, so no parameter of the network."""

    scale: mx.array | None = None
    weights: tuple[mx.array, ...] = ()

    def of(self, weights: tuple[mx.array, ...]) -> bool:
        return len(self.weights) == len(weights) and all(a is b for a, b in zip(self.weights, weights, strict=True))


def _by_heads(x: mx.array, head_dim: int) -> mx.array:
    """[B, steps, heads * head_dim] -> [B, heads, steps, head_dim]"""
    batch, steps, _ = x.shape
    if steps == 1:
        return x.reshape(batch, -1, 1, head_dim)
    return x.reshape(batch, steps, -1, head_dim).transpose(0, 2, 1, 3)


def _side_by_side(x: mx.array) -> mx.array:
    """[B, heads, steps, head_dim] -> [B, steps, heads * head_dim]"""
    batch, _, steps, _ = x.shape
    return (x if steps == 1 else x.transpose(0, 2, 1, 3)).reshape(batch, steps, -1)


class MLP(nn.Module):
    def __init__(self, config: LLMConfig):
        super().__init__()
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        gate_up = self.gate_up_proj(x)
        vectorized = backend.slow_exp and x.shape[1] > 1 and x.dtype == mx.float32
        return self.down_proj(cpu.swiglu(gate_up) if vectorized else fused.swiglu(gate_up))


class Step:
    """Takes one token of each row through all layers, with little left to do for Python.

    A step's time goes into launching its many small operations. What lies between the attentions of two layers is
    therefore compiled: one function for all layers, to which their weights are arguments.
    """

    def __init__(self, layer: Layer):
        self.make = layer.make
        one, other = _twin(layer), _twin(layer)

        def enter(x, weights, qk_scale, offset):
            return _filled(one, weights).before_attention(x, qk_scale, offset)

        def cross(x, mixed, weights, next_weights, qk_scale, offset):
            x = _filled(one, weights).after_attention(x, mixed)
            return x, *_filled(other, next_weights).before_attention(x, qk_scale, offset)

        def leave(x, mixed, weights):
            return _filled(one, weights).after_attention(x, mixed)

        self._enter, self._cross, self._leave = mx.compile(enter), mx.compile(cross), mx.compile(leave)

    def __call__(
        self, x: mx.array, layers: list[Layer], mask: mx.array | None, offset: int | mx.array, cache: Cache
    ) -> mx.array:
        offset = mx.array(offset)
        q, k, v = self._enter(x, layers[0], layers[0].self_attn.qk_scale(), offset)
        for layer, after, memory in zip(layers, layers[1:], cache.layers, strict=False):
            mixed = attend(q, *memory.append(k, v, cache.length), mask)
            x, q, k, v = self._cross(x, mixed, layer, after, after.self_attn.qk_scale(), offset)
        mixed = attend(q, *cache.layers[-1].append(k, v, cache.length), mask)
        return self._leave(x, mixed, layers[-1])


def _twin(module: nn.Module) -> nn.Module:
    """Copy a module's structure, to be filled with other arrays."""
    twin = copy(module)
    for name, child in module.items():
        if isinstance(child, nn.Module):
            twin[name] = _twin(child)
    return twin


def _filled(twin: nn.Module, weights: dict) -> nn.Module:
    twin.update(weights)
    return twin
