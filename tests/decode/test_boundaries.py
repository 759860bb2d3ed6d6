"""Edges of words in the sound, near where they were recognized."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoasr.decode.boundaries import loudness, word_edges

RATE = 16000


def voices(spans, seconds, background=0.0):
    """A buzz with a few harmonics between these times, over noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 30)).astype(np.float32)
    samples = np.random.default_rng(1).normal(0, background, len(time)).astype(np.float32)
    for start, end in spans:
        inside = slice(round(start * RATE), round(end * RATE))
        samples[inside] += 0.1 * buzz[inside]
    return samples


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.25, 0.6), st.floats(0.12, 0.6)), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.01]),
)
def test_words_between_pauses_have_the_edges_of_their_sound(words, background):
    spans, at = [], 0.3
    for length, pause in words:
        spans.append((at, at + length))
        at += length + pause
    middles = [((start + end) / 2, (start + end) / 2) for start, end in spans]
    found = word_edges(voices(spans, at + 0.3, background), middles, [4] * len(spans))
    np.testing.assert_allclose(found, spans, atol=0.04)


def test_words_without_a_pause_between_them_meet_between_the_places_where_they_were_recognized():
    (start, end), (following, last) = word_edges(voices([(0.2, 1.2)], 1.5), [(0.45, 0.45), (0.95, 0.95)], [4, 4])
    assert end == following and 0.45 < end < 0.95
    np.testing.assert_allclose([start, last], [0.2, 1.2], atol=0.04)


def test_a_closure_inside_a_word_is_no_pause():
    said = [(0.3, 0.45), (0.5, 0.75), (0.95, 1.3)]  # the first two are one word with a stop in it
    found = word_edges(voices(said, 1.6), [(0.4, 0.6), (1.1, 1.1)], [5, 5])
    np.testing.assert_allclose(found, [(0.3, 0.75), (0.95, 1.3)], atol=0.04)


def test_sound_far_from_a_word_is_not_its_own():
    (_, end), (start, _) = word_edges(voices([(0.2, 0.5), (3.0, 3.2), (6.0, 6.4)], 7), [(0.4, 0.4), (6.2, 6.2)], [4, 4])
    assert end < 1.3 and start > 5.3


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40_000),
    st.lists(st.floats(0, 3), min_size=1, max_size=12).map(sorted),
    st.sampled_from([0.0, 0.1]),
)
def test_edges_are_in_order_whatever_is_heard(size, times, strength):
    samples = np.random.default_rng(size).normal(0, strength, size).astype(np.float32)
    edges = word_edges(samples, [(t, t) for t in times], [3] * len(times))
    assert len(edges) == len(times)
    flat = [time for edge in edges for time in edge]
    assert flat == sorted(flat)


def test_a_steady_hum_is_not_heard_as_sound():
    hum = 0.05 * np.sin(2 * np.pi * 50 * np.arange(2 * RATE) / RATE).astype(np.float32)
    level = loudness(voices([(0.5, 1.0)], 2.0, 0.001) + hum)
    assert level[60:90].min() > 5 * np.median(level[120:190])
