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


class Letters:
    """A unit for each of a, b, c."""

    def pieces(self, text):
        return [Piece("abc".index(char), i, i + 1) for i, char in enumerate(text) if char in "abc"]


def spikes(frames: int, said: dict[int, int]) -> np.ndarray:
    logprobs = np.full((frames, 4), math.log(0.01))
    for frame in range(frames):
        logprobs[frame, said.get(frame, BLANK)] = math.log(0.97)
    return logprobs


def test_tokens_get_the_times_of_their_letters():
    times = token_times(["ab", "", " c"], "ab c", spikes(30, {5: 0, 8: 1, 20: 2}), Letters(), BLANK, offset=10.0)
    (start, end, sure), nothing, (later, last, _) = times
    assert abs(start - 10.3) < 0.06 and nothing is None and abs(later - 11.2) < 0.06
    assert start < end < later < last <= 11.8
    assert math.isclose(sure, 0.97)


def test_text_that_does_not_fit_has_no_times():
    assert token_times(["abcabc"], "abcabc", spikes(4, {}), Letters(), BLANK) == [None]
    assert token_times(["xyz"], "ab", spikes(9, {2: 0, 4: 1}), Letters(), BLANK) == [None]
    assert token_times([], "", spikes(9, {}), Letters(), BLANK) == []
