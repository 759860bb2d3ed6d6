"""Fun-ASR-Nano: the encoder, the adaptor, Qwen3 and, where a checkpoint has one, the CTC branch, joined."""

import mlx.core as mx
import mlx.nn as nn

from .adaptor import Adaptor
from .config import ModelConfig
from .ctc import CTC, log_softmax
from .qwen3 import Qwen3
from .sanm import Encoder, keep_mask


class Nano(nn.Module):
    """The whole network. Attributes carry the names that tensors have in the official checkpoint.

    Methods take a batch [B, T, ...]; `lengths` [B] are the frames of each row where the batch is padded,
    and a padded row gives what it gives alone.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.audio_encoder = Encoder(config.encoder)
        self.audio_adaptor = Adaptor(config.adaptor)
        self.llm = Qwen3(config.llm)
        if config.ctc is not None:
            self.ctc_decoder = Adaptor(config.ctc.decoder)
            self.ctc = CTC(config.ctc.decoder.llm_dim, config.ctc.vocab_size)

    def encode(self, features: mx.array, lengths: mx.array | None = None) -> mx.array:
        """LFR features [B, T, 560] -> [B, T, D]."""
        return self.audio_encoder(features, keep_mask(features, lengths))

    def adapt(self, encoded: mx.array, lengths: mx.array | None = None) -> mx.array:
        """Project encoded frames [B, T, D] to embeddings [B, T', L], one for each `downsample_rate` frames."""
        return self.audio_adaptor(encoded, keep_mask(encoded, lengths))

    def ctc_hidden(self, encoded: mx.array, lengths: mx.array | None = None) -> mx.array:
        """Run the CTC branch up to its last layer on encoded frames [B, T, D]."""
        return self.ctc_decoder(encoded, keep_mask(encoded, lengths))

    def ctc_logits(self, encoded: mx.array, lengths: mx.array | None = None) -> mx.array:
        """Compute scores [B, T, V] of text units and blank for encoded frames [B, T, D]."""
        return self.ctc(self.ctc_hidden(encoded, lengths))

    def ctc_logprobs(self, encoded: mx.array, lengths: mx.array | None = None) -> mx.array:
        """`ctc_logits` as float32 log-probabilities."""
        return log_softmax(self.ctc_logits(encoded, lengths))

    def audio_token_count(self, frames: int) -> int:
        """Count the adaptor embeddings that the LLM is fed for a recording of `frames` LFR frames."""
        adapted = self.audio_adaptor.frame_count(frames)
        if self.config.audio_tokens == "full":
            return adapted
        halved = 1 + (frames - 1) // 2
        quartered = 1 + (halved - 1) // 2
        return min(adapted, 1 + (quartered - 1) // 2)
