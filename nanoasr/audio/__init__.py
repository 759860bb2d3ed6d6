"""Files and arrays -> 16 kHz mono samples; voice activity, segments, and the features of the front end."""

from .files import SAMPLE_RATE, Audio, load_audio, read_blocks

__all__ = ["SAMPLE_RATE", "Audio", "load_audio", "read_blocks"]
