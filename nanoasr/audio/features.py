"""Compute FunASR's `WavFrontend` in MLX: samples -> Kaldi filterbank -> LFR features.

Every step is one operation over all frames of all recordings, so a batch costs no more operations than one recording.
"""

import functools
from pathlib import Path

import mlx.core as mx
import numpy as np

from ..errors import CheckpointError
from .resample import SAMPLE_RATE

FRAME_LENGTH, FRAME_SHIFT = 400, 160  # 25 ms every 10 ms
FFT_SIZE = 512
MEL_BINS, LOW_HZ, HIGH_HZ = 80, 20.0, 8000.0
PRE_EMPHASIS = 0.97
LFR_WINDOW, LFR_SHIFT = 7, 6  # seven frames stacked, every 60 ms
FEATURE_SIZE = MEL_BINS * LFR_WINDOW
_MAX_CMVN_BYTES = 1 << 20  # a usual file has 16,000


def frame_count(samples: int) -> int:
    """Count the filterbank frames of a recording: only whole ones (Kaldi's "snip edges")."""
    return max(0, 1 + (samples - FRAME_LENGTH) // FRAME_SHIFT)


def lfr_count(frames: int) -> int:
    """Count the LFR frames of `frames` filterbank frames."""
    return -(-frames // LFR_SHIFT)


def filterbank(samples: mx.array, scale: float = 32768.0, window: np.ndarray | None = None) -> mx.array:
    """Compute log mel energies [..., T, 80] of 16 kHz samples in [-1, 1], [..., N].

    `scale` is what the samples are multiplied by; `window` [400] replaces the Hamming window.
    """
    frames = frame_count(samples.shape[-1])
    positions = mx.arange(frames)[:, None] * FRAME_SHIFT + mx.arange(FRAME_LENGTH)
    x = samples.astype(mx.float32)[..., positions] * scale
    x = x - x.mean(axis=-1, keepdims=True)
    previous = mx.concatenate([x[..., :1], x[..., :-1]], axis=-1)  # the first sample precedes itself
    x = (x - PRE_EMPHASIS * previous) * mx.array(_hamming() if window is None else window)
    spectrum = mx.fft.rfft(x, n=FFT_SIZE)
    power = mx.square(spectrum.real) + mx.square(spectrum.imag)
    mel = power @ mx.array(mel_matrix())
    return mx.log(mx.maximum(mel, float(np.finfo(np.float32).eps)))


def lfr(frames: mx.array, counts: mx.array | None = None) -> mx.array:
    """Stack filterbank frames [..., T, 80] to [..., ceil(T / 6), 560]: windows of seven frames, six apart.

    `counts` holds each recording's number of frames in a padded batch [B, T, 80], whose own last frame is then the
    one repeated at its end.
    """
    total = frames.shape[-2]
    # three copies of the first frame stand in front, so window i is centred on frame 6i
    positions = mx.arange(lfr_count(total))[:, None] * LFR_SHIFT + mx.arange(LFR_WINDOW) - LFR_WINDOW // 2
    if counts is None:
        x = frames[..., mx.clip(positions, 0, total - 1), :]
    else:
        last = mx.maximum(counts - 1, 0)[:, None]
        positions = mx.minimum(mx.maximum(positions.reshape(1, -1), 0), last)
        x = mx.take_along_axis(frames, positions[:, :, None], axis=1)
    return x.reshape(*frames.shape[:-2], lfr_count(total), FEATURE_SIZE)


def features(samples: mx.array, counts: mx.array | None = None, cmvn: mx.array | None = None) -> mx.array:
    """Compute the encoder's input, LFR features [..., T', 560], of samples [..., N].

    `counts`: each recording's number of samples in a padded batch [B, N]; `cmvn`: the result of `read_cmvn`, or None.
    """
    frames = None if counts is None else mx.maximum(1 + (counts - FRAME_LENGTH) // FRAME_SHIFT, 0)
    return normalized(lfr(filterbank(samples), frames), cmvn)


def normalized(lfr_frames: mx.array, cmvn: mx.array | None) -> mx.array:
    """Apply the mean and variance normalization of `read_cmvn`, if there is one."""
    return lfr_frames if cmvn is None else (lfr_frames + cmvn[0]) * cmvn[1]


@functools.cache
def mel_matrix() -> np.ndarray:
    """Return the 80 triangular Kaldi mel filters as one [257, 80] matrix; its last row (Nyquist) is zero."""

    def mel(hz: float | np.ndarray) -> np.ndarray:
        return 1127.0 * np.log(1.0 + np.asarray(hz) / 700.0)

    edges = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), MEL_BINS + 2)
    bins = mel(np.arange(FFT_SIZE // 2) * SAMPLE_RATE / FFT_SIZE)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    return np.vstack([filters, np.zeros((1, MEL_BINS))]).astype(np.float32)


@functools.cache
def _hamming() -> np.ndarray:
    return (0.54 - 0.46 * np.cos(2 * np.pi * np.arange(FRAME_LENGTH) / (FRAME_LENGTH - 1))).astype(np.float32)


def read_cmvn(path: Path) -> np.ndarray:
    """Read a Kaldi `am.mvn` text file -> [2, 560]: what to add to each feature, then what to multiply it by."""
    try:
        if path.stat().st_size > _MAX_CMVN_BYTES:
            raise ValueError(f"over {_MAX_CMVN_BYTES >> 20} MB")
        text = path.read_text(encoding="utf-8")
        after = [text.partition(tag)[2] for tag in ("<AddShift>", "<Rescale>")]
        rows = [part.partition("[")[2].partition("]")[0].split() for part in after]
        cmvn = np.array([[float(x) for x in row] for row in rows], dtype=np.float32)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a Kaldi am.mvn text file ({error})") from None
    if cmvn.shape != (2, FEATURE_SIZE) or not np.isfinite(cmvn).all():
        raise CheckpointError(
            f"{path}: expected <AddShift> and <Rescale> with {FEATURE_SIZE} numbers each, found shape {cmvn.shape}"
        )
    return cmvn
