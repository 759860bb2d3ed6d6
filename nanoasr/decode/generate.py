"""Prompts -> tokens: prefill, then one step after another for all rows of a batch at once.

A step is launched before the token of the one before it is read, so the device never waits for Python. Rows
that finish leave, waiting prompts take their places. A single recording is a batch of one.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import mlx.core as mx

from ..model.ctc import log_softmax
from ..model.nano import Nano
from ..model.qwen3 import Cache
from .sampling import Sampling, make_chooser

Stop = Literal["end", "length", "repetition", "cancelled"]
ALTERNATIVES = 5


@dataclass(frozen=True)
class Request:
    """A prompt, as embeddings [N, L], and what to do with its tokens."""

    embeddings: mx.array
    seed: int = 0
    on_token: Callable[[int], None] | None = None  # called with every token as it is known
    cancelled: Callable[[], bool] | None = None


@dataclass
class Generated:
    """Tokens for one request, with the log-probability the model gave each.

    `steps` counts the forward passes after the prefill that the tokens came from; `drafted` the tokens of guesses
    that the model was shown (see draft.py), `accepted` those that it would have written itself. What was done for
    several rows at once counts in equal shares in the seconds of each.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    alternatives: list[list[tuple[int, float]]] = field(default_factory=list)
    stop: Stop | None = None
    steps: int = 0
    drafted: int = 0
    accepted: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0

    def add(self, token_id: int, logprob: float, end_ids: frozenset[int], most: int) -> bool:
        """Take a token; True when it was the last."""
        if end_ids and token_id in end_ids:
            self.stop = "end"
            self._cut(len(self.ids))
            return True
        self.ids.append(token_id)
        self.logprobs.append(logprob)
        period = None if end_ids is None else looping(self.ids)  # None: measuring, so only `most` ends a text
        if period:
            self._cut(len(self.ids) - period[0] * (period[1] - 1))
            self.stop = "repetition"
        elif len(self.ids) >= most:
            self.stop = "length"
        return self.stop is not None

    def _cut(self, length: int) -> None:
        del self.ids[length:], self.logprobs[length:], self.alternatives[length:]


def take(
    result: Generated, request: Request, token_id: int, logprob: float, end_ids: frozenset[int], most: int
) -> bool:
    """Add a request's next token and tell who waits for it; True when it was the last."""
    done = result.add(token_id, logprob, end_ids, most)
    if request.on_token and result.stop != "end":
        request.on_token(token_id)
    if not done and request.cancelled and request.cancelled():
        result.stop = "cancelled"
    return result.stop is not None


def looping(ids: list[int]) -> tuple[int, int] | None:
    """Whether the last tokens are one n-gram over and over: (its length, how often), or None.

    People do repeat themselves ("no no no no", "zero zero zero"), so it takes 16 tokens and at least 4 times.
    """
    for period in range(1, min(40, len(ids) // 4) + 1):
        times = max(4, -(-16 // period))
        span = period * times
        if len(ids) >= span and ids[-span:-period] == ids[-span + period :]:
            return period, times
    return None


def generate(
    model: Nano,
    requests: Iterable[Request],
    sampling: Sampling,
    end_ids: frozenset[int],
    width: int = 1,
    alternatives: bool = False,
) -> Iterator[tuple[int, Generated]]:
    """Decode every request, at most `width` at a time; (index, result) as each is finished.

    Greedy results are those that each request gives alone. `alternatives` records the five likeliest tokens
    at every step.
    """
    batch = _Batch(model, sampling, end_ids, alternatives)
    waiting = enumerate(requests)
    more = True
    while more or batch.rows:
        free = width - len(batch.rows)
        if more and (not batch.rows or free >= max(1, width // 4)):
            new = [item for _, item in zip(range(free), waiting, strict=False)]
            more = len(new) == free
            if new:
                batch.admit(new)
        if batch.rows:
            yield from batch.step()


@dataclass
class _Row:
    index: int
    request: Request
    result: Generated
    keys: Iterator[mx.array] | None


class _Batch:
    """The rows being decoded: their cache, and the tokens chosen last, which the device may not have yet."""

    def __init__(self, model: Nano, sampling: Sampling, end_ids: frozenset[int], alternatives: bool):
        self.model, self.sampling, self.end_ids, self.top = model, sampling, end_ids, alternatives
        self.choose = make_chooser(sampling)
        self.rows: list[_Row] = []
        self.cache: Cache | None = None
        self.tokens: mx.array | None = None
        self.facts: list[mx.array] = []  # of those tokens: log-probability, and the likeliest others
        self.history = mx.zeros((0, 0), dtype=mx.int32)

    def admit(self, new: list[tuple[int, Request]]) -> None:
        """Prefill some requests together and add them as rows."""
        start = time.perf_counter()
        prompts = [request.embeddings for _, request in new]
        longest = max(prompt.shape[0] for prompt in prompts)
        gaps = [longest - prompt.shape[0] for prompt in prompts]
        x = mx.stack([mx.pad(prompt, [(gap, 0), (0, 0)]) for prompt, gap in zip(prompts, gaps, strict=True)])
        cache = Cache(self.model.config.llm, mx.array(gaps) if any(gaps) else None)
        states = self.model.llm(x, cache)[:, -1]
        rows = [
            _Row(index, request, Generated(), None if self.sampling.greedy else _random_keys(request.seed))
            for index, request in new
        ]
        history = mx.full((len(rows), self.history.shape[1]), -1, dtype=mx.int32)
        tokens, facts = self._choose(states, history, rows)
        mx.eval(tokens, facts, cache.state())
        for row in rows:
            row.result.prefill_seconds = (time.perf_counter() - start) / len(rows)
        if self.rows:
            self.cache.join(cache)
            self.tokens = mx.concatenate([self.tokens, tokens])
            self.facts = [mx.concatenate(pair) for pair in zip(self.facts, facts, strict=True)]
            self.history = mx.concatenate([self.history, history])
        else:
            self.cache, self.tokens, self.facts, self.history = cache, tokens, facts, history
        self.rows = self.rows + rows

    def step(self) -> list[tuple[int, Generated]]:
        """Launch the next step, then read the tokens of the last; rows that they finish come back."""
        start, tokens, facts = time.perf_counter(), self.tokens, self.facts
        if self.sampling.looks_back:
            self.history = mx.concatenate([self.history, tokens[:, None]], axis=1)
        x = self.model.llm.embed(tokens[:, None])
        states = self.model.llm(x, self.cache)[:, -1]
        self.tokens, self.facts = self._choose(states, self.history, self.rows)
        mx.async_eval(self.tokens, self.facts)

        logprobs, *top = (fact.tolist() for fact in facts)
        staying, finished = [], []
        for place, (row, token_id) in enumerate(zip(self.rows, tokens.tolist(), strict=True)):
            result = row.result
            if top:
                result.alternatives.append(list(zip(top[0][place], top[1][place], strict=True)))
            if take(result, row.request, token_id, logprobs[place], self.end_ids, self.sampling.max_tokens):
                finished.append((row.index, result))
            else:
                result.steps += 1
                staying.append(place)
        share = (time.perf_counter() - start) / len(self.rows)
        for row in self.rows:
            row.result.decode_seconds += share
        if finished:
            self._keep(staying)
        return finished

    def _keep(self, places: list[int]) -> None:
        self.rows = [self.rows[place] for place in places]
        if not self.rows:
            self.cache = self.tokens = None
            self.facts = []
            self.history = self.history[:0, :0]
            return
        index = mx.array(places)
        self.cache.keep_rows(places)
        longest = max(len(row.result.ids) for row in self.rows)
        self.tokens, self.history = self.tokens[index], self.history[index, -longest:]
        self.facts = [fact[index] for fact in self.facts]

    def _choose(self, states: mx.array, history: mx.array, rows: list[_Row]) -> tuple[mx.array, list[mx.array]]:
        logits = self.model.llm.logits(states)
        if self.sampling.greedy:
            tokens = self.choose(logits, history, None)
        elif len(rows) == 1:
            tokens = self.choose(logits, history, next(rows[0].keys))
        else:  # each row draws with its own key, so that a text does not depend on its neighbours
            drawn = [self.choose(logits[i : i + 1], history[i : i + 1], next(row.keys)) for i, row in enumerate(rows)]
            tokens = mx.concatenate(drawn)
        return tokens, _facts(logits, tokens, self.top)


@mx.compile
def token_logprobs(logits: mx.array, tokens: mx.array) -> mx.array:
    """Log-probabilities [B] of the chosen tokens [B] under the model's own scores [B, V]."""
    chosen = mx.take_along_axis(logits, tokens[:, None], axis=-1).astype(mx.float32)
    return (chosen - mx.logsumexp(logits.astype(mx.float32), axis=-1, keepdims=True)).squeeze(-1)


def _facts(logits: mx.array, tokens: mx.array, top: bool) -> list[mx.array]:
    if not top:
        return [token_logprobs(logits, tokens)]
    logprobs = log_softmax(logits)
    ids = mx.argsort(-logprobs, axis=-1)[:, :ALTERNATIVES]
    return [token_logprobs(logits, tokens), ids, mx.take_along_axis(logprobs, ids, axis=-1)]


def _random_keys(seed: int) -> Iterator[mx.array]:
    step = 0
    while True:
        yield mx.random.key((seed * 1_000_003 + step) & (2**63 - 1))
        step += 1
