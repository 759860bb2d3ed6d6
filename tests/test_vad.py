"""Where speech is, and where long audio is cut."""

import numpy as np
import pytest
from conftest import PARITY, SPEECH
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoasr.audio import load_audio
from nanoasr.detector import DetectorPool
from nanoasr.errors import OptionError
from nanoasr.vad import Segmenter, VadOptions, find_segments, has_speech, is_silent, quiet_place

RATE = 16000
SPOKEN = load_audio(SPEECH / "LJ002-0020.wav").samples
SENTENCE = np.load(PARITY / "expected.npz")["audio"]
TALK = np.concatenate(
    [SENTENCE, np.zeros(RATE, np.float32), SPOKEN, np.zeros(RATE // 5, np.float32), SENTENCE, SENTENCE]
)


def noise(kind: str, seconds: float) -> np.ndarray:
    n, rng = int(RATE * seconds), np.random.default_rng(5)
    if kind == "hum":
        return (0.2 * np.sin(2 * np.pi * 50 * np.arange(n) / RATE)).astype(np.float32)
    if kind == "clicks":
        return (rng.random(n) < 1e-4).astype(np.float32)
    spectrum = np.fft.rfft(rng.normal(size=n))
    if kind == "pink":
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    sound = np.fft.irfft(spectrum, n)
    return (0.05 * sound / sound.std()).astype(np.float32)


def test_pauses_separate_segments():
    spans = find_segments(TALK)
    assert len(spans) == 2  # the pause of a fifth of a second does not
    assert 0 <= spans[0].start < spans[0].end <= len(SENTENCE) + 0.3 * RATE
    assert spans[1].start >= len(SENTENCE) + RATE - 0.3 * RATE


@pytest.mark.parametrize("kind", ["white", "pink", "hum", "clicks"])
def test_noise_is_not_speech(kind):
    assert find_segments(noise(kind, 20)) == []
    assert not has_speech(noise(kind, 5), VadOptions())


@pytest.mark.parametrize("snr", [20, 10, 5])
def test_speech_in_noise_is_still_speech(snr):
    sound = noise("pink", len(SENTENCE) / RATE)
    sound *= SENTENCE.std() / sound.std() * 10 ** (-snr / 20)
    clean, noisy = np.zeros(len(SENTENCE), bool), np.zeros(len(SENTENCE), bool)
    for kept, samples in ((clean, SENTENCE), (noisy, SENTENCE + sound)):
        for span in find_segments(samples):
            kept[span.start : span.end] = True
    assert (clean & noisy).sum() > 0.95 * clean.sum()


def test_silence_needs_no_detector():
    assert is_silent(np.zeros(0, np.float32))
    assert is_silent(np.full(RATE, 5e-5, np.float32))
    assert not is_silent(SPOKEN)
    assert not has_speech(np.zeros(RATE, np.float32), VadOptions())
    assert has_speech(SPOKEN, VadOptions())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40_000), max_size=12))
def test_chunking_makes_no_difference(sizes):
    segmenter, spans, place = Segmenter(), [], 0
    for size in sizes:
        spans += segmenter.push(TALK[place : place + size])
        place += len(TALK[place : place + size])
    spans += segmenter.push(TALK[place:])
    assert spans + segmenter.finish() == find_segments(TALK)


@settings(max_examples=10, deadline=None)
@given(st.floats(2, 8), st.integers(0, 20_000))
def test_long_speech_is_cut_without_losing_or_doubling_any(longest, offset):
    speech = np.concatenate([SENTENCE] * 5)[offset:]
    options = VadOptions(max_segment=longest)
    spans = find_segments(speech, options)
    assert all(span.end - span.start <= longest * RATE for span in spans)
    for before, after in zip(spans, spans[1:], strict=False):
        assert after.start == before.end if before.cut else after.start >= before.end
    whole, parts = np.zeros(len(speech), bool), np.zeros(len(speech), bool)
    for span in find_segments(speech, VadOptions(max_segment=30)):
        whole[span.start : span.end] = True
    for span in spans:
        parts[span.start : span.end] = True
    assert (whole & ~parts).sum() < 0.05 * RATE


def test_a_cut_falls_where_it_is_quiet():
    gap = np.zeros(int(0.3 * RATE), np.float32)
    speech = np.concatenate([SENTENCE[8000:40000], gap, SENTENCE[8000:40000], gap, SENTENCE[8000:40000]])
    first = find_segments(speech, VadOptions(max_segment=5))[0]
    edges = [32000, 64000 + len(gap)]
    assert first.cut
    assert any(edge - 1000 <= first.end <= edge + len(gap) + 1000 for edge in edges)


def test_memory_does_not_grow_over_hours():
    segmenter = Segmenter()
    quiet = np.zeros(RATE * 60, np.float32)
    for _ in range(3):
        segmenter.push(quiet)
        assert len(segmenter._frames) == 0
    for _ in range(20):
        segmenter.push(SENTENCE)
        assert len(segmenter._frames) < 15 * RATE / 512
        assert segmenter.position - segmenter.needed_from <= 15 * RATE


def test_quiet_place_is_the_middle_of_the_quietest_tenth():
    sound = np.ones(RATE, np.float32)
    sound[9000:10600] = 0
    assert abs(quiet_place(sound, 0) - 9800) < 10
    assert quiet_place(sound, 12000) >= 12000


def test_detectors_in_other_processes_hear_the_same():
    pool = DetectorPool(2, in_processes=True)
    for _ in range(2):  # a process is used again for the next recording
        with pool.detector() as remote:
            segmenter = Segmenter(detector=remote)
            assert segmenter.push(TALK) + segmenter.finish() == find_segments(TALK)
    pool.close()


@pytest.mark.parametrize("bad", [{"max_segment": 31}, {"threshold": 1.5}, {"pad": 0.5}, {"min_silence": 0}])
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(OptionError, match=next(iter(bad))):
        VadOptions(**bad)
