"""Samples -> what the speaker networks take: librosa's mel energies for GE2E, Kaldi's filterbank for CAM++."""

import functools

import mlx.core as mx
import numpy as np

from ..audio.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE, filterbank, frame_count

MEL_BINS = 40


def mel_energies(windows: mx.array) -> mx.array:
    """Compute mel energies [B, 1 + N // 160, 40] of samples [B, N] as `librosa.feature.melspectrogram` does; no log."""
    padded = mx.contiguous(mx.pad(windows.astype(mx.float32), [(0, 0), (FRAME_LENGTH // 2, FRAME_LENGTH // 2)]))
    batch, length = padded.shape
    frames = mx.as_strided(padded, (batch, frame_count(length), FRAME_LENGTH), (length, FRAME_SHIFT, 1))
    return mx.square(frames @ mx.array(_fourier())) @ mx.array(np.tile(slaney_filters(), (2, 1)))


def mel_energies_on_cpu(windows: np.ndarray) -> np.ndarray:
    """Compute the same in NumPy on the calling thread."""
    padded = np.pad(windows, [(0, 0), (FRAME_LENGTH // 2, FRAME_LENGTH // 2)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME_LENGTH, axis=1)[:, ::FRAME_SHIFT]
    filters = np.repeat(slaney_filters(), 2, axis=0)  # for a spectrum's real and imaginary parts
    return np.stack([np.square(np.fft.rfft(own * _hann()).view(np.float32)) @ filters for own in frames])


def kaldi_filterbank(windows: mx.array) -> mx.array:
    """Compute log mel energies [B, T, 80] of samples [B, N], less their mean over time, as FunASR feeds CAM++."""
    mel = filterbank(windows, scale=1.0, window=_povey())
    return mel - mel.mean(axis=1, keepdims=True)


@functools.cache
def _fourier() -> np.ndarray:
    """Make the matrix [400, 2 * 201] of a Hann-windowed frame's Fourier transform, real and imaginary parts.

    With MLX the product takes less time than an FFT.
    """
    phases = 2 * np.pi * np.outer(np.arange(FRAME_LENGTH), np.arange(FRAME_LENGTH // 2 + 1)) / FRAME_LENGTH
    return (_hann()[:, None] * np.concatenate([np.cos(phases), np.sin(phases)], axis=1)).astype(np.float32)


@functools.cache
def _hann() -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_LENGTH) / FRAME_LENGTH)).astype(np.float32)


@functools.cache
def _povey() -> np.ndarray:
    return ((0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_LENGTH) / (FRAME_LENGTH - 1))) ** 0.85).astype(np.float32)


@functools.cache
def slaney_filters() -> np.ndarray:
    """librosa's 40 mel filters of equal area, from 0 to 8,000 Hz, as a [201, 40] matrix."""
    # Slaney's scale is linear up to 1,000 Hz (mel 15), then logarithmic: 27 mel for a factor of 6.4.
    mel = np.linspace(0, 15 + 27 * np.log(SAMPLE_RATE / 2 / 1000) / np.log(6.4), MEL_BINS + 2)
    edges = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27))
    hz = np.linspace(0, SAMPLE_RATE / 2, FRAME_LENGTH // 2 + 1)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    filters = np.maximum(0, np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)))
    return (filters * 2 / (right - left)).astype(np.float32)
