"""The CTC branch: encoded frames -> a distribution over text units and "blank" for each, hence timestamps."""

import mlx.core as mx
import mlx.nn as nn

from .config import CTCConfig


class CTC(nn.Module):
    """The linear layer to ids; `model.ctc_decoder` (an `Adaptor`) comes before it."""

    def __init__(self, config: CTCConfig):
        super().__init__()
        self.ctc_lo = nn.Linear(config.decoder.llm_dim, config.vocab_size)

    def __call__(self, x: mx.array) -> mx.array:
        return self.ctc_lo(x)


def log_softmax(logits: mx.array) -> mx.array:
    """Log-probabilities over the last axis, in float32."""
    logits = logits.astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
