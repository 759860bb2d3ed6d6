import time

import numpy as np
import pytest

from nanoasr.speakers.clustering import cluster
from nanoasr.speakers.turns import Turn, find_turns


def voices(*counts, noise=0.4, size=64, seed=0):
    """Embeddings that vary around a direction of each voice's own, one voice after the other."""
    random = np.random.default_rng(seed)
    shared = 0.5 * np.abs(random.normal(size=size))  # all of GE2E's embeddings are positive, so have much in common
    found = []
    for count in counts:
        centre = shared + np.abs(random.normal(size=size))
        found.append(centre + noise * random.normal(size=(count, size)))
    return np.concatenate(found), np.repeat(np.arange(len(counts)), counts)


def same_partition(found, expected):
    pairs = set(zip(found.tolist(), expected.tolist(), strict=True))
    return len(pairs) == len(set(found.tolist())) == len(set(expected.tolist()))


@pytest.mark.parametrize("counts", [(20,), (20, 30), (25, 20, 30), (20, 20, 20, 40), (15, 15, 15, 15, 15)])
def test_the_number_of_voices_is_found(counts):
    embeddings, expected = voices(*counts)
    assert same_partition(cluster(embeddings, 0.8), expected)


def test_a_given_number_of_voices_is_kept_to():
    embeddings, _ = voices(20, 30)
    assert len(set(cluster(embeddings, 0.8, speakers=3).tolist())) == 3
    assert set(cluster(embeddings, 0.8, speakers=1).tolist()) == {0}


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_windows_are_one_voice(count):
    assert cluster(np.ones((count, 8)), 0.8).tolist() == [0] * count


def test_windows_that_are_all_the_same_are_one_voice():
    assert set(cluster(np.ones((50, 8)), 0.8).tolist()) == {0}


def test_the_same_windows_give_the_same_labels_each_time():
    embeddings, _ = voices(20, 20, 20, noise=1.2)
    assert cluster(embeddings, 0.8).tolist() == cluster(embeddings, 0.8).tolist()


def test_three_hours_of_windows_take_seconds():
    embeddings, expected = voices(7000, 5500, 1000)
    began = time.thread_time()
    assert same_partition(cluster(embeddings, 0.8), expected)
    assert time.thread_time() - began < 30


def test_each_instant_belongs_to_the_nearest_window():
    turns = find_turns([(0, 4)], np.array([0.8, 1.6, 2.4, 3.2]), np.array([3, 3, 1, 1]))
    assert turns == [Turn(0, 2, "S1"), Turn(2, 4, "S2")]


def test_speakers_are_named_in_order_of_appearance():
    turns = find_turns([(0, 2), (3, 5), (6, 8)], np.array([1, 4, 7]), np.array([2, 0, 2]))
    assert [turn.speaker for turn in turns] == ["S1", "S2", "S1"]


def test_a_pause_is_nobodys_turn():
    turns = find_turns([(0, 2), (3, 5)], np.array([1, 4]), np.array([0, 0]))
    assert turns == [Turn(0, 2, "S1"), Turn(3, 5, "S1")]


def test_a_very_short_turn_inside_anothers_is_smoothed_away():
    centres = np.array([0.8, 1.6, 2.0, 2.4, 3.2])
    assert find_turns([(0, 4)], centres, np.array([0, 0, 1, 0, 0])) == [Turn(0, 4, "S1")]


def test_without_windows_there_are_no_turns():
    assert find_turns([], np.zeros(0), np.zeros(0, int)) == []
