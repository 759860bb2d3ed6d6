"""SeACo-Paraformer (`paraformer-zh`): Paraformer with a branch that knows the hotwords.

Each hotword is read by an LSTM into one vector; one more stands for "no hotword". A second decoder attends to these
vectors from each token, and where its output is a token, that replaces the first decoder's distribution.
"""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from .config import ParaformerConfig
from .ctc import log_softmax
from .lstm import LSTM
from .paraformer import Decoder, Paraformer
from .sanm import keep_mask

_MOST_ATTENDED = 50  # of more hotwords, only those that the last layer attends to most are used


class SeacoParaformer(Paraformer):
    """`Paraformer` whose `decode` takes hotwords; the config has `seaco`."""

    def __init__(self, config: ParaformerConfig):
        super().__init__(config)
        size = config.seaco.decoder.size
        self.bias_encoder = LSTM(size, size, config.seaco.lstm_layers)
        self.seaco_decoder = Decoder(config.seaco.decoder)
        self.hotword_output_layer = nn.Linear(size, config.vocab_size)

    def decode(
        self,
        encoded: mx.array,
        lengths: mx.array | None,
        acoustic: mx.array,
        counts: mx.array | None,
        hotwords: Sequence[Sequence[int]] = (),
    ) -> mx.array:
        """Decode like `Paraformer.decode`, biased towards the hotwords."""
        keep = keep_mask(acoustic, counts)
        hidden = self.decoder(acoustic, encoded, keep, keep_mask(encoded, lengths))
        logprobs = log_softmax(self.decoder.output_layer(hidden))
        if not hotwords:
            return logprobs
        vectors = self._hotword_vectors(hotwords, hidden, keep)
        attended = self.seaco_decoder(acoustic, vectors, keep) + self.seaco_decoder(hidden, vectors, keep)
        biased = log_softmax(self.hotword_output_layer(attended))
        no_bias = biased.argmax(axis=-1, keepdims=True) == self.config.seaco.no_bias_id
        return mx.where(no_bias, logprobs, biased)

    def _hotword_vectors(self, hotwords: Sequence[Sequence[int]], hidden: mx.array, keep: mx.array | None) -> mx.array:
        """Embed each hotword and, last, "no hotword": [B, H + 1, D]."""
        rows = [*hotwords, [self.config.seaco.start_id]]
        longest = max(map(len, rows))
        ids = mx.array([[*row, *[0] * (longest - len(row))] for row in rows])
        ends = mx.array([len(row) - 1 for row in rows])
        read = self.bias_encoder(self.decoder.embed[0](ids))
        vectors = mx.take_along_axis(read, ends[:, None, None], axis=1).squeeze(1)
        vectors = mx.broadcast_to(vectors, (hidden.shape[0], *vectors.shape))
        if len(rows) <= _MOST_ATTENDED:
            return vectors
        *layers, last = self.seaco_decoder.decoders
        x = hidden
        for layer in layers:
            x = layer(x, vectors, keep, None)
        weights = last.src_attn.weights(last.norm3(last.before_attention(x, keep)), vectors)
        if keep is not None:
            weights = weights * keep[:, None, :, None]
        scores = weights.sum(axis=(1, 2))
        best = mx.argsort(-scores, axis=1)[:, :_MOST_ATTENDED]
        chosen = mx.concatenate([best, mx.full((len(best), 1), len(rows) - 1, best.dtype)], axis=1)
        return mx.take_along_axis(vectors, chosen[..., None], axis=1)
