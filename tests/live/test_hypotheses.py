"""Hypotheses about an open segment: what was known before makes them come sooner, and never makes them others."""

import mlx.core as mx
import numpy as np
import pytest
from places import HERE

import nanoasr
from nanoasr import backend
from nanoasr.audio.features import filterbank
from nanoasr.audio.files import load_audio
from nanoasr.live.hypotheses import IncrementalDecoder, OpenSegment

SAMPLES = load_audio(HERE.parent / "assets" / "speech" / "kokoro-number.wav").samples[: 3 * 16000]


@pytest.fixture(scope="module")
def asr():
    return nanoasr.load(dtype="float32")


def decoder(asr, cancelled=lambda: False, **options):
    return IncrementalDecoder(asr.scheduler, asr.decode_options(**options), cancelled)


def decode_open(made_by, samples=SAMPLES, ids=()):
    segment = OpenSegment(0, 2)
    segment.ids = list(ids)
    return made_by.decode_open(segment, samples, 0)


def ids_of(found):
    return [token.id for token in found.segment.tokens]


def test_frames_computed_bit_by_bit_are_those_of_the_whole():
    segment = OpenSegment(0, 2)
    for end in (500, 8000, 8001, 20000, len(SAMPLES)):
        found = backend.run(lambda end=end: np.array(segment.extend_filterbank(SAMPLES[:end])))
    np.testing.assert_allclose(found, backend.run(lambda: np.array(filterbank(mx.array(SAMPLES)))), atol=1e-4)


def test_the_ctc_branch_drafts_the_first_hypothesis(asr):
    first, alone = decode_open(decoder(asr)), decode_open(decoder(asr, draft=None))
    assert first.timings.accepted > 3
    assert alone.timings.accepted == 0
    assert ids_of(alone) == ids_of(first)


@pytest.mark.parametrize("ids", [[], [5, 6, 7], [400] * 200])
def test_no_draft_makes_another_hypothesis(asr, ids):
    assert ids_of(decode_open(decoder(asr), ids=ids)) == ids_of(decode_open(decoder(asr)))


def test_a_hypothesis_is_the_next_ones_draft(asr):
    segment, known = OpenSegment(0, 2), decoder(asr)
    first = known.decode_open(segment, SAMPLES, 0)
    assert segment.ids == ids_of(first)
    again = known.decode_open(segment, SAMPLES, 0)
    assert (ids_of(again), again.timings.steps) == (ids_of(first), 0)


def test_only_so_many_hypotheses_are_remembered(asr):
    known = decoder(asr)
    for _ in range(25):
        decode_open(known, SAMPLES[:4000])
    assert len(known._before) == 20


def test_a_segment_that_is_over_has_what_transcribe_gives(asr):
    found = decoder(asr).decode_final(SAMPLES, 16000, 1, [1, 2, 3])
    whole = asr.transcribe(SAMPLES, vad=False)
    assert (found.segment.text, found.segment.start) == (whole.text, 1.0)
    assert ids_of(found) == [token.id for token in whole.tokens]


def test_nothing_is_made_for_somebody_who_has_gone(asr):
    gone = decoder(asr, cancelled=lambda: True)
    assert decode_open(gone) is None
    assert gone.decode_final(SAMPLES, 0, 0, []) is None


def test_a_long_segment_is_decoded_again_when_an_eighth_of_it_is_new():
    segment = OpenSegment(0, agreement=2)
    segment.decoded_at = 80_000
    assert not segment.is_due(91_000)
    assert segment.is_due(92_000)
    segment.decoded_at = 8_000
    assert segment.is_due(16_000)
