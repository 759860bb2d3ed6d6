"""Compute pitch, loudness, spectral centroid and onsets of a recording with librosa."""

from dataclasses import dataclass

import numpy as np

from ..errors import NanoASRError
from .features import FRAME_SHIFT
from .files import load_audio
from .resample import SAMPLE_RATE

LOWEST_PITCH, HIGHEST_PITCH = 65.0, 600.0  # Hz; from a low male voice to a child's
_WINDOW = 1024  # samples: 64 ms, four periods of the lowest pitch


@dataclass(frozen=True, eq=False)
class Sound:
    """Curves of a recording, all over `times`: one value every 10 ms, as filterbank frames are.

    times      [T] seconds: the centre of each value's window of 64 ms
    pitch      [T] fundamental frequency in Hz by pYIN; NaN where there is no voice
    voiced     [T] pYIN's probability that there is a voice
    rms        [T] root mean square of the samples
    centroid   [T] centre of mass of the spectrum in Hz; NaN in digital silence
    onsets     [K] seconds: where sounds begin
    """

    times: np.ndarray
    pitch: np.ndarray
    voiced: np.ndarray
    rms: np.ndarray
    centroid: np.ndarray
    onsets: np.ndarray


def describe_sound(samples, sample_rate: int | None = None, *, max_seconds: float = 30.0) -> Sound:
    """Compute pitch, loudness, spectral centroid and onsets of a recording of at most `max_seconds`.

    Takes what `load_audio` takes. Costs 0.14 s of CPU for each second of audio, and the import of librosa (seconds) in
    a process's first call.
    """
    y = load_audio(samples, sample_rate, max_seconds=max_seconds).samples
    try:
        import librosa  # here: it is slow to import

        pyin, feature, onset = librosa.pyin, librosa.feature, librosa.onset  # librosa imports its parts when used
    except (ImportError, RuntimeError) as error:  # RuntimeError: numba found no writable folder for its cache
        raise NanoASRError(f"librosa cannot be imported ({error})") from error
    pitch, _, voiced = pyin(
        y, fmin=LOWEST_PITCH, fmax=HIGHEST_PITCH, sr=SAMPLE_RATE, frame_length=_WINDOW, hop_length=FRAME_SHIFT
    )
    rms = feature.rms(y=y, frame_length=_WINDOW, hop_length=FRAME_SHIFT)[0]
    centroid = feature.spectral_centroid(y=y, sr=SAMPLE_RATE, n_fft=_WINDOW, hop_length=FRAME_SHIFT)[0]
    return Sound(
        times=np.arange(len(pitch)) * (FRAME_SHIFT / SAMPLE_RATE),
        pitch=pitch,
        voiced=voiced,
        rms=rms,
        centroid=np.where(rms > 0, centroid, np.nan),
        onsets=onset.onset_detect(y=y, sr=SAMPLE_RATE, hop_length=FRAME_SHIFT, units="time"),
    )
