"""Excerpts of recordings for the page."""

import struct
import tracemalloc

import numpy as np
import pytest

from nanoasr.audio import load_audio
from nanoasr.ui.recordings import excerpt


@pytest.fixture
def ten_minutes(tmp_path):
    """Ten minutes of WAV, 8 kHz: silence but for a ramp in its last second."""
    length, path = 600 * 8000, tmp_path / "long.wav"
    with open(path, "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + 2 * length) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + b"data" + struct.pack("<I", 2 * length))
        file.seek(44 + 2 * (length - 8000))
        file.write(np.arange(8000, dtype="<i2").tobytes())
    return path


def test_an_excerpt_is_that_part_of_the_recording(ten_minutes):
    samples = load_audio(ten_minutes).samples
    np.testing.assert_array_equal(excerpt(str(ten_minutes), 590, 15, 7200), samples[590 * 16000 :])
    np.testing.assert_array_equal(excerpt(str(ten_minutes), 29.5, 1, 7200), samples[472000:488000])
    assert len(excerpt(str(ten_minutes), 601, 15, 7200)) == 0


def test_an_excerpt_from_the_end_of_a_long_recording_takes_little_memory(ten_minutes):
    tracemalloc.start()
    samples = excerpt(str(ten_minutes), 590, 15, 7200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(samples) == 160000
    assert peak < 15e6
