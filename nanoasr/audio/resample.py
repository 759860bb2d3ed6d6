"""Resample to 16 kHz: a stream with soxr, a whole array with librosa. Both give the same samples."""

import numpy as np
import soxr

from ..errors import OptionError

SAMPLE_RATE = 16000
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000


class Resampler:
    """Resample a stream from `rate` to 16 kHz.

    The joined outputs do not depend on how the stream is chunked. Output lags up to about 50 ms; `finish` returns
    the rest.
    """

    def __init__(self, rate: int):
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise OptionError(f"sample rate {rate} Hz: must be from {LOWEST_RATE} to {HIGHEST_RATE}")
        self.rate = rate
        self._soxr = soxr.ResampleStream(rate, SAMPLE_RATE, 1) if rate != SAMPLE_RATE else None

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add mono samples and return those that are ready at 16 kHz (float32, maybe none)."""
        samples = np.array(samples, np.float32)
        return self._soxr.resample_chunk(samples) if self._soxr else samples

    def finish(self) -> np.ndarray:
        """Return the samples still held back and reset for another stream."""
        nothing = np.empty(0, np.float32)
        if not self._soxr:
            return nothing
        tail = self._soxr.resample_chunk(nothing, last=True)
        self._soxr.clear()
        return tail


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resample a whole mono float32 array from `rate` to 16 kHz."""
    stream = Resampler(rate)
    if rate == SAMPLE_RATE:
        return samples
    try:
        import librosa  # here: it takes seconds to import

        return librosa.resample(samples, orig_sr=rate, target_sr=SAMPLE_RATE, res_type="soxr_hq", fix=False)
    except (ImportError, RuntimeError):  # its numba finds no writable folder for its cache
        return np.concatenate([stream.push(samples), stream.finish()])
