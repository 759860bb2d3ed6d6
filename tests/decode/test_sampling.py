"""Every step from scores to a token against a plain statement of its definition, and the draws by counting them."""

import shutil
import sys

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nanoasr import backend
from nanoasr.decode.sampling import (
    Sampling,
    forbid_ngrams,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    make_chooser,
    penalize_repeats,
)
from nanoasr.errors import OptionError

NOTHING_SAID = mx.zeros((1, 0), dtype=mx.int32)
DRAWS = 100_000
EIGHT = np.array([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5, -3.0], dtype=np.float32)

# quarters, so that ties happen, and probabilities are the same in any precision
scores = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 3), st.integers(1, 12)), elements=st.integers(-40, 40).map(lambda i: i / 4)
)
quick = settings(max_examples=60, deadline=None)


def probabilities(row: np.ndarray) -> np.ndarray:
    shares = np.exp(row.astype(np.float64) - row.max())
    return shares / shares.sum()


def histories(rows: int, size: int, longest: int):
    """What rows have said, flush right: ids, with -1 for the places on the left that are empty."""
    said = st.lists(st.integers(0, size - 1), max_size=longest)
    return st.lists(said, min_size=rows, max_size=rows).map(
        lambda lists: np.array([[-1] * (longest - len(ids)) + ids for ids in lists], dtype=np.int32)
    )


@quick
@given(scores, st.integers(1, 14))
def test_top_k_keeps_what_fewer_than_k_beat(logits, k):
    kept = np.array(keep_top_k(mx.array(logits), k))
    for row, found in zip(logits, kept, strict=True):
        wanted = [x if (row > x).sum() < k else -np.inf for x in row]
        np.testing.assert_array_equal(found, np.array(wanted, dtype=np.float32))


@quick
@given(scores, st.floats(0.05, 0.999))
def test_top_p_keeps_the_fewest_likeliest_that_hold_p(logits, p):
    kept = np.array(keep_top_p(mx.array(logits), p))
    for row, found in zip(logits, kept, strict=True):
        falling = np.sort(probabilities(row))[::-1]
        sums = np.cumsum(falling)
        if np.abs(sums - p).min() < 1e-5:
            continue  # rounding decides
        stays = np.isfinite(found)
        assert stays.sum() == (sums < p).sum() + 1
        np.testing.assert_allclose(np.sort(probabilities(row)[stays])[::-1], falling[: stays.sum()])
        np.testing.assert_array_equal(found[stays], row[stays])


@quick
@given(scores, st.floats(0.001, 1))
def test_min_p_keeps_those_at_least_that_share_of_the_likeliest(logits, p):
    kept = np.array(keep_min_p(mx.array(logits), p))
    for row, found in zip(logits, kept, strict=True):
        share = probabilities(row) / probabilities(row).max()
        if np.abs(share - p)[share < 1].min(initial=1) < 1e-5:
            continue  # rounding decides
        np.testing.assert_array_equal(found, np.where(share >= p, row, -np.inf).astype(np.float32))


@quick
@given(scores, st.floats(0.5, 3), st.data())
def test_the_penalty_divides_positive_scores_of_repeats_and_multiplies_negative_ones(logits, penalty, data):
    said = data.draw(histories(*logits.shape, longest=5))
    found = np.array(penalize_repeats(mx.array(logits), mx.array(said), penalty))
    wanted = logits.astype(np.float64)
    for row, ids in zip(wanted, said, strict=True):
        for i in set(ids.tolist()) - {-1}:
            row[i] = row[i] / penalty if row[i] > 0 else row[i] * penalty
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@quick
@given(scores, st.integers(1, 5), st.data())
def test_no_ngram_is_completed_a_second_time(logits, n, data):
    said = data.draw(histories(*logits.shape, longest=12))
    found = np.array(forbid_ngrams(mx.array(logits), mx.array(said), n))
    wanted = logits.copy()
    for row, places in zip(wanted, said, strict=True):
        ids = [i for i in places.tolist() if i >= 0]
        past = {tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)}
        for i in range(len(row)):
            last = ids[len(ids) - n + 1 :]
            if len(last) == n - 1 and (*last, i) in past:
                row[i] = -np.inf
    np.testing.assert_array_equal(found, wanted)


@quick
@given(scores)
def test_greedy_takes_the_likeliest_and_is_the_default(logits):
    assert Sampling().greedy
    chosen = np.array(make_chooser(Sampling())(mx.array(logits), NOTHING_SAID, None))
    np.testing.assert_array_equal(chosen, logits.argmax(axis=-1))


def test_the_penalty_looks_back_over_its_window_only():
    choose = make_chooser(Sampling(repetition_penalty=10.0, repetition_window=2))
    logits = mx.array([[4.0, 3.0, 2.0]])
    assert choose(logits, mx.array([[0, 1, 1]]), None).item() == 0  # it was said three tokens ago
    assert choose(logits, mx.array([[2, 0, 1]]), None).item() == 2


def test_penalty_and_forbidden_ngrams_work_together():
    choose = make_chooser(Sampling(repetition_penalty=2.0, no_repeat_ngram=2))
    said = mx.array([[1, 0, 1]])  # so that 1 must not be followed by 0, and 1 counts half
    assert choose(mx.array([[9.0, 5.0, 3.0]]), said, None).item() == 2
    assert choose(mx.array([[9.0, 7.0, 3.0]]), said, None).item() == 1


def drawn_shares(sampling: Sampling, logits: np.ndarray = EIGHT) -> np.ndarray:
    choose, rows = make_chooser(sampling), DRAWS // 10  # MLX 0.32 cannot sort all rows at once on an NVIDIA GPU
    many, nothing = mx.array(np.tile(logits, (rows, 1))), mx.zeros((rows, 0), dtype=mx.int32)
    ids = np.concatenate([np.array(choose(many, nothing, mx.random.split(mx.random.key(i), rows))) for i in range(10)])
    return np.bincount(ids, minlength=len(logits)) / DRAWS


def assert_drawn_by(shares: np.ndarray, wanted: np.ndarray) -> None:
    """Nothing drawn that must not be, and chi-square of the rest below what chance exceeds once in 10^7."""
    assert (shares[wanted == 0] == 0).all()
    possible = wanted > 0
    chi_square = DRAWS * ((shares - wanted)[possible] ** 2 / wanted[possible]).sum()
    assert chi_square < 45


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_draws_follow_the_tempered_distribution(temperature):
    assert_drawn_by(drawn_shares(Sampling(temperature=temperature)), probabilities(EIGHT / temperature))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 3}, 3),
        ({"top_k": 8}, 8),
        ({"top_p": 0.5}, 1),  # the likeliest alone holds 0.515
        ({"top_p": 0.6}, 2),
        ({"min_p": 0.2}, 3),  # the third is 0.223 times as likely as the first
        ({"min_p": 1.0}, 1),
        ({"top_k": 6, "top_p": 0.95, "min_p": 0.1}, 4),
    ],
)
def test_draws_are_from_what_the_filters_keep(options, kept):
    wanted = np.where(np.arange(8) < kept, probabilities(EIGHT), 0)
    assert_drawn_by(drawn_shares(Sampling(temperature=1.0, **options)), wanted / wanted.sum())


def test_filters_see_the_tempered_distribution():
    hot = probabilities(EIGHT / 2)  # its first four hold 0.78, where the first alone held 0.52
    wanted = np.where(np.arange(8) < 4, hot, 0)
    assert_drawn_by(drawn_shares(Sampling(temperature=2.0, top_p=0.75)), wanted / wanted.sum())


def test_draws_from_a_vocabulary_of_full_size_are_even():
    logits = mx.zeros((1, 151_936))
    choose = make_chooser(Sampling(temperature=1.0))
    ids = [choose(logits, NOTHING_SAID, mx.random.key(i)[None]).item() for i in range(400)]
    counts = np.histogram(ids, bins=8, range=(0, 151_936))[0]
    assert counts.sum() == 400
    assert ((counts - 50) ** 2 / 50).sum() < 45


def test_a_temperature_next_to_nothing_is_greedy():
    logits = mx.array([[1.0, 3.0, 200.0, -5.0]])
    for temperature in (1e-5, 1e-6, 1e-20, 1e-40, 1e-300):
        choose = make_chooser(Sampling(temperature=temperature))
        assert choose(logits, NOTHING_SAID, mx.random.key(0)[None]).item() == 2


def draws(seed: int, sampling: Sampling) -> list[int]:
    choose = make_chooser(sampling)
    keys = mx.random.split(mx.random.key(seed), 50)
    return [choose(mx.array(EIGHT)[None], NOTHING_SAID, key[None]).item() for key in keys]


def test_the_same_key_draws_the_same_and_another_key_another():
    sampling = Sampling(temperature=1.0, top_p=0.95)
    assert draws(1, sampling) == draws(1, sampling)
    assert draws(1, sampling) != draws(2, sampling)


@pytest.mark.skipif(
    backend.on_cpu and sys.platform == "linux" and not shutil.which("g++"), reason="nothing is compiled here"
)
def test_compiled_and_plain_draws_are_equal():
    sampling = Sampling(temperature=0.7, top_k=6, top_p=0.95, min_p=0.01)
    compiled = draws(3, sampling)
    mx.disable_compile()
    try:
        assert draws(3, sampling) == compiled
    finally:
        mx.enable_compile()


def test_half_precision_scores_are_weighed_in_float32():
    logits = mx.array(EIGHT).astype(mx.bfloat16)[None]
    for sampling in (Sampling(), Sampling(temperature=1.0, top_p=0.9)):
        choose = make_chooser(sampling)
        key = mx.random.key(4)[None]
        assert choose(logits, NOTHING_SAID, key).item() == choose(logits.astype(mx.float32), NOTHING_SAID, key).item()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 101),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", "hot"),
        ("top_k", -1),
        ("top_k", 2.5),
        ("top_k", float("inf")),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_p", float("nan")),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("min_p", None),
        ("min_p", float("nan")),
        ("min_p", float("inf")),
        ("repetition_penalty", 0),
        ("repetition_penalty", float("inf")),
        ("repetition_penalty", float("nan")),
        ("repetition_window", 0),
        ("no_repeat_ngram", -1),
        ("no_repeat_ngram", 1.5),
        ("max_tokens", 0),
        ("max_tokens", 5000),
        ("max_tokens", float("nan")),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 0.5),
        ("no_repeat_ngram", True),
        ("top_k", False),
        ("temperature", True),
        ("max_tokens", True),
        ("seed", True),
    ],
)
def test_an_option_out_of_range_is_named_with_what_it_may_be(name, value):
    with pytest.raises(OptionError, match=rf"^{name}=.*: must be "):
        Sampling(**{name: value})


def test_options_at_their_limits_are_taken():
    Sampling(temperature=100, top_p=1, min_p=1, repetition_penalty=100, repetition_window=1, max_tokens=4096)
    Sampling(temperature=np.float32(0.5), top_k=np.int64(3), max_tokens=1, seed=2**63 - 1)
