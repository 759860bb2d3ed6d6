"""AdamW with warm-up and decay, gradient clipping and a moving average of the weights.

All weights are one vector, and so are the moments and the average: a step is then a few large operations
instead of thousands of small ones, which on a GPU would take longer to launch than to do.
"""

import math
from dataclasses import dataclass
from typing import Literal

from .. import backend  # noqa: F401 (before mlx: it brings the BLAS)

import mlx.core as mx  # isort: skip
from mlx.utils import tree_flatten, tree_unflatten  # isort: skip

_ALIGNMENT = 64  # elements; products are quickest on aligned memory


@dataclass(frozen=True)
class OptimizerConfig:
    """`steps` is the whole training; the rate rises over `warmup` steps, then falls to `final` of itself.

    `average` is the decay of the moving average of the weights, which is what is evaluated and exported; 0 for
    none.
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
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        left = (1 + math.cos(math.pi * done)) / 2 if self.decay == "cosine" else 1 - done
        return self.rate * (self.final + (1 - self.final) * left)

    def average_at(self, step: int) -> float:
        """The average's decay at a step: short at first, so that it does not remember the beginning."""
        return min(self.average, (1 + step) / (10 + step))


class Packing:
    """How the tensors of a tree lie in one vector."""

    def __init__(self, parameters: dict):
        self.shapes = {name: tuple(array.shape) for name, array in tree_flatten(parameters)}
        self.places, end = {}, 0
        for name, shape in self.shapes.items():
            self.places[name] = (end, end + math.prod(shape))
            end += -(-math.prod(shape) // _ALIGNMENT) * _ALIGNMENT
        self.size = end

    def pack(self, tree: dict, dtype: mx.Dtype = mx.float32) -> mx.array:
        """The tree's tensors, one after another."""
        parts = []
        for _, array in tree_flatten(tree):
            parts += [array.reshape(-1), mx.zeros(-array.size % _ALIGNMENT, dtype=array.dtype)]
        return mx.concatenate([part for part in parts if part.size]).astype(dtype)

    def unpack(self, vector: mx.array) -> dict:
        """The tree again, its tensors views of the vector."""
        places = self.places.items()
        return tree_unflatten([(name, vector[a:b].reshape(self.shapes[name])) for name, (a, b) in places])

    def matrices(self) -> mx.array:
        """Where matrices lie: 1 there, 0 at norms, biases and gaps."""
        mask = mx.zeros(self.size)
        for name, (start, end) in self.places.items():
            if len(self.shapes[name]) > 1:
                mask[start:end] = 1
        return mask


def first_state(weights: mx.array, average: bool) -> dict[str, mx.array]:
    """What training keeps: the weights, Adam's two moments, and the average of the weights if wanted."""
    state = {"weights": weights, "first": mx.zeros_like(weights), "second": mx.zeros_like(weights)}
    return state | ({"average": mx.array(weights)} if average else {})


def clip(gradient: mx.array, most: float) -> tuple[mx.array, mx.array]:
    """The gradient scaled down to a norm of at most `most`, and the norm it had.

    One that is not finite becomes zero: a single bad batch must not end a training.
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
    """The state after AdamW's step number `step` (from 1) at a `rate`; `keep` is the average's decay now, and
    `decayed` is 1 where weights decay."""
    b1, b2 = config.betas
    first = b1 * state["first"] + (1 - b1) * gradient
    second = b2 * state["second"] + (1 - b2) * mx.square(gradient)
    direction = (first / (1 - b1**step)) / (mx.sqrt(second / (1 - b2**step)) + config.epsilon)
    weights = state["weights"] - rate * (direction + config.weight_decay * decayed * state["weights"])
    after = {"weights": weights, "first": first, "second": second}
    if "average" in state:
        after["average"] = keep * state["average"] + (1 - keep) * weights
    return after
