"""AdamW with warm-up and decay, gradient clipping and a moving average of the weights.

All weights form one vector, and so do the moments and the average: a step is a few large operations instead of
thousands of small ones, which on a GPU take longer to launch than to run.
"""

import math
from dataclasses import dataclass
from typing import Literal

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

_ALIGNMENT = 64  # elements; products are quickest on aligned memory


@dataclass(frozen=True)
class OptimizerConfig:
    """The learning rate rises to `rate` over `warmup` steps, then falls to `final` × `rate` at the last of `steps`.

    `average` is the decay of the moving average of the weights, which is evaluated and exported; 0 for none.
    """

    steps: int = 10_000
    rate: float = 1e-3
    warmup: int = 500
    decay: Literal["cosine", "linear"] = "cosine"
    final: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        left = (1 + math.cos(math.pi * done)) / 2 if self.decay == "cosine" else 1 - done
        return self.rate * (self.final + (1 - self.final) * left)

    def average_at(self, step: int) -> float:
        """Return the decay of the average at a step: small at first, so that it forgets the initial weights."""
        return min(self.average, (1 + step) / (10 + step))


class Packing:
    """Packs the tensors of a tree into one vector."""

    def __init__(self, parameters: dict):
        self.shapes = {name: tuple(array.shape) for name, array in tree_flatten(parameters)}
        self.places, end = {}, 0
        for name, shape in self.shapes.items():
            self.places[name] = (end, end + math.prod(shape))
            end += -(-math.prod(shape) // _ALIGNMENT) * _ALIGNMENT
        self.size = end

    def pack(self, tree: dict, dtype: mx.Dtype = mx.float32) -> mx.array:
        """Concatenate the tree's tensors."""
        parts = []
        for _, array in tree_flatten(tree):
            parts += [array.reshape(-1), mx.zeros(-array.size % _ALIGNMENT, dtype=array.dtype)]
        return mx.concatenate([part for part in parts if part.size]).astype(dtype)

    def unpack(self, vector: mx.array) -> dict:
        """Return the tree with tensors that are views of the vector."""
        places = self.places.items()
        return tree_unflatten([(name, vector[a:b].reshape(self.shapes[name])) for name, (a, b) in places])

    def matrices(self) -> mx.array:
        """Return a mask with 1 at matrices and 0 at norms, biases and padding."""
        mask = mx.zeros(self.size)
        for name, (start, end) in self.places.items():
            if len(self.shapes[name]) > 1:
                mask[start:end] = 1
        return mask


def first_state(weights: mx.array, average: bool) -> dict[str, mx.array]:
    """Return the initial state: the weights, Adam's two moments, and optionally the average of the weights."""
    state = {"weights": weights, "first": mx.zeros_like(weights), "second": mx.zeros_like(weights)}
    return state | ({"average": mx.array(weights)} if average else {})


def clip(gradient: mx.array, most: float) -> tuple[mx.array, mx.array]:
    """Scale a gradient to a norm of at most `most`; returns it and its original norm.

    A gradient that is not finite becomes zero: one bad batch must not ruin the weights.
    """
    norm = mx.sqrt(mx.square(gradient).sum())
    scale = mx.minimum(1.0, most / (norm + 1e-6))
    return mx.where(mx.isfinite(norm), gradient * scale, 0), norm


def update(
    state: dict[str, mx.array],
    gradient: mx.array,
    decayed: mx.array,
    rate: mx.array,
    keep: mx.array,
    step: mx.array,
    config: OptimizerConfig,
) -> dict[str, mx.array]:
    """Apply AdamW's step number `step` (from 1) at a `rate`.

    `keep` is the current decay of the average, `decayed` is 1 where weight decay applies.
    """
    b1, b2 = config.betas
    first = b1 * state["first"] + (1 - b1) * gradient
    second = b2 * state["second"] + (1 - b2) * mx.square(gradient)
    direction = (first / (1 - b1**step)) / (mx.sqrt(second / (1 - b2**step)) + config.epsilon)
    weights = state["weights"] - rate * (direction + config.weight_decay * decayed * state["weights"])
    after = {"weights": weights, "first": first, "second": second}
    if "average" in state:
        after["average"] = keep * state["average"] + (1 - keep) * weights
    return after
