"""Drafted decoding gives plain greedy decoding's result, whatever the draft, in fewer steps."""

from functools import cache

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from parity_prompts import EXPECTED, embeddings, model

from nanoasr.decode.draft import AlignedDraft, DraftPolicy, continuation
from nanoasr.decode.generate import generate
from nanoasr.decode.request import Generated, Request
from nanoasr.decode.sampling import Sampling

LOOPS = frozenset()  # no token ends the text, so that it goes on until it loops
PROMPTS = [f"{case}.{rate}" for case in ("plain", "english_hotwords_no_itn") for rate in ("low", "full")]
LONG, LONG_END = "english_hotwords_no_itn.low", frozenset({165})  # a text of 47 tokens, without a loop

prompts = st.sampled_from(PROMPTS)
ids = st.integers(0, 424)
lookups = st.integers(0, 4)
quick = settings(max_examples=20, deadline=None, derandomize=True)


@cache
def strange_sounds(seed: int) -> mx.array:
    """A prompt around audio embeddings that no recording gives: another text for every seed."""
    x = np.random.default_rng(seed).normal(size=(1 + seed % 20, 96)).astype(np.float32)
    before, after = (model().llm.embed(mx.array(EXPECTED[f"plain.low.{part}"])) for part in ("prefix", "suffix"))
    return mx.concatenate([before, mx.array(x * EXPECTED["adapted"].std()), after])


def plain(x: mx.array, sampling: Sampling = Sampling(), end_ids: frozenset[int] = LOOPS) -> Generated:  # noqa: B008
    [(_, result)] = generate(model(), [Request(x, sampling, alternatives=True)], end_ids)
    return result


plain_of = cache(lambda prompt, end_ids=LOOPS: plain(embeddings(prompt), end_ids=end_ids))


def drafted(x: mx.array, draft=(), sampling=Sampling(), end_ids=LOOPS, lookup=6, **options) -> Generated:  # noqa: B008
    request = Request(x, sampling, draft=draft, **options)
    [(_, result)] = generate(model(), [request], end_ids, policy=DraftPolicy(lookup, always=True))
    return result


def assert_same(found: Generated, wanted: Generated) -> None:
    assert (found.ids, found.stop) == (wanted.ids, wanted.stop)
    np.testing.assert_allclose(found.logprobs, wanted.logprobs, atol=1e-4)


def is_decided(result: Generated) -> bool:
    """Whether rounding could not have changed any of the choices."""
    return all(likeliest[0][1] - likeliest[1][1] > 1e-5 for likeliest in result.alternatives)


def with_an_error(text: list[int], place: int) -> list[int]:
    return text[:place] + [(text[place] + 1) % 425] + text[place + 1 :]


@quick
@given(prompts, st.lists(ids, max_size=40), lookups)
def test_a_random_draft_changes_nothing(prompt, draft, lookup):
    assert_same(drafted(embeddings(prompt), draft, lookup=lookup), plain_of(prompt))


@quick
@given(prompts, st.data(), lookups)
def test_a_draft_with_errors_changes_nothing(prompt, data, lookup):
    draft = plain_of(prompt).ids.copy()
    for _ in range(data.draw(st.integers(0, 4), label="errors")):
        place = data.draw(st.integers(0, len(draft)), label="place")
        gone = data.draw(st.integers(0, 2), label="tokens taken out")
        draft[place : place + gone] = data.draw(st.lists(ids, max_size=2), label="tokens put in")
    assert_same(drafted(embeddings(prompt), draft, lookup=lookup), plain_of(prompt))


@quick
@given(st.integers(0, 1000), st.sampled_from(["empty", "right", "cut short", "with an error", "of another text"]))
def test_other_texts_come_out_the_same_too(seed, kind):
    x = strange_sounds(seed)
    wanted = plain(x)
    assume(is_decided(wanted))
    draft = {
        "empty": [],
        "right": wanted.ids,
        "cut short": wanted.ids[: len(wanted.ids) // 2],
        "with an error": with_an_error(wanted.ids, len(wanted.ids) // 3),
        "of another text": plain_of(LONG).ids,
    }[kind]
    assert_same(drafted(x, draft), wanted)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_right_draft_takes_at_most_a_third_of_the_steps(prompt):
    wanted = plain_of(prompt)
    found = drafted(embeddings(prompt), wanted.ids)
    assert_same(found, wanted)
    assert wanted.steps >= 3 * found.steps


def test_a_right_draft_of_a_text_that_ends_takes_no_step_at_all():
    wanted = plain_of(LONG, LONG_END)
    found = drafted(embeddings(LONG), wanted.ids, end_ids=LONG_END)
    assert_same(found, wanted)
    assert (wanted.stop, wanted.steps, found.steps) == ("end", 47, 0)
    assert found.drafted == found.accepted == 47


@pytest.mark.parametrize("place", [0, 10, 30, 45])
def test_a_draft_with_one_wrong_token_takes_a_handful_of_steps(place):
    wanted = plain_of(LONG, LONG_END)
    found = drafted(embeddings(LONG), with_an_error(wanted.ids, place), end_ids=LONG_END)
    assert_same(found, wanted)
    assert found.steps <= 5
    assert found.accepted >= 40


@pytest.mark.parametrize("place", [5, 25])
def test_a_draft_that_lacks_or_adds_a_token_is_joined_again(place):
    wanted = plain_of(LONG, LONG_END)
    right = wanted.ids
    for draft in (right[:place] + right[place + 1 :], [*right[:place], 7, *right[place:]]):
        found = drafted(embeddings(LONG), draft, end_ids=LONG_END)
        assert_same(found, wanted)
        assert found.steps <= 8


def test_without_a_draft_what_was_said_before_is_guessed_again():
    wanted = plain_of(LONG)
    found = drafted(embeddings(LONG))
    assert_same(found, wanted)
    assert found.steps < wanted.steps
    assert found.accepted > 0


def test_what_the_draft_lacks_is_found_in_another_text():
    wanted = plain_of(LONG, LONG_END)
    right = wanted.ids
    start, others = [*right[:10], 7], [right[8:30], right[25:]]
    alone = drafted(embeddings(LONG), start, end_ids=LONG_END)
    found = drafted(embeddings(LONG), start, end_ids=LONG_END, others=others)
    assert_same(found, wanted)
    assert found.steps <= alone.steps - 20


@quick
@given(prompts, st.lists(ids, max_size=10), st.lists(st.lists(ids, max_size=10), max_size=3), st.data())
def test_whatever_the_other_texts_are_they_change_nothing(prompt, draft, others, data):
    right = plain_of(prompt).ids
    for _ in range(data.draw(st.integers(0, 3), label="parts of the text")):
        start = data.draw(st.integers(0, len(right)), label="from")
        others = [*others, right[start : start + data.draw(st.integers(0, 20), label="tokens")]]
    assert_same(drafted(embeddings(prompt), draft, others=others), plain_of(prompt))


def test_without_draft_and_look_up_it_goes_step_by_step():
    wanted = plain_of(LONG)
    found = drafted(embeddings(LONG), lookup=0)
    assert_same(found, wanted)
    assert (found.steps, found.drafted, found.accepted) == (wanted.steps, 0, 0)


def test_a_draft_longer_than_one_pass_is_used_to_its_end():
    sampling = Sampling(no_repeat_ngram=2, max_tokens=200)
    wanted = plain(embeddings(LONG), sampling)
    assert len(wanted.ids) == 200
    found = drafted(embeddings(LONG), wanted.ids, sampling)
    assert_same(found, wanted)
    assert found.steps == 1


def test_loops_are_cut_as_without_a_draft():
    wanted = plain_of("plain.low")
    assert wanted.stop == "repetition"
    assert_same(drafted(embeddings("plain.low"), wanted.ids + wanted.ids[-1:] * 40), wanted)


@pytest.mark.parametrize("most", [1, 2, 5, 47])
def test_max_tokens_is_kept_to_the_token(most):
    sampling = Sampling(max_tokens=most)
    found = drafted(embeddings(LONG), plain_of(LONG).ids, sampling)
    assert_same(found, plain(embeddings(LONG), sampling))
    assert (len(found.ids), found.stop, found.steps, found.drafted) == (most, "length", 0, most - 1)


def test_an_end_token_in_the_draft_does_not_end_the_text():
    wanted = plain_of(LONG, LONG_END)
    assert_same(drafted(embeddings(LONG), [*wanted.ids[:5], 165, *wanted.ids[5:]], end_ids=LONG_END), wanted)


def test_ids_that_the_model_does_not_have_are_harmless_in_a_draft():
    wanted = plain_of(LONG, LONG_END)
    for stranger in (-1, 425, 10**12):
        texts = {"draft": [*wanted.ids[:5], stranger], "others": [[*wanted.ids[3:9], stranger]]}
        assert_same(drafted(embeddings(LONG), **texts, end_ids=LONG_END), wanted)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(repetition_penalty=1.3, max_tokens=40),
        Sampling(repetition_penalty=1.2, repetition_window=5, max_tokens=40),
        Sampling(no_repeat_ngram=1, max_tokens=40),
        Sampling(no_repeat_ngram=3, max_tokens=40),
        Sampling(repetition_penalty=1.1, no_repeat_ngram=4, max_tokens=40),
    ],
)
@pytest.mark.parametrize("prompt", ["plain.full", "english_hotwords_no_itn.full"])
def test_penalties_for_repeats_are_kept_with_right_and_wrong_drafts(sampling, prompt):
    x = embeddings(prompt)
    wanted = plain(x, sampling)
    for draft in ([], wanted.ids, with_an_error(wanted.ids, 8), plain_of(prompt).ids):
        assert_same(drafted(x, draft, sampling), wanted)


def test_random_sampling_is_that_of_generate_and_shows_the_model_no_draft():
    sampling = Sampling(temperature=1.0, max_tokens=20)
    [(_, wanted)] = generate(model(), [Request(embeddings(LONG), sampling, seed=3)], LOOPS)
    found = drafted(embeddings(LONG), wanted.ids, sampling, seed=3)
    assert found.ids == wanted.ids
    assert found.drafted == 0


def test_tokens_are_told_one_by_one_in_order():
    told = []
    wanted = plain_of(LONG, LONG_END)
    drafted(embeddings(LONG), with_an_error(wanted.ids, 20), end_ids=LONG_END, on_token=told.append)
    assert told == wanted.ids


def test_cancelling_ends_within_an_accepted_draft():
    told = []
    wanted = plain_of(LONG, LONG_END)
    found = drafted(
        embeddings(LONG), wanted.ids, end_ids=LONG_END, on_token=told.append, cancelled=lambda: len(told) == 12
    )
    assert (found.ids, found.stop) == (wanted.ids[:12], "cancelled")


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, 3, 8])
@pytest.mark.parametrize("always", [True, False])
@quick
@given(data=st.data())
def test_rows_with_any_drafts_and_settings_give_what_each_gives_alone(batch_size, always, data):
    samplings = [
        Sampling(max_tokens=24),
        Sampling(max_tokens=30, repetition_penalty=1.3, no_repeat_ngram=2),
        Sampling(max_tokens=12, temperature=0.9),
    ]
    requests = []
    for i in range(data.draw(st.integers(2, 6), label="rows")):
        x = embeddings(data.draw(prompts, label="prompt"))
        sampling = data.draw(st.sampled_from(samplings), label="sampling")
        [(_, wanted)] = generate(model(), [Request(x, sampling, seed=i)], LOOPS)
        right = wanted.ids
        kinds = [None, (), right, right[: len(right) // 2], with_an_error(right, len(right) // 3), right[1:]]
        requests.append((Request(x, sampling, seed=i, draft=data.draw(st.sampled_from(kinds), label="draft")), wanted))
    found = dict(generate(model(), [request for request, _ in requests], LOOPS, batch_size, DraftPolicy(always=always)))
    for i, (_, wanted) in enumerate(requests):
        assert_same(found[i], wanted)


def measured_policy(step: float, passes: dict[int, float], right: int, checked: int) -> DraftPolicy:
    policy = DraftPolicy()
    for length, seconds in [(0, step), *passes.items()] * 2:  # the first of a shape does not count
        policy.count_pass(seconds, 1, length)
    policy.count_tokens(right, checked)
    return policy


def test_guesses_are_short_where_tokens_are_dear_and_long_where_they_are_cheap():
    dear = measured_policy(2, {1: 2.3, 3: 2.9, 7: 4, 15: 7, 31: 11}, 30, 60)
    cheap = measured_policy(150, {1: 160, 7: 180, 31: 300, 127: 800}, 90, 100)
    assert dear.best_length([0.5], 1) in (1, 3)
    assert cheap.best_length([0.9], 1) >= 15


def test_a_row_whose_draft_is_right_gets_longer_guesses_than_one_whose_draft_is_wrong():
    policy = measured_policy(2, {1: 2.3, 3: 2.9, 7: 4, 15: 7}, 70, 100)
    right, wrong = (policy.best_length([policy.chance(n, 20)], 1) for n in (20, 4))
    assert right > wrong


def test_drafts_that_cost_more_than_steps_are_tried_again_only_after_many_steps():
    policy = measured_policy(1, {7: 20}, 10, 100)
    chance = policy.chance(0, 10)
    lengths = []
    for _ in range(130):
        lengths.append(policy.best_length([chance], 1))
        policy.count_pass(1 if lengths[-1] == 0 else 20, 1, lengths[-1])
    assert 1 <= sum(length > 0 for length in lengths) <= 3


def test_one_slow_pass_does_not_end_drafting():
    policy = measured_policy(2, {1: 2.3, 3: 2.9, 7: 4}, 80, 100)
    length = policy.best_length([0.8], 1)
    policy.count_pass(1.0, 1, length)
    assert policy.best_length([0.8], 1) > 0


def test_the_rest_of_a_draft_is_found_however_the_text_differs_from_its_beginning():
    draft = [1, 2, 3, 4, 5, 6, 7, 8]
    for said in ([1, 2, 9, 4], [1, 2, 4], [1, 2, 9, 9, 3, 4], [2, 3, 4], [9, 8, 3, 4]):
        assert continuation(said, AlignedDraft(draft), [], 6, 127) == [5, 6, 7, 8]


def test_a_wrong_word_is_taken_to_stand_for_the_draft_s_at_its_place():
    assert continuation([1, 2, 3, 9], AlignedDraft([1, 2, 3, 4, 5, 6]), [], 6, 2) == [5, 6]


def test_of_many_drafts_a_prefill_checks_no_more_than_a_pass_would():
    policy = DraftPolicy()
    assert policy.first_length(1) == 127
    assert policy.first_length(64) <= 15


def test_a_pass_over_many_rows_is_taken_to_cost_what_its_tokens_cost():
    policy = DraftPolicy()
    for length, seconds in [(0, 1), (1, 1.8)] * 2:
        policy.count_pass(seconds, 64, length)
    policy.count_tokens(30, 60)
    assert policy.best_length([0.5] * 64, 64) == 0


@quick
@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=5))
def test_a_text_that_grows_is_at_one_of_the_nearest_places_of_its_draft(draft, pieces):
    def edits(said: list[int], part: list[int]) -> int:
        row = list(range(len(part) + 1))
        for i, token in enumerate(said):
            above, row = row, [i + 1]
            for j, other in enumerate(part):
                row.append(min(above[j] + (token != other), above[j + 1] + 1, row[j] + 1))
        return row[-1]

    aligned, said = AlignedDraft(draft), []
    for piece in pieces:
        said = said + piece
        place = aligned.place(said)
        found = [edits(said, draft[:n]) for n in range(len(draft) + 1)]
        assert found[place] == min(found)
