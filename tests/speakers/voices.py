"""Voices for the tests of diarization, from the recordings that ship."""

import sys
from pathlib import Path

import numpy as np

from nanoasr.audio import load_audio

ASSETS = Path(__file__).parents[2] / "assets"
SPEECH = ASSETS / "speech"
DATA = Path(__file__).parent / "data"
sys.path.append(str(ASSETS / "speaker" / "recipe"))

from conversations import Conversation, converse, cut_at_pauses, trimmed  # noqa: E402

RECORDINGS = {  # of each voice
    "kennedy": ["jfk.flac"],
    "librivox": ["librivox-0870.wav", "librivox-0890.wav"],
    "george": [f"digits/test-{i:02}.opus" for i in range(12)],
    "kokoro": ["kokoro-number.wav", "kokoro-command.wav"],
}


def speech(voice: str) -> np.ndarray:
    """All that one voice says in the samples that ship."""
    return np.concatenate([trimmed(load_audio(SPEECH / name).samples) for name in RECORDINGS[voice]])


def conversation(*names: str, seconds: float = 40, seed: int = 0) -> Conversation:
    """A conversation of some of the voices."""
    random = np.random.default_rng(seed)
    return converse({name: iter(map(trimmed, cut_at_pauses(speech(name)))) for name in names}, seconds, random)
