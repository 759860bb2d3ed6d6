"""The decoding loop: the reference's tokens, in batches of any width, and every way to stop."""

import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.decode.generate import generate
from nanoasr.decode.request import Generated, Request, looping
from nanoasr.decode.sampling import Sampling

PARITY = Path(__file__).parents[1] / "parity"
EXPECTED = np.load(PARITY / "expected.npz")
PROMPTS = [f"{case}.{rate}" for case in ("plain", "english_hotwords_no_itn") for rate in ("low", "full")]
NO_END = frozenset()
SIXTEEN = Sampling(max_tokens=16)  # as many as the reference wrote


@cache
def model():
    return load_checkpoint(str(PARITY / "official"), dtype="float32").model


@cache
def request(prompt: str) -> Request:
    audio = mx.array(EXPECTED["adapted"])
    if prompt.endswith("low"):
        audio = audio[: int(EXPECTED["low_rate_tokens"])]
    return Request(mx.concatenate([words(f"{prompt}.prefix"), audio, words(f"{prompt}.suffix")]))


def words(name: str) -> mx.array:
    return model().llm.embed(mx.array(EXPECTED[name]))


@cache
def strange_requests() -> list[Request]:
    """Prompts of many lengths around audio that no recording gives: texts of many lengths."""
    random = np.random.default_rng(5)
    sounds = [random.normal(size=(n, 96)).astype(np.float32) * EXPECTED["adapted"].std() for n in range(1, 23, 2)]
    before, after = words("plain.low.prefix"), words("plain.low.suffix")
    return [Request(mx.concatenate([before, mx.array(x), after]), seed=i) for i, x in enumerate(sounds)]


def decode(requests, sampling=SIXTEEN, end_ids=NO_END, width=1, **options) -> list[Generated]:
    asked = [replace(request, sampling=sampling, **options) for request in requests]
    found = dict(generate(model(), asked, end_ids, width))
    assert sorted(found) == list(range(len(found)))
    return [found[i] for i in range(len(found))]


@cache
def singles(sampling: Sampling, end_ids: frozenset[int]) -> list[Generated]:
    return [result for r in strange_requests() for result in decode([r], sampling, end_ids)]


def greedy(prompt: str) -> list[int]:
    return EXPECTED[f"{prompt}.greedy"].tolist()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_greedy_tokens_are_those_of_the_reference_at_any_width(width):
    for prompt, result in zip(PROMPTS, decode([request(p) for p in PROMPTS], width=width), strict=True):
        assert (result.ids, result.stop) == (greedy(prompt), "length")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_log_probabilities_are_the_models_own(prompt):
    logits = EXPECTED[f"{prompt}.first_logits"].astype(np.float64)
    [result] = decode([request(prompt)])
    logprobs = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    assert result.logprobs[0] == pytest.approx(logprobs.max(), abs=1e-4)
    assert len(result.logprobs) == 16
    assert max(result.logprobs) <= 0


@pytest.mark.parametrize("width", [2, 3, 5, 16])
@pytest.mark.parametrize(
    ("sampling", "end_ids"),  # such that texts end early and late
    [
        (Sampling(max_tokens=40), frozenset({26})),
        (Sampling(max_tokens=40, repetition_penalty=1.3, no_repeat_ngram=3), frozenset({26})),
        (Sampling(max_tokens=40, temperature=0.8, no_repeat_ngram=2), frozenset(range(20))),
    ],
)
def test_rows_that_leave_and_enter_give_what_each_request_gives_alone(width, sampling, end_ids):
    alone = singles(sampling, end_ids)
    assert len({len(result.ids) for result in alone}) > 3, "all leave at the same time, which tests nothing"
    together = decode(strange_requests(), sampling, end_ids, width)
    for one, other in zip(alone, together, strict=True):
        assert (one.ids, one.stop) == (other.ids, other.stop)
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)


def test_a_text_is_the_same_after_others_went_through_the_same_batch():
    sampling = Sampling(max_tokens=12, no_repeat_ngram=1)
    first, *_, last = decode([request("plain.full")] * 6, sampling, width=2)
    assert first.ids == last.ids
    assert len(set(first.ids)) == 12


def test_requests_are_taken_only_when_there_is_room_for_them():
    taken, finished = [], 0

    def requests():
        for i, wish in enumerate(strange_requests()):
            taken.append(i)
            yield replace(wish, sampling=SIXTEEN)

    for _ in generate(model(), requests(), NO_END, batch_size=3):
        assert len(taken) <= finished + 3
        finished += 1
    assert finished == len(strange_requests())


def test_no_requests_give_no_results():
    assert decode([]) == []


@pytest.mark.parametrize("most", [1, 2, 7])
def test_max_tokens_stops(most):
    [result] = decode([request("plain.low")], Sampling(max_tokens=most))
    assert (result.ids, result.stop) == (greedy("plain.low")[:most], "length")
    assert len(result.logprobs) == most


def test_an_end_token_stops_and_is_not_part_of_the_text():
    ids = greedy("english_hotwords_no_itn.low")
    told = []
    [result] = decode([replace(request("english_hotwords_no_itn.low"), on_token=told.append)], end_ids=frozenset({47}))
    assert (result.ids, result.stop) == (ids[: ids.index(47)], "end")
    assert len(result.logprobs) == len(result.ids)
    assert told == result.ids


def test_an_end_token_at_once_gives_an_empty_text():
    [result] = decode([request("plain.low")], end_ids=frozenset({16}), alternatives=True)
    assert (result.ids, result.logprobs, result.alternatives, result.stop) == ([], [], [], "end")


def test_a_real_loop_is_cut_to_one_and_marked():
    told = []
    [result] = decode([replace(request("plain.low"), on_token=told.append)], Sampling(), alternatives=True)
    once = greedy("plain.low")[:9]  # the reference writes the ninth token again and again
    assert (result.ids, result.stop) == (once, "repetition")
    assert told == once + [once[-1]] * 15
    assert len(result.logprobs) == len(result.alternatives) == 9


def test_one_looping_row_leaves_the_others_alone():
    looping_row, other = decode([request("plain.low"), request("english_hotwords_no_itn.low")], Sampling(), width=2)
    assert looping_row.stop == "repetition"
    assert other.ids[:16] == greedy("english_hotwords_no_itn.low")


def test_tokens_are_told_in_order_to_whoever_asked():
    told = {prompt: [] for prompt in PROMPTS}
    decode([replace(request(p), on_token=told[p].append) for p in PROMPTS], width=4)
    assert told == {prompt: greedy(prompt) for prompt in PROMPTS}


def test_cancelling_one_request_keeps_what_it_has_and_leaves_the_others_alone():
    told = []
    stopped = replace(request("plain.low"), on_token=told.append, cancelled=lambda: len(told) == 5)
    first, second = decode([stopped, request("plain.full")], width=2)
    assert (first.ids, first.stop) == (greedy("plain.low")[:5], "cancelled")
    assert (second.ids, second.stop) == (greedy("plain.full"), "length")


def test_alternatives_are_the_five_likeliest_with_the_chosen_first():
    [result] = decode([request("plain.low")], alternatives=True)
    assert len(result.alternatives) == len(result.ids)
    for token_id, logprob, likeliest in zip(result.ids, result.logprobs, result.alternatives, strict=True):
        ids, logprobs = zip(*likeliest, strict=True)
        assert len(set(ids)) == 5
        assert ids[0] == token_id
        assert logprobs[0] == pytest.approx(logprob, abs=1e-5)
        assert list(logprobs) == sorted(logprobs, reverse=True)
    first = EXPECTED["plain.low.first_logits"]
    assert [i for i, _ in result.alternatives[0]] == np.argsort(-first)[:5].tolist()


def test_alternatives_are_those_of_each_row_in_a_batch():
    alone = [result for p in PROMPTS for result in decode([request(p)], alternatives=True)]
    for one, other in zip(alone, decode([request(p) for p in PROMPTS], width=4, alternatives=True), strict=True):
        chosen = [[likeliest[0][0] for likeliest in result.alternatives] for result in (one, other)]
        assert chosen[0] == chosen[1] == one.ids


def test_steps_are_the_passes_after_the_prefill():
    ended, cut = decode([request("plain.low")] * 2, end_ids=frozenset({288}), width=2)
    assert len(ended.ids) == ended.steps == cut.steps == 3  # 16 from the prefill, then 198, 16 and the end


def test_what_rows_cost_together_is_no_more_than_what_was_spent():
    strange_requests()
    start = time.perf_counter()
    results = decode(strange_requests(), width=4)
    spent = time.perf_counter() - start
    told = [result.prefill_seconds + result.decode_seconds for result in results]
    assert 0.3 * spent < sum(told) <= spent


def test_the_same_seed_draws_the_same_text_and_another_seed_another():
    sampling = Sampling(temperature=1.0, max_tokens=16)
    wish = request("plain.full")
    same, again, other = decode([replace(wish, seed=s) for s in (1, 1, 2)], sampling)
    assert same.ids == again.ids != other.ids


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ([7] * 15, None),
        ([7] * 16, (1, 16)),
        ([1, 2] * 7 + [1], None),
        ([1, 2] * 8, (2, 8)),
        ([1, 2, 3] * 6, (3, 6)),
        ([1, 2, 3, 4] * 4, (4, 4)),
        ([1, 2, 3, 4, 5] * 3, None),
        ([1, 2, 3, 4, 5] * 4, (5, 4)),
        (list(range(40)) * 4, (40, 4)),
        (list(range(41)) * 4, None),
        ([], None),
        (list(range(200)), None),
    ],
)
def test_a_loop_is_sixteen_tokens_of_at_least_four_equal_parts(ids, found):
    assert looping(ids) == found
    assert looping([9, 9, *ids]) == found


def test_people_may_repeat_themselves():
    assert looping([5, 6] * 4) is None  # "no no no no", "zero zero zero"


@given(st.lists(st.integers(0, 2), max_size=120))
def test_loops_are_found_as_they_are_defined(ids):
    def is_loop(period: int) -> bool:
        times = max(4, int(np.ceil(16 / period)))
        tail = np.array(ids[-period * times :])
        return len(ids) >= period * times and (tail.reshape(times, period) == tail[:period]).all()

    periods = [period for period in range(1, 41) if is_loop(period)]
    found = looping(ids)
    assert (found and found[0]) == (periods[0] if periods else None)


@given(st.lists(st.integers(0, 9), max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_anything_said_sixteen_times_is_a_loop_of_at_most_its_length(before, part):
    period, _ = looping(before + part * 16)
    assert period <= len(part)
