"""Forced alignment against trying every path, and times of tokens."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoasr.checkpoint.ctc_tokens import Piece
from nanoasr.decode.align import align, token_times

BLANK = 3


def collapsed(path: tuple[int, ...]) -> list[int]:
    return [unit for unit, _ in itertools.groupby(path) if unit != BLANK]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(0, 2), min_size=1, max_size=3), st.integers(0, 10_000))
def test_the_path_found_is_the_likeliest_of_all(frames, targets, seed):
    logits = np.random.default_rng(seed).normal(size=(frames, 4))
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    paths = [p for p in itertools.product(range(4), repeat=frames) if collapsed(p) == targets]
    found = align(logprobs, targets, BLANK)
    if not paths:
        assert found is None
        return
    best = max(paths, key=lambda p: sum(logprobs[i, unit] for i, unit in enumerate(p)))
    path = [BLANK] * frames
    for unit, span in zip(targets, found, strict=True):
        path[span.start : span.end] = [unit] * (span.end - span.start)
    assert math.isclose(
        sum(logprobs[i, unit] for i, unit in enumerate(path)), sum(logprobs[i, unit] for i, unit in enumerate(best))
    )


def test_a_long_text_is_aligned_as_well_as_a_short_one():
    said = {frame: frame % 3 for frame in range(0, 1000, 2)}
    found = align(spikes(1000, said), list(said.values()), BLANK)
    assert [(span.start, span.end) for span in found] == [(frame, frame + 1) for frame in said]


def times_of(token_texts, text, logprobs, samples, offset=0.0):
    """The times of tokens where a, b and c are the units."""
    pieces = [Piece("abc".index(char), i, i + 1) for i, char in enumerate(text) if char in "abc"]
    columns = logprobs[:, [BLANK, *(piece.id for piece in pieces)]]
    return token_times(token_texts, text, pieces, columns, samples, offset)


def spikes(frames: int, said: dict[int, int]) -> np.ndarray:
    logprobs = np.full((frames, 4), math.log(0.01))
    for frame in range(frames):
        logprobs[frame, said.get(frame, BLANK)] = math.log(0.97)
    return logprobs


def noise(*spans: tuple[float, float], seconds: float) -> np.ndarray:
    """Noise between these times, and silence."""
    samples = np.zeros(round(seconds * 16000), np.float32)
    for start, end in spans:
        inside = slice(round(start * 16000), round(end * 16000))
        samples[inside] = np.random.default_rng(0).normal(0, 0.1, len(samples[inside]))
    return samples


def test_words_have_the_edges_of_their_sound_and_tokens_a_share_of_their_word():
    heard = noise((0.2, 0.7), (1.0, 1.5), seconds=1.8)
    probabilities = spikes(30, {7: 0, 9: 1, 20: 2})
    times = times_of(["ab", "", " c"], "ab c", probabilities, heard, offset=10.0)
    (start, end, sure), nothing, (later, last, _) = times
    np.testing.assert_allclose([start, end, later, last], [10.2, 10.7, 11.0, 11.5], atol=0.03)
    assert nothing is None and math.isclose(sure, 0.97)

    a, b, _ = times_of(["a", "b", " c"], "ab c", probabilities, heard)
    np.testing.assert_allclose([a[0], a[1], b[1]], [0.2, 9 * 0.06 + 0.0125 - 0.03, 0.7], atol=0.03)
    assert a[1] == b[0]


def test_a_word_that_was_written_before_it_was_said_is_found_where_it_was_said():
    heard = noise((0.5, 0.9), (1.1, 1.5), seconds=1.8)
    times = times_of(["a", " b"], "a b", spikes(30, {0: 0, 22: 1}), heard)
    np.testing.assert_allclose([t for time in times for t in time[:2]], [0.5, 0.9, 1.1, 1.5], atol=0.03)


def test_a_character_of_several_units_and_its_comma_are_one_word():
    heard = noise((0.2, 0.7), (1.0, 1.5), seconds=1.8)
    probabilities = spikes(30, {5: 0, 7: 1, 9: 2, 18: 0, 22: 1})
    # two units for each character, as a byte-level tokenizer has for rare ones, and one for the comma
    pieces = [Piece(0, 0, 1), Piece(1, 0, 1), Piece(2, 1, 2), Piece(0, 2, 3), Piece(1, 2, 3)]
    columns = probabilities[:, [BLANK, *(piece.id for piece in pieces)]]
    first, comma, second = token_times(["𠮷", "，", "𠮟"], "𠮷，𠮟", pieces, columns, heard)
    np.testing.assert_allclose([first[0], comma[1], second[0], second[1]], [0.2, 0.7, 1.0, 1.5], atol=0.03)
    assert first[1] == comma[0]


def test_text_that_does_not_fit_has_no_times():
    silence = np.zeros(8000, np.float32)
    assert times_of(["abcabc"], "abcabc", spikes(4, {}), silence) == [None]
    assert times_of(["xyz"], "ab", spikes(9, {2: 0, 4: 1}), silence) == [None]
    assert times_of([], "", spikes(9, {}), silence) == []
