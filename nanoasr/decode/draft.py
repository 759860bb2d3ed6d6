"""Drafted decoding: many tokens a step, where there is a guess of what they are.

The model reads a whole guess in one pass and says after each of its tokens what it would have written there. The
guess is kept up to the first disagreement, so what comes out is the greedy text whatever the guess; a good one only
makes it come sooner.
"""

import time
from collections.abc import Sequence
from itertools import cycle, islice, takewhile
from operator import itemgetter

import mlx.core as mx

from ..model.nano import Nano
from ..model.qwen3 import Cache
from .generate import Generated, Request, generate, take, token_logprobs
from .sampling import Sampling, make_chooser

_WIDEST = 128  # tokens checked in one pass: each takes a row of scores as long as the vocabulary
_NARROWEST = 7  # tokens of a guess that nothing has confirmed yet


def generate_drafted(
    model: Nano,
    request: Request,
    sampling: Sampling,
    end_ids: frozenset[int],
    draft: Sequence[int] = (),
    others: Sequence[Sequence[int]] = (),
    lookup: int = 6,
) -> Generated:
    """Decode one request with the help of a guess of its text; ids and stop are those that `generate` gives.

    `draft` may be empty, wrong or cut short. After a disagreement the next guess is what follows the last tokens
    where they stand in the draft, in what was said, or in one of the `others`: texts that may have parts in common
    with this one. As many tokens as possible count, at most `lookup` (0: there is no next guess).
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
    draft, *others = [list(takewhile(lambda i: 0 <= i < vocabulary, text)) for text in (draft, *others)]
    guess = draft[: min(_WIDEST, sampling.max_tokens - 1)]
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
        reach = min(max(_NARROWEST, 2 * right), _WIDEST, sampling.max_tokens - len(result.ids) - 1)
        guess = _continuation(result.ids, draft, others, lookup, reach)
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


def _continuation(said: list[int], draft: list[int], others: Sequence[list[int]], lookup: int, reach: int) -> list[int]:
    """What may follow: what follows the longest run of the last tokens, at about the same place, in the first text
    that has it."""
    if not lookup:
        return []
    texts = [draft, said, *others]
    found = [
        (_run(text[max(end - lookup, 0) : end], said, lookup), -i, -abs(end - len(said)), text, end)
        for i, text in enumerate(texts)
        for end in range(1, len(text))
        if text[end - 1] == said[-1]
    ]
    if not found:  # most often one token stands for another
        return draft[len(said) :][:reach]
    *_, text, end = max(found, key=itemgetter(0, 1, 2))
    rest = text[end:]
    return list(islice(cycle(rest) if text is said else rest, reach))  # what was said twice may be said again


def _run(text: list[int], said: list[int], most: int) -> int:
    """How many of the last `most` tokens two texts share, counted from their ends."""
    pairs = zip(reversed(text), reversed(said[-most:]), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
