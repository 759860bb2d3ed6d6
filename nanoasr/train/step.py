"""From a batch of indices to the two losses, all on the device: sound, features, network."""

from dataclasses import dataclass

from ..audio.features import FRAME_LENGTH, FRAME_SHIFT, LFR_SHIFT, filterbank, lfr, normalized
from ..model.ctc import log_softmax
from ..model.nano import Nano
from .augment import AugmentConfig, augment, change_speed, mask_filterbank
from .batches import Batch
from .loss import ctc_loss, text_loss

import mlx.core as mx  # isort: skip


@dataclass(frozen=True)
class LossConfig:
    """CTC is learnt from the start; the text joins after step `text_from`, over `text_ramp` steps."""

    ctc: float = 0.5
    text: float = 1.0
    text_from: int = 0
    text_ramp: int = 500
    label_smoothing: float = 0.1

    def text_weight(self, step: int) -> float:
        """The weight of the text's loss at a step."""
        return self.text * min(1.0, max(0, step + 1 - self.text_from) / max(1, self.text_ramp))


def on_device(batch: Batch) -> Batch:
    """The batch with MLX arrays."""
    return Batch(batch.samples, *(mx.array(array) for array in batch.arrays()), texts=batch.texts)


def features_of(
    pool: mx.array,
    batch: Batch,
    cmvn: mx.array | None = None,
    key: mx.array | None = None,
    config: AugmentConfig | None = None,
) -> tuple[mx.array, mx.array]:
    """LFR features [B, T', 560] of a batch and how many of each row are real; without a key, unaltered."""
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
    """The CTC loss and the text loss, each a mean over text tokens; zero where there is no such branch."""
    encoded = model.encode(features, lengths)
    ctc = text = mx.array(0.0)
    if config.ctc and model.config.ctc is not None:
        labels = batch.text_lengths - 1  # CTC knows no end
        log_probs = log_softmax(model.ctc_logits(encoded, lengths))
        each = ctc_loss(log_probs, batch.text[:, :-1], lengths, labels, model.config.ctc.blank_id)
        # A text that does not fit its frames (fast speech, joined short words) teaches CTC nothing.
        ctc = mx.where(mx.isfinite(each), each, 0).sum() / batch.text_lengths.sum()
    if with_text:
        logits = model.llm.logits(text_states(model, batch, model.adapt(encoded, lengths)))
        text = text_loss(logits, batch.text, batch.text_lengths, config.label_smoothing)
    return ctc, text


def text_states(model: Nano, batch: Batch, audio: mx.array) -> mx.array:
    """The LLM's states [B, U, L] from which it tells each token of the text, teacher-forced.

    Rows are packed to the left (prompt, audio, prompt, text) as in recognition, padding at the end.
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
    told_by = end[:, None] - 1 + mx.arange(batch.text.shape[1])
    return mx.take_along_axis(states, told_by[..., None], axis=1)
