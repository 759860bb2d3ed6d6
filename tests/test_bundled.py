"""The checkpoint that ships, end to end, on recordings that ship."""

import time
from pathlib import Path

import pytest

import nanoasr

SPEECH = Path(__file__).parents[1] / "assets" / "speech"
NUMBER = "my number is seven three one nine four one three eight eight five".split()


@pytest.fixture(scope="module")
def asr() -> nanoasr.Recognizer:
    return nanoasr.load()


def test_it_is_the_default_loads_at_once_and_says_what_it_is(asr):
    start = time.perf_counter()
    info = nanoasr.load().info()
    assert time.perf_counter() - start < 1
    assert "nano-tiny" in info.source
    assert info.timestamps
    assert any("demonstration" in note for note in info.notes)


def test_it_fits_the_repository():
    folder = Path(nanoasr.load().info().source)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 25e6


def test_a_number_spoken_by_an_unheard_voice_is_read(asr):
    heard = asr.transcribe(SPEECH / "kokoro-number.wav").text.split()
    assert sum(a == b for a, b in zip(heard, NUMBER, strict=False)) >= 10


def test_words_have_times_in_order(asr):
    t = asr.transcribe(SPEECH / "kokoro-number.wav")
    times = [edge for word in t.words for edge in (word.start, word.end)]
    assert len(t.words) >= 10
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= t.duration + 0.1


def test_eleven_seconds_take_less_than_their_length_many_times_over(asr):
    asr.transcribe(SPEECH / "jfk.flac")
    start = time.perf_counter()
    t = asr.transcribe(SPEECH / "jfk.flac", on_token=lambda piece: None)
    assert time.perf_counter() - start < 3
    assert t.text


def test_every_recording_that_ships_is_transcribed(asr):
    files = sorted(SPEECH.glob("*.*a*[vc]"))
    assert len(files) >= 5
    for t in asr.transcribe_batch(files, batch_size=3):
        assert t.text
