"""From a batch of indices to the two losses, all on the device: samples, features, network."""

from dataclasses import dataclass

import mlx.core as mx

from ..audio.features import FRAME_LENGTH, FRAME_SHIFT, LFR_SHIFT, filterbank, lfr, normalized
from ..model.ctc import log_softmax
from ..model.nano import Nano
from .augment import AugmentConfig, augment, change_speed, mask_filterbank
from .batches import Batch
from .loss import ctc_loss, text_loss


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses. The text loss starts after step `text_from` and rises over `text_ramp` steps."""

    ctc: float = 0.5
    text: float = 1.0
    text_from: int = 0
    text_ramp: int = 500
    label_smoothing: float = 0.1

    def text_weight(self, step: int) -> float:
        """Return the weight of the text loss at a step."""
        return self.text * min(1.0, max(0, step + 1 - self.text_from) / max(1, self.text_ramp))


def on_device(batch: Batch) -> Batch:
    """Return the batch with MLX arrays."""
    return Batch(batch.samples, *(mx.array(array) for array in batch.arrays()), texts=batch.texts)


def features_of(
    pool: mx.array,
    batch: Batch,
    cmvn: mx.array | None = None,
    key: mx.array | None = None,
    config: AugmentConfig | None = None,
) -> tuple[mx.array, mx.array]:
    """Return LFR features [B, T', 560] and valid frames per row, augmented if there is a key and a config."""
    samples = pool[batch.rows].reshape(batch.rows.shape[0], -1).astype(mx.float32) / 32768
    samples = change_speed(samples, batch.speed, batch.samples)
    counts = mx.maximum(1 + (batch.lengths - FRAME_LENGTH) // FRAME_SHIFT, 1)
    if key is None or config is None:
        frames = filterbank(samples)
    else:
        sound_key, mask_key = mx.random.split(key)
        frames = filterbank(augment(samples, batch.lengths, sound_key, config))
        frames = mask_filterbank(frames, counts, mask_key, config)
    return normalized(lfr(frames, counts), cmvn), (counts + LFR_SHIFT - 1) // LFR_SHIFT


def losses(
    model: Nano, batch: Batch, features: mx.array, lengths: mx.array, config: LossConfig, with_text: bool
) -> tuple[mx.array, mx.array]:
    """Return the CTC loss and the text loss, each a mean over text tokens; zero without such a branch."""
    encoded = model.encode(features, lengths)
    ctc = text = mx.array(0.0)
    if config.ctc and model.config.ctc is not None:
        labels = batch.text_lengths - 1  # without the end token
        log_probs = log_softmax(model.ctc_logits(encoded, lengths))
        each = ctc_loss(log_probs, batch.text[:, :-1], lengths, labels, model.config.ctc.blank_id)
        # A text that does not fit its frames (fast speech, joined short words) is skipped.
        ctc = mx.where(mx.isfinite(each), each, 0).sum() / batch.text_lengths.sum()
    if with_text:
        logits = model.llm.logits(text_states(model, batch, model.adapt(encoded, lengths)))
        text = text_loss(logits, batch.text, batch.text_lengths, config.label_smoothing)
    return ctc, text


def text_states(model: Nano, batch: Batch, audio: mx.array) -> mx.array:
    """Return the LLM's hidden states [B, U, L] that predict each token of the text, teacher-forced.

    Rows are packed to the left (prompt, audio, prompt, text), as in recognition, with padding at the end.
    """
    embed = model.llm.embed
    parts = [embed(batch.prefix), audio, embed(batch.suffix), embed(batch.text)]
    counts = [batch.prefix_lengths, batch.audio_tokens, batch.suffix_lengths]
    width = sum(part.shape[1] for part in parts)
    place = mx.arange(width)[None]
    source = place
    end, room = mx.zeros_like(counts[0]), 0
    for count, part in zip(counts, parts, strict=False):
        end, room = end + count, room + part.shape[1]
        source = mx.where(place >= end[:, None], room + place - end[:, None], source)
    together = mx.concatenate([part.astype(audio.dtype) for part in parts], axis=1)
    source = mx.minimum(source, width - 1)
    states = model.llm(mx.take_along_axis(together, source[..., None], axis=1))
    predictors = end[:, None] - 1 + mx.arange(batch.text.shape[1])
    return mx.take_along_axis(states, predictors[..., None], axis=1)
