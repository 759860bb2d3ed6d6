"""Hypotheses about an open segment: what was known before makes them come sooner, and never makes them others."""

import mlx.core as mx
import numpy as np
import pytest
from places import HERE

import nanoasr
from nanoasr import backend
from nanoasr.audio.features import filterbank
from nanoasr.audio.files import load_audio
from nanoasr.live.hypotheses import Guesser, OpenSegment

SAMPLES = load_audio(HERE.parent / "assets" / "speech" / "kokoro-number.wav").samples[: 3 * 16000]


@pytest.fixture(scope="module")
def asr():
    return nanoasr.load()


def guesser(asr, cancelled=lambda: False, **wish):
    wish = {"language": None, "hotwords": None, "itn": True, "sampling": nanoasr.Sampling(), "timestamps": True} | wish
    return Guesser(asr.checkpoint, asr._wish(**wish), cancelled)


def guess(made_by, samples=SAMPLES, ids=()):
    segment = OpenSegment(0, 2)
    segment.ids = list(ids)
    return backend.run(made_by.guess, segment, samples, 0)


def test_frames_heard_bit_by_bit_are_those_of_the_whole():
    segment = OpenSegment(0, 2)
    for end in (500, 8000, 8001, 20000, len(SAMPLES)):
        heard = backend.run(lambda end=end: np.array(segment.hear(SAMPLES[:end])))
    np.testing.assert_allclose(heard, backend.run(lambda: np.array(filterbank(mx.array(SAMPLES)))), atol=1e-4)


def test_the_ctc_branch_drafts_the_first_hypothesis(asr):
    first, alone = guess(guesser(asr)), guess(guesser(asr, timestamps=False))
    assert first.made.accepted > 3
    assert alone.made.accepted < first.made.accepted
    assert alone.made.ids == first.made.ids


@pytest.mark.parametrize("ids", [[], [5, 6, 7], [400] * 200])
def test_no_draft_makes_another_hypothesis(asr, ids):
    assert guess(guesser(asr), ids=ids).made.ids == guess(guesser(asr)).made.ids


def test_a_hypothesis_is_the_next_ones_draft_and_an_older_one_is_remembered(asr):
    one, known = OpenSegment(0, 2), guesser(asr, timestamps=False)
    first = backend.run(known.guess, one, SAMPLES, 0)
    assert one.ids == first.made.ids
    again = backend.run(known.guess, one, SAMPLES, 0)
    assert (again.made.ids, again.made.steps) == (first.made.ids, 0)
    assert guess(known, ids=first.made.ids[:1]).made.steps < first.made.steps  # the draft lacks what was said before


def test_only_so_many_hypotheses_are_remembered(asr):
    known = guesser(asr)
    for _ in range(25):
        guess(known, SAMPLES[:4000])
    assert len(known._before) == 20


def test_a_segment_that_is_over_has_what_transcribe_gives(asr):
    found = backend.run(guesser(asr).finish, SAMPLES, 16000, 1, [1, 2, 3])
    whole = asr.transcribe(SAMPLES, vad=False)
    assert (found.segment.text, found.segment.start) == (whole.text, 1.0)
    assert [token.id for token in found.segment.tokens] == [token.id for token in whole.tokens]


def test_nothing_is_made_for_somebody_who_has_gone(asr):
    gone = guesser(asr, cancelled=lambda: True)
    assert guess(gone) is None
    assert backend.run(gone.finish, SAMPLES, 0, 0, []) is None


def test_a_long_segment_is_read_anew_when_an_eighth_of_it_is_new():
    segment = OpenSegment(0, agreement=2)
    segment.guessed_at = 80_000
    assert not segment.is_due(91_000)
    assert segment.is_due(92_000)
    segment.guessed_at = 8_000
    assert segment.is_due(16_000)
