"""SenseVoiceSmall: four query vectors in front of the features, the SAN-M encoder, and a linear CTC head."""

import mlx.core as mx
import mlx.nn as nn

from .config import SenseVoiceConfig
from .ctc import CTC, log_softmax
from .sanm import Encoder, keep_mask

QUERIES = 4
LANGUAGE_IDS = {"auto": 0, "zh": 3, "en": 4, "yue": 7, "ja": 11, "ko": 12, "nospeech": 13}
_EMOTION_ID, _EVENT_ID, _WITH_ITN_ID, _WITHOUT_ITN_ID = 1, 2, 14, 15


def query_ids(language: str, itn: bool) -> list[int]:
    """Return the rows of `embed` that query language ("auto" detects it), emotion, events and text normalization."""
    return [LANGUAGE_IDS[language], _EMOTION_ID, _EVENT_ID, _WITH_ITN_ID if itn else _WITHOUT_ITN_ID]


class SenseVoice(nn.Module):
    """The whole network; attributes carry the official checkpoint's tensor names.

    Methods take a batch [B, T, ...]; `lengths` [B] are each row's frames where the batch is padded, and a padded
    row gives what it gives alone. Outputs begin with the four query frames.
    """

    def __init__(self, config: SenseVoiceConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.ctc = CTC(config.encoder.output_size, config.vocab_size)
        self.embed = nn.Embedding(16, config.encoder.input_size)

    def encode(self, features: mx.array, queries: mx.array, lengths: mx.array | None = None) -> mx.array:
        """Encode features [B, T, 560] behind query ids [4] or [B, 4] to [B, 4 + T, D]."""
        query = self.embed(mx.broadcast_to(queries, (features.shape[0], QUERIES)))
        x = mx.concatenate([query.astype(mx.float32), features.astype(mx.float32)], axis=1)
        return self.encoder(x, keep_mask(x, None if lengths is None else lengths + QUERIES))

    def ctc_logprobs(self, encoded: mx.array) -> mx.array:
        """Compute float32 log-probabilities [B, 4 + T, V] of encoded frames [B, 4 + T, D]."""
        return log_softmax(self.ctc(encoded))
