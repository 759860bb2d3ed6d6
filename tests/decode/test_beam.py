"""Beam search gives the hypotheses of transformers, in its order and with its scores."""

import json

import numpy as np
import pytest
from parity_prompts import EXPECTED, embeddings, model
from places import PARITY

import nanoasr
from nanoasr.decode.beam import BeamSearch
from nanoasr.decode.request import Generated, Request
from nanoasr.decode.sampling import Sampling
from nanoasr.errors import OptionError

CASES = json.loads((PARITY / "beams.json").read_text())  # transformers 5.24.0, Qwen3ForCausalLM.generate


def search(prompt: str, sampling: Sampling, end_ids=(), **options) -> Generated:
    found = BeamSearch(model(), Request(embeddings(prompt), sampling, **options), frozenset(end_ids))
    while not found.advance():
        pass
    return found.result


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['prompt']}-{case['beams']}-{len(case['ends'])} ends")
def test_hypotheses_and_scores_are_those_of_transformers(case):
    sampling = Sampling(beams=case["beams"], length_penalty=case["length_penalty"], max_tokens=14)
    found = search(case["prompt"], sampling, case["ends"])
    assert [ids for ids, _, _ in found.candidates] == case["ids"]
    np.testing.assert_allclose([score for _, _, score in found.candidates], case["scores"], rtol=1e-4, atol=1e-4)
    assert found.ids == case["ids"][0]


def test_the_best_hypothesis_is_at_least_as_likely_as_the_greedy_text():
    asr = nanoasr.load(PARITY / "official", dtype="float32")
    greedy = asr.transcribe(EXPECTED["audio"], sampling=Sampling(max_tokens=12))
    best = asr.transcribe(EXPECTED["audio"], sampling=Sampling(max_tokens=12, beams=4, length_penalty=0.0))
    [segment] = best.segments
    assert len(segment.nbest) == 4
    assert segment.nbest[0].text == segment.text
    assert segment.nbest[0].logprob >= sum(token.logprob for token in greedy.tokens) - 1e-4
    assert [c.score for c in segment.nbest] == sorted((c.score for c in segment.nbest), reverse=True)
    assert all(word.start is not None for word in best.words)


def test_a_loop_ends_a_hypothesis():
    found = search("plain.low", Sampling(beams=2, max_tokens=200))
    assert found.stop in ("repetition", "length")
    assert found.steps < 200


def test_cancelling_ends_with_the_best_so_far():
    asked = []
    found = search("plain.full", Sampling(beams=3), cancelled=lambda: asked.append(1) or len(asked) == 5)
    assert (found.stop, len(found.ids)) == ("cancelled", 4) or len(found.ids) == 5


def test_beams_need_the_likeliest_tokens():
    with pytest.raises(OptionError, match="beams=4: beam search needs temperature=0"):
        Sampling(beams=4, temperature=0.5)


@pytest.mark.parametrize("beams", [0, 17, True, 2.0])
def test_a_number_of_beams_that_cannot_be_is_refused(beams):
    with pytest.raises(OptionError, match="beams="):
        Sampling(beams=beams)
