"""A CTC head: encoded frames -> log-probabilities of text units and "blank" for each, hence timestamps."""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class CTC(nn.Module):
    """The linear layer to `vocab_size` ids, named as in the official checkpoints (`ctc.ctc_lo`)."""

    def __init__(self, size: int, vocab_size: int):
        super().__init__()
        self.ctc_lo = nn.Linear(size, vocab_size)

    def __call__(self, x: mx.array) -> mx.array:
        return self.ctc_lo(x)

    def columns(self, x: mx.array, ids: mx.array) -> mx.array:
        """Compute the scores [..., len(ids)] of some ids only."""
        weight, scales = self.ctc_lo.weight[ids], self.ctc_lo.get("scales")
        if scales is not None:
            weight = mx.dequantize(
                weight, scales[ids], self.ctc_lo.biases[ids], self.ctc_lo.group_size, self.ctc_lo.bits
            )
        return x @ weight.T + self.ctc_lo.bias[ids]


def log_softmax(logits: mx.array) -> mx.array:
    """Compute log-probabilities over the last axis, in float32."""
    logits = logits.astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def collapse(ids: Sequence[int] | np.ndarray, blank: int) -> list[int]:
    """Collapse a best path, one id a frame: merge repeats, then drop blanks."""
    ids = np.asarray(ids)
    changed = np.diff(ids, prepend=-1) != 0
    return ids[changed & (ids != blank)].tolist()
