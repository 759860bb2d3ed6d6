"""Text and times of Paraformer's tokens."""

import numpy as np
import pytest

from nanoasr.decode.cif_times import cif_times
from nanoasr.decode.spelling import spell


# What FunASR 1.4.16's sentence_postprocess(tokens)[0] gives.
@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("今 天 天 气", "今天天气"),
        ("the rea@@ der will", "the reader will"),
        ("今 天 the rea@@ der 很 好", "今天the reader很好"),
        ("no@@ thing", "nothing"),
        ("a i 很 好", "AI很好"),
        ("the u s a today", "the USA today"),
        ("i say", "i say"),
        ("don't say", "don't say"),
        ("1 2 今", "12今"),
        ("<s> the <unk> end </s>", "the end"),
        ("the rea@@", "the"),
        ("rea@@ 今 der", "今reader"),
        ("", ""),
    ],
)
def test_spaces_stand_where_funasr_has_them(tokens, text):
    assert "".join(spell(tokens.split())).strip() == text


def test_each_token_adds_its_own_part():
    assert spell(["the", "rea@@", "der", "今", "no@@"]) == ["the", " rea", "der", "今", ""]


def test_a_token_lasts_from_one_peak_to_the_next():
    alphas = np.zeros(40)
    alphas[[4, 10, 30]] = 1
    times = cif_times(alphas, alphas, 2, 0.02)
    assert np.allclose(times, [[0.05, 0.17], [0.17, 0.41]])  # the second is cut off: 12 steps are the longest


def test_weights_are_scaled_where_the_peaks_are_not_one_more_than_the_tokens():
    alphas = np.full(30, 0.05)  # sums to 1.5
    times = cif_times(alphas, np.cumsum(alphas), 2, 0.02)
    assert len(times) == 2
    assert times[0][1] == times[1][0]


def test_no_weights_give_no_times():
    assert cif_times(np.zeros(10), np.zeros(10), 3, 0.02) == []
