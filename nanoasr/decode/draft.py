"""Drafted decoding: many tokens a step, where there is a guess of what they are.

The model reads a whole guess in one pass and says after each of its tokens what it would have written there. The
guess is kept up to the first disagreement, so what comes out is the greedy text whatever the guess; a good one only
makes it come sooner.
"""

import time
from collections.abc import Sequence
from itertools import cycle, islice, takewhile

import mlx.core as mx

from ..model.nano import Nano
from ..model.qwen3 import Cache
from .generate import Generated, Request, generate, take, token_logprobs
from .sampling import Sampling, make_chooser

_WIDEST = 128  # tokens checked in one pass: each takes a row of scores as long as the vocabulary
_NARROWEST = 8  # tokens of a guess that nothing has confirmed yet
_NEAR = 8  # how far ahead in the draft a single equal token is taken for the place where the text joins it again


def generate_drafted(
    model: Nano,
    request: Request,
    sampling: Sampling,
    end_ids: frozenset[int],
    draft: Sequence[int] = (),
    lookup: int = 3,
) -> Generated:
    """Decode one request with the help of a guess of its text; ids and stop are those that `generate` gives.

    `draft` may be empty, wrong or cut short. After a disagreement the rest of it is used again from where the
    text joins it, and beyond it what followed the last `lookup` tokens when they were said before (0: neither).
    Where two tokens are equally likely to the last bit, rounding may decide otherwise than one step at a time
    would. Random sampling (temperature above 0) has no use for a guess and goes through `generate`.
    """
    if not sampling.greedy:
        [(_, result)] = generate(model, [request], sampling, end_ids)
        return result
    clock = time.perf_counter()
    choose = make_chooser(sampling)
    result, cache = Generated(), Cache(model.config.llm)
    vocabulary = model.config.llm.vocab_size
    guesses = _Guesses(list(takewhile(lambda i: 0 <= i < vocabulary, draft)), lookup)
    guess = guesses.first()[: sampling.max_tokens - 1]
    x = mx.concatenate([request.embeddings, _embed(model, guess)])
    while True:
        states = model.llm(x[None], cache)[0, -len(guess) - 1 :]
        logits = model.llm.logits(states)
        tokens = choose(logits, _histories(result.ids, guess, sampling), None)
        logprobs = token_logprobs(logits, tokens)
        mx.eval(tokens, logprobs)
        if not result.prefill_seconds:
            result.prefill_seconds, clock = time.perf_counter() - clock, time.perf_counter()
        result.drafted += len(guess)
        right = 0
        for guessed, token_id, logprob in zip([*guess, None], tokens.tolist(), logprobs.tolist(), strict=True):
            right += token_id == guessed
            done = take(result, request, token_id, logprob, end_ids, sampling.max_tokens)
            if done or token_id != guessed:
                break
        result.accepted += right
        if done:
            result.decode_seconds = time.perf_counter() - clock
            return result
        cache.trim(cache.length - (len(guess) - right))
        guess = guesses.next(result.ids, right)[: sampling.max_tokens - len(result.ids) - 1]
        x = _embed(model, [token_id, *guess])
        result.steps += 1


def _embed(model: Nano, ids: Sequence[int]) -> mx.array:
    return model.llm.embed(mx.array(ids, dtype=mx.int32))


def _histories(said: list[int], guess: list[int], sampling: Sampling) -> mx.array:
    """What was chosen before each token of a guess and the one after it, flush right, -1 where there is nothing."""
    if not sampling.looks_back:
        return mx.zeros((len(guess) + 1, 0), dtype=mx.int32)
    rows = [[-1] * (len(guess) - i) + said + guess[:i] for i in range(len(guess) + 1)]
    return mx.array(rows, dtype=mx.int32)


class _Guesses:
    """Where the next words may already be written: in the draft, or in what was said."""

    def __init__(self, draft: list[int], lookup: int):
        self._draft, self._lookup = draft, lookup
        self._place = 0  # about here is the text in the draft
        self._start: int | None = 0  # where in the draft the last guess began; None: it was none of the draft's
        self._lost = False  # skipping a token of the draft has been tried, and was wrong

    def first(self) -> list[int]:
        return self._draft[:_WIDEST]

    def next(self, ids: list[int], right: int) -> list[int]:
        """What may follow `ids`, the last guess having been right in its first `right` tokens."""
        if self._start is not None and right:
            self._place, self._lost = self._start + right, False
        if not self._lookup:
            return []
        self._start = self._joined(ids)
        if self._start is None and not self._lost:  # most often one token stands for another
            self._start, self._lost = self._place + 1, True
        reach = min(max(_NARROWEST, 2 * right), _WIDEST)
        guess = [] if self._start is None else self._draft[self._start :][:reach]
        if not guess:
            self._start = None
            guess = _said_before(ids, self._lookup, reach)
        return guess

    def _joined(self, ids: list[int]) -> int | None:
        """Where the draft goes on after the last tokens of `ids`, or after as many of them as it has."""
        for n in range(min(self._lookup, len(ids)), 0, -1):
            near = range(self._place + 1, self._place + 1 + _NEAR) if n == 1 else range(n, len(self._draft) + 1)
            ends = [end for end in near if self._draft[end - n : end] == ids[-n:]]
            if ends:
                return min(ends, key=lambda end: abs(end - 1 - self._place))
        return None


def _said_before(ids: list[int], n: int, most: int) -> list[int]:
    """What followed the last n tokens when they were last said before, and would follow if that went on so."""
    for end in range(len(ids) - 1, n - 1, -1):
        if ids[end - n : end] == ids[-n:]:
            return list(islice(cycle(ids[end:]), most))
    return []
