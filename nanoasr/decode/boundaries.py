"""Where words begin and end in the sound, given about where each was recognized.

A CTC branch writes a word once it is sure of it: halfway through it as a rule, but a network that sees the whole
recording may as well write the first one before it is said. So the branch tells which word is about where, and the
sound itself, by the 10 ms, where one ends and the next begins: at the quietest place between the two.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from ..audio.features import FFT_SIZE, FRAME_LENGTH, FRAME_SHIFT, MEL_BINS, SAMPLE_RATE, mel_matrix

_STEP = FRAME_SHIFT / SAMPLE_RATE
_BANDS = 20
_DEPTH = 55.0  # dB below the loudest: what is quieter is silence
_NOISE = 0.1  # the share of frames that are taken to hold no speech
_SOUND = 0.1  # of the way from the quietest to the loudest: a weak consonant is above
_PAUSE = 7  # frames that a place is judged by: longer than most closures inside words
_LETTER = 0.04  # seconds of sound that a word has at least for each of its letters
_REACH = 0.8  # seconds: no edge is farther than this from where its word was recognized


def word_edges(
    samples: np.ndarray, recognized: Sequence[tuple[float, float]], letters: Sequence[int]
) -> list[tuple[float, float]]:
    """(start, end) of each word in seconds.

    `recognized`: when its first and its last unit were; `letters`: how long it is in writing.
    """
    level = loudness(samples)
    quiet, loud = np.quantile(level, [0.05, 0.98])
    sounding = level > quiet + _SOUND * (loud - quiet)
    heard = np.concatenate([[0], np.cumsum(sounding)])
    smooth = _mean_over(level[:, None], _PAUSE)[:, 0]
    frames = [tuple(min(max(0, round(t / _STEP)), len(level) - 1) for t in times) for times in recognized]
    borders = [0]
    for (_, last), (following, _), count in zip(frames, frames[1:], letters, strict=False):
        spoken = int(np.searchsorted(heard, heard[borders[-1]] + count * _LETTER / _STEP))
        low = min(max(last, spoken, borders[-1] + 1), max(following, borders[-1] + 1), len(level) - 1)
        between = smooth[low : max(following, low) + 1]
        quietest = np.flatnonzero(between <= between.min() + 0.5)
        borders.append(low + int(quietest[len(quietest) // 2]))
    borders.append(len(level))
    reach, edges = round(_REACH / _STEP), []
    for (first, last), (begin, end) in zip(frames, itertools.pairwise(borders), strict=True):
        begin = min(max(begin, first - reach), end)
        where = begin + np.flatnonzero(sounding[begin:end])
        if len(where):
            begin = where[0]
            end = where[where <= max(begin, last) + reach][-1] + 1
        edges.append((float(begin * _STEP), float(end * _STEP)))
    return edges


def loudness(samples: np.ndarray) -> np.ndarray:
    """By how many dB every 10 ms is above the recording's own noise: a mean over bands, so that noise in some of
    them, such as a hum, hides nothing."""
    count = max(1, -(-len(samples) // FRAME_SHIFT))
    x = np.pad(np.asarray(samples, dtype=np.float32), (FRAME_LENGTH // 2, FRAME_LENGTH // 2 + FRAME_SHIFT))
    frames = np.lib.stride_tricks.sliding_window_view(x, FRAME_LENGTH)[::FRAME_SHIFT][:count]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(FRAME_LENGTH).astype(np.float32), FFT_SIZE))
    # One product a frame: of all at once OpenBLAS's threads would wake, and then spin in the way of MLX's for 0.1 s.
    bands = (np.square(spectrum)[:, None] @ _band_matrix())[:, 0]
    level = 10 * np.log10(_mean_over(bands, 3) + 1e-10)
    noise = np.maximum(np.quantile(level, _NOISE, axis=0), level.max() - _DEPTH)
    return np.maximum(level - noise, 0).mean(axis=1)


@functools.cache
def _band_matrix() -> np.ndarray:
    return mel_matrix().reshape(-1, _BANDS, MEL_BINS // _BANDS).sum(axis=2)


def _mean_over(rows: np.ndarray, width: int) -> np.ndarray:
    """Means over `width` rows around each."""
    padded = np.pad(rows, ((width // 2 + 1, width // 2), (0, 0)), mode="edge")
    sums = padded.cumsum(axis=0, dtype=np.float64)
    return (sums[width:] - sums[:-width]) / width
