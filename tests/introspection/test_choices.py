"""What tokens were chosen from: the model's own scores, and a summary of the rest that weighs what it does."""

import numpy as np
import pytest
from places import PARITY, SPEECH

import nanoasr
from nanoasr import backend
from nanoasr.introspection.choices import choice, text_choices

CLIP = SPEECH / "LJ002-0020.wav"


@pytest.fixture(scope="module", params=[PARITY / "official", None], ids=["official", "bundled"])
def looked(request):
    asr = nanoasr.load(request.param, dtype="float32")
    x, tokens = asr.inspect(CLIP), asr.transcribe(CLIP, sampling=nanoasr.Sampling(max_tokens=20)).tokens
    return x, tokens, backend.run(text_choices, asr.checkpoint, x, tokens)


def test_greedy_tokens_are_the_likeliest_of_their_choices_with_the_same_log_probabilities(looked):
    _, tokens, found = looked
    assert len(found) == len(tokens) + 1
    for token, each in zip(tokens, found, strict=False):
        total = np.exp(each.logits.astype(float)).sum() + (each.counts * np.exp(each.levels)).sum()
        assert each.ids[0] == token.id
        assert each.logits[0] - np.log(total) == pytest.approx(token.logprob, abs=1e-3)


def test_the_first_choice_is_that_of_the_inspection(looked):
    x, _, found = looked
    logits = np.array(x.first_logits)
    assert found[0].logits == pytest.approx(logits[found[0].ids], abs=1e-3)
    assert len(found[0].ids) + found[0].counts.sum() == len(logits)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_rest_weighs_what_it_weighs_at_any_temperature(temperature):
    logits = np.random.default_rng(1).normal(0, 4, 50_000).astype(np.float32)
    each = choice(logits)
    weights = np.exp(logits.astype(float) / temperature)
    rest = (each.counts * np.exp(each.levels / temperature)).sum()
    assert rest == pytest.approx(weights.sum() - weights[each.ids].sum(), rel=0.01)


def test_ids_that_a_penalty_would_change_are_kept_however_unlikely():
    logits = np.linspace(5, -5, 2000, dtype=np.float32)
    assert {1500, 1999} <= set(choice(logits, [1500, 1999]).ids.tolist())
    assert 1500 not in choice(logits).ids
