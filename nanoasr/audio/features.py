"""Samples -> Kaldi filterbank -> LFR features, in MLX, as FunASR's `WavFrontend` computes them.

Every step is one operation over all frames of all recordings, so a batch costs what one recording costs.
"""

import functools
from pathlib import Path

import mlx.core as mx
import numpy as np

from ..errors import CheckpointError

SAMPLE_RATE = 16000
FRAME_LENGTH, FRAME_SHIFT = 400, 160  # 25 ms every 10 ms
FFT_SIZE = 512
MEL_BINS, LOW_HZ, HIGH_HZ = 80, 20.0, 8000.0
PRE_EMPHASIS = 0.97
LFR_WINDOW, LFR_SHIFT = 7, 6  # seven frames stacked, every 60 ms
FEATURE_SIZE = MEL_BINS * LFR_WINDOW
_LARGEST_CMVN = 1 << 20  # bytes; a usual one has 16,000


def frame_count(samples: int) -> int:
    """Filterbank frames of a recording: only those that lie in it whole (Kaldi's "snip edges")."""
    return max(0, 1 + (samples - FRAME_LENGTH) // FRAME_SHIFT)


def lfr_count(frames: int) -> int:
    """LFR frames made of `frames` filterbank frames."""
    return -(-frames // LFR_SHIFT)


def filterbank(samples: mx.array) -> mx.array:
    """16 kHz samples in [-1, 1], [..., N] -> log mel energies [..., T, 80]."""
    frames = frame_count(samples.shape[-1])
    positions = mx.arange(frames)[:, None] * FRAME_SHIFT + mx.arange(FRAME_LENGTH)
    x = samples.astype(mx.float32)[..., positions] * 32768.0
    x = x - x.mean(axis=-1, keepdims=True)
    before = mx.concatenate([x[..., :1], x[..., :-1]], axis=-1)  # the first sample precedes itself
    x = (x - PRE_EMPHASIS * before) * mx.array(_hamming())
    spectrum = mx.fft.rfft(x, n=FFT_SIZE)
    power = mx.square(spectrum.real) + mx.square(spectrum.imag)
    mel = power @ mx.array(mel_matrix())
    return mx.log(mx.maximum(mel, float(np.finfo(np.float32).eps)))


def lfr(frames: mx.array, counts: mx.array | None = None) -> mx.array:
    """Filterbank [..., T, 80] -> [..., ceil(T / 6), 560]: windows of seven frames, six apart.

    `counts` gives each recording's own number of frames where a batch [B, T, 80] is padded: the frame
    repeated at the end is then its own last one.
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


def features(samples: mx.array, counts: mx.array | None = None, cmvn: "mx.array | None" = None) -> mx.array:
    """Samples [..., N] -> LFR features [..., T', 560], what the encoder takes.

    `counts`: samples of each recording in a padded batch [B, N]; `cmvn`: what `read_cmvn` gave, if anything.
    """
    frames = None if counts is None else mx.maximum(1 + (counts - FRAME_LENGTH) // FRAME_SHIFT, 0)
    return normalized(lfr(filterbank(samples), frames), cmvn)


def normalized(lfr_frames: mx.array, cmvn: "mx.array | None") -> mx.array:
    """LFR frames in the measure that the encoder was trained in: `cmvn` is what `read_cmvn` gave, if anything."""
    return lfr_frames if cmvn is None else (lfr_frames + cmvn[0]) * cmvn[1]


@functools.cache
def mel_matrix() -> np.ndarray:
    """The 80 triangular Kaldi mel filters as one [257, 80] matrix; its last row (Nyquist) is zero."""

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
    """A Kaldi `am.mvn` text file -> [2, 560]: what to add to each feature, and what to multiply it with."""
    try:
        if path.stat().st_size > _LARGEST_CMVN:
            raise ValueError(f"over {_LARGEST_CMVN >> 20} MB")
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
