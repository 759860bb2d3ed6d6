"""Read audio as 16 kHz mono samples; voice activity, segments, front-end features, sound curves."""

from .files import Audio, load_audio, read_blocks
from .resample import SAMPLE_RATE
from .sound import Sound, describe_sound

__all__ = ["SAMPLE_RATE", "Audio", "Sound", "describe_sound", "load_audio", "read_blocks"]
