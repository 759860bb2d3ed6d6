"""The checkpoint that ships, end to end, on recordings that ship."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

import nanoasr
from nanoasr.audio.files import load_audio
from nanoasr.train.evaluate import word_error_rate

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


def spoken_digits() -> list[dict]:
    """Strings of digits of a real speaker, with the true time of each."""
    lines = [
        line for name in ("train", "test") for line in (SPEECH / f"digits/{name}.jsonl").read_text("utf-8").splitlines()
    ]
    return [json.loads(line) for line in lines]


def test_words_are_timed_within_150_ms_of_the_truth(asr):
    errors, strings = [], spoken_digits()
    for row in strings:
        t = asr.transcribe(SPEECH / "digits" / row["audio"])
        if t.text.split() == [word for word, _, _ in row["words"]]:  # others were misheard: they have no true times
            for heard, (_, start, end) in zip(t.words, row["words"], strict=True):
                errors += [abs(heard.start - start), abs(heard.end - end)]
    assert len(errors) >= 100
    assert sorted(errors)[len(errors) // 2] < 0.03
    assert sum(error > 0.15 for error in errors) <= len(errors) / 100


def test_times_hold_in_noise(asr):
    errors, rng = [], np.random.default_rng(0)
    for row in spoken_digits()[:12]:
        samples = load_audio(SPEECH / "digits" / row["audio"]).samples
        noise = rng.normal(0, np.sqrt(np.square(samples).mean()) / 10, len(samples))  # 20 dB below
        t = asr.transcribe(samples + noise.astype(np.float32))
        if t.text.split() == [word for word, _, _ in row["words"]]:
            errors += [abs(heard.start - start) for heard, (_, start, _) in zip(t.words, row["words"], strict=True)]
    assert len(errors) >= 20
    assert sum(error > 0.15 for error in errors) <= len(errors) / 20


HOTWORDS = {
    "jfk.flac": ("americans", "country"),
    "librivox-0870.wav": ("dashwood", "leisure", "prudently"),
    "librivox-0890.wav": ("selfish", "disposed"),
    "LJ002-0020.wav": ("eighteen", "thirteen"),
}


def what_is_said() -> dict[str, str]:
    """The texts in the table of the recordings' README."""
    rows = [line.split("|") for line in (SPEECH / "README.md").read_text(encoding="utf-8").splitlines() if "|" in line]
    texts = {row[1].strip().strip("`"): row[2].strip() for row in rows}
    return {name: texts[name] for name in HOTWORDS}


def test_hotwords_that_were_said_change_what_is_written_and_do_no_harm(asr):
    said = list(what_is_said().values())
    plain = [asr.transcribe(SPEECH / name).text for name in HOTWORDS]
    biased = [asr.transcribe(SPEECH / name, hotwords=words).text for name, words in HOTWORDS.items()]
    assert plain != biased or plain == said
    assert word_error_rate(said, biased) <= word_error_rate(said, plain) + 5


def test_hotwords_bring_the_words_that_were_half_heard_and_no_others(asr):
    file = SPEECH / "librivox-0870.wav"  # "and mister john dashwood had …"
    assert "dashwood" not in asr.transcribe(file).text.split()
    assert "john dashwood had" in asr.transcribe(file, hotwords=["dashwood"]).text
    assert "telescope" not in asr.transcribe(file, hotwords=["telescope"]).text.split()
