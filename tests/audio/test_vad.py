"""Where speech is, and where long audio is cut."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import PARITY, SPEECH

from nanoasr.audio.detector import FRAME
from nanoasr.audio.files import load_audio
from nanoasr.audio.vad import Segmenter, VadOptions, find_segments, has_speech, is_silent, quiet_place
from nanoasr.errors import OptionError

RATE = 16000
SPOKEN = load_audio(SPEECH / "LJ002-0020.wav").samples
SENTENCE = np.load(PARITY / "expected.npz")["audio"]
TALK = np.concatenate(
    [SENTENCE, np.zeros(RATE, np.float32), SPOKEN, np.zeros(RATE // 5, np.float32), SENTENCE, SENTENCE]
)


class ScriptedDetector:
    """A detector with given probabilities, so that any sequence can be tried."""

    def __init__(self, probabilities):
        self.waiting = list(probabilities)
        self.frames_seen = 0

    def probabilities(self, frames):
        self.frames_seen += len(frames)
        scripted, self.waiting = self.waiting[: len(frames)], self.waiting[len(frames) :]
        return scripted


@st.composite
def scripted_speech(draw):
    """Probabilities in runs, as speech and pauses go, and as much sound that is never silent."""
    runs = draw(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 150)), min_size=1, max_size=12))
    probabilities = [probability for probability, length in runs for _ in range(length)]
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    n = len(probabilities) * FRAME - draw(st.integers(0, FRAME - 1))
    return probabilities, rng.normal(0, 0.1, n).astype(np.float32)


any_options = st.builds(
    VadOptions,
    threshold=st.floats(0.2, 0.9),
    min_speech=st.floats(0, 0.5),
    min_silence=st.floats(0.4, 2),
    pad=st.floats(0, 0.2),
    max_segment=st.floats(2, 30),
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


def inside(spans, length: int) -> np.ndarray:
    kept = np.zeros(length, bool)
    for span in spans:
        kept[span.start : span.end] = True
    return kept


def test_pauses_separate_segments():
    spans = find_segments(TALK)
    assert len(spans) == 2  # the pause of a fifth of a second does not
    assert 0 <= spans[0].start < spans[0].end <= len(SENTENCE) + 0.3 * RATE
    assert spans[1].start >= len(SENTENCE) + RATE - 0.3 * RATE


@pytest.mark.parametrize("kind", ["white", "pink", "hum", "clicks"])
def test_noise_is_not_speech(kind):
    sound = noise(kind, 10)
    assert find_segments(sound) == []
    assert not has_speech(sound[: 2 * RATE], VadOptions())


@pytest.mark.parametrize("snr", [20, 5])
def test_speech_in_noise_is_still_speech(snr):
    sound = noise("pink", len(SENTENCE) / RATE)
    sound *= SENTENCE.std() / sound.std() * 10 ** (-snr / 20)
    clean, noisy = (inside(find_segments(samples), len(SENTENCE)) for samples in (SENTENCE, SENTENCE + sound))
    assert (clean & noisy).sum() > 0.95 * clean.sum()


def test_has_speech_tells_speech_from_silence():
    assert has_speech(SPOKEN, VadOptions())
    assert not has_speech(np.zeros(RATE, np.float32), VadOptions())
    assert not has_speech(np.zeros(0, np.float32), VadOptions())


def test_silence_is_a_peak_below_80_db():
    assert is_silent(np.zeros(0, np.float32))
    assert is_silent(np.full(RATE, 9e-5, np.float32))
    assert not is_silent(np.append(np.zeros(RATE, np.float32), np.float32(-2e-4)))


def test_near_silence_gives_nothing_and_the_detector_is_not_run():
    certain = ScriptedDetector([1.0] * 1000)
    segmenter = Segmenter(detector=certain)
    assert segmenter.push(np.full(10 * RATE, 5e-5, np.float32)) + segmenter.finish() == []
    assert certain.frames_seen == 0
    assert list(segmenter.probabilities) == [0.0] * 313


@pytest.mark.parametrize("chunk", [700, 20_000, 10 * RATE])
def test_the_detector_is_run_on_the_first_moments_of_a_silence_only(chunk):
    words = noise("white", 20 * FRAME / RATE)
    sound = np.concatenate([words, np.zeros(100 * FRAME, np.float32), words])
    certain = ScriptedDetector([1.0] * 1000)
    segmenter = Segmenter(detector=certain)
    spans = [span for i in range(0, len(sound), chunk) for span in segmenter.push(sound[i : i + chunk])]
    spans += segmenter.finish()
    pad = round(0.2 * RATE)
    assert [(span.start, span.end) for span in spans] == [(0, 20 * FRAME + pad), (120 * FRAME - pad, 140 * FRAME)]
    assert 40 < certain.frames_seen <= 50


def test_speech_goes_on_until_well_below_the_threshold():
    sound = noise("white", 100 * FRAME / RATE)
    for probability, frames in ((0.4, 60), (0.3, 10)):
        scripted = ScriptedDetector([0.9] * 10 + [probability] * 50 + [0.0] * 40)
        segmenter = Segmenter(VadOptions(pad=0), scripted)
        assert [span.end for span in segmenter.push(sound)] == [frames * FRAME]


@settings(max_examples=3, deadline=None)
@given(st.lists(st.integers(1, 40_000), max_size=12))
def test_chunking_makes_no_difference(sizes):
    segmenter, spans, place = Segmenter(), [], 0
    for size in sizes:
        spans += segmenter.push(TALK[place : place + size])
        place += len(TALK[place : place + size])
    spans += segmenter.push(TALK[place:])
    assert spans + segmenter.finish() == find_segments(TALK)


@settings(max_examples=60, deadline=None)
@given(scripted_speech(), any_options, st.lists(st.integers(0, 20_000), max_size=12))
def test_chunking_makes_no_difference_to_any_sequence_of_probabilities(scripted, options, sizes):
    probabilities, sound = scripted
    whole = Segmenter(options, ScriptedDetector(probabilities))
    parts = Segmenter(options, ScriptedDetector(probabilities))
    chunks = np.split(sound, np.minimum(np.cumsum(sizes, dtype=int), len(sound)))
    spans = [span for chunk in chunks for span in parts.push(chunk)] + parts.finish()
    assert spans == whole.push(sound) + whole.finish()
    assert parts.probabilities == whole.probabilities


@settings(max_examples=100, deadline=None)
@given(scripted_speech(), any_options)
def test_segments_are_in_order_short_enough_and_touch_where_they_were_cut(scripted, options):
    probabilities, sound = scripted
    segmenter = Segmenter(options, ScriptedDetector(probabilities))
    spans = segmenter.push(sound) + segmenter.finish()
    assert all(0 <= span.start < span.end <= len(sound) for span in spans)
    assert all(span.end - span.start <= options.max_segment * RATE for span in spans)
    for before, after in itertools.pairwise(spans):
        assert after.start == before.end if before.cut else after.start >= before.end
    assert not (spans and spans[-1].cut)


@settings(max_examples=100, deadline=None)
@given(scripted_speech(), any_options)
def test_all_speech_is_in_some_segment(scripted, options):
    probabilities, sound = scripted
    segmenter = Segmenter(options, ScriptedDetector(probabilities))
    kept = inside(segmenter.push(sound) + segmenter.finish(), len(sound))
    spoken = np.array(probabilities) >= options.threshold
    edges = np.flatnonzero(np.diff(np.concatenate([[0], spoken, [0]])))
    for first, past in zip(edges[::2], edges[1::2], strict=True):
        if (past - first) * FRAME >= options.min_speech * RATE:
            assert kept[first * FRAME : past * FRAME].all()


@settings(max_examples=3, deadline=None)
@given(st.floats(2, 8), st.integers(0, 20_000))
def test_long_speech_is_cut_without_losing_or_doubling_any(longest, offset):
    speech = np.concatenate([SENTENCE] * 3)[offset:]
    spans = find_segments(speech, VadOptions(max_segment=longest))
    whole = inside(find_segments(speech, VadOptions(max_segment=30)), len(speech))
    assert len(spans) > 1
    assert (whole & ~inside(spans, len(speech))).sum() < 0.05 * RATE


def test_a_cut_falls_where_it_is_quiet():
    gap = np.zeros(int(0.3 * RATE), np.float32)
    speech = np.concatenate([SENTENCE[8000:40000], gap, SENTENCE[8000:40000], gap, SENTENCE[8000:40000]])
    first = find_segments(speech, VadOptions(max_segment=5))[0]
    edges = [32000, 64000 + len(gap)]
    assert first.cut
    assert any(edge - 1000 <= first.end <= edge + len(gap) + 1000 for edge in edges)


@pytest.mark.parametrize("frames", range(45, 75))
def test_speech_about_as_long_as_a_segment_can_be(frames):
    sound = noise("white", 100 * FRAME / RATE)
    segmenter = Segmenter(
        VadOptions(max_segment=2), ScriptedDetector([1.0] * frames + [0.0] * 7 + [1.0] * (93 - frames))
    )
    spans = segmenter.push(sound) + segmenter.finish()
    assert all(span.end - span.start <= 2 * RATE for span in spans)
    assert all(after.start >= before.end for before, after in itertools.pairwise(spans))
    spoken = np.repeat(np.arange(100) < frames, FRAME) | np.repeat(np.arange(100) >= frames + 7, FRAME)
    assert inside(spans, len(sound))[spoken].all()


def test_the_rest_of_cut_speech_is_kept_however_short():
    sound = noise("white", 2.6)
    segmenter = Segmenter(VadOptions(max_segment=2, min_speech=0.9), ScriptedDetector([1.0] * 60 + [0.0] * 100))
    spans = segmenter.push(sound) + segmenter.finish()
    assert spans[0].cut
    assert spans[1].end - spans[1].start < 0.9 * RATE + 2 * 0.2 * RATE
    assert inside(spans, len(sound))[: 60 * FRAME].all()


def test_a_recording_may_come_as_blocks():
    blocks = (TALK[i : i + 5000] for i in range(0, len(TALK), 5000))
    assert find_segments(blocks) == find_segments(TALK)
    assert find_segments(iter([])) == []


@settings(max_examples=40, deadline=None)
@given(scripted_speech(), any_options)
def test_no_segment_begins_before_needed_from(scripted, options):
    probabilities, sound = scripted
    segmenter, needed = Segmenter(options, ScriptedDetector(probabilities)), 0
    for chunk in np.array_split(sound, 9):
        assert all(span.start >= needed for span in segmenter.push(chunk))
        assert segmenter.needed_from >= needed
        needed = segmenter.needed_from
    assert all(span.start >= needed for span in segmenter.finish())


def test_an_open_segment_can_be_watched():
    segmenter = Segmenter(detector=ScriptedDetector([0.0] * 20 + [0.9] * 20))
    segmenter.push(noise("white", 20 * FRAME / RATE))
    assert segmenter.start is None
    segmenter.push(noise("white", 20 * FRAME / RATE))
    assert segmenter.start == 20 * FRAME - 0.2 * RATE
    assert segmenter.speaking
    assert list(segmenter.probabilities) == [0.0] * 20 + [0.9] * 20


def test_memory_does_not_grow_over_hours():
    hour = 3600 * RATE // FRAME
    segmenter = Segmenter(detector=ScriptedDetector(np.where(np.arange(3 * hour) % 3000 < 2500, 0.9, 0.0)))
    minute, spans = noise("white", 60), 0
    for _ in range(180):
        spans += len(segmenter.push(minute))
        assert len(segmenter._frames) <= 15 * RATE / FRAME
        assert len(segmenter.probabilities) <= 1000
        assert segmenter.position - segmenter.needed_from <= 15 * RATE
    assert spans > 180 * 4 * 0.8


def test_quiet_place_is_the_middle_of_the_quietest_tenth():
    sound = np.ones(RATE, np.float32)
    sound[9000:10600] = 0
    assert abs(quiet_place(sound, 0) - 9800) < 10
    assert quiet_place(sound, 12000) >= 12000


@pytest.mark.parametrize(
    "bad",
    [
        {"threshold": 1.5},
        {"threshold": float("nan")},
        {"min_speech": 3},
        {"min_silence": 0},
        {"pad": 0.5},
        {"pad": 0.6, "min_silence": 2},
        {"max_segment": 31},
        {"max_segment": 1},
        {"threshold": "0.5"},
        {"pad": None},
        {"min_speech": True},
        {"pad": False},
    ],
)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(OptionError, match=next(iter(bad))):
        VadOptions(**bad)
