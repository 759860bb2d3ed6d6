"""Read audio as 16 kHz mono samples; voice activity, segments, and the features of the front end."""

from .files import Audio, load_audio, read_blocks
from .resample import SAMPLE_RATE

__all__ = ["SAMPLE_RATE", "Audio", "load_audio", "read_blocks"]
