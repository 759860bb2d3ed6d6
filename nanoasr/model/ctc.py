"""A CTC head: encoded frames -> log-probabilities of text units and "blank" for each, hence timestamps."""

import mlx.core as mx
import mlx.nn as nn


class CTC(nn.Module):
    """The linear layer to `vocab_size` ids, named as in the official checkpoints (`ctc.ctc_lo`)."""

    def __init__(self, size: int, vocab_size: int):
        super().__init__()
        self.ctc_lo = nn.Linear(size, vocab_size)

    def __call__(self, x: mx.array) -> mx.array:
        return self.ctc_lo(x)


def log_softmax(logits: mx.array) -> mx.array:
    """Log-probabilities over the last axis, in float32."""
    logits = logits.astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
