"""Beam search: several hypotheses of one text side by side, as rows of one cache, as transformers does it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from ..model.ctc import log_softmax
from ..model.nano import Nano
from .request import Generated, Request, looping
from .sampling import forbid_ngrams, penalize_repeats


@dataclass(frozen=True)
class Hypothesis:
    """A text's tokens and their log-probabilities; `ended` is how it ended, None while it goes on."""

    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    ended: str | None = None

    @property
    def logprob(self) -> float:
        return sum(self.logprobs)

    def score(self, length_penalty: float) -> float:
        """Divide a log-probability by the number of tokens to the power of the penalty."""
        return self.logprob / max(len(self.logprobs), 1) ** length_penalty


class BeamSearch:
    """The search for one request; `advance` makes one pass. For the worker thread."""

    def __init__(self, model: Nano, request: Request, end_ids: frozenset[int]):
        start = time.perf_counter()
        self._model, self.request, self._end_ids = model, request, end_ids
        self._beams, self._penalty = request.sampling.beams, request.sampling.length_penalty
        self._running = [Hypothesis()]
        self._finished: list[Hypothesis] = []
        self.result: Generated | None = None
        self._made = Generated()
        self._cache = model.llm.new_cache()
        states = model.llm(request.embeddings[None], self._cache)[:, -1]
        self._expand(states)
        self._made.prefill_seconds = time.perf_counter() - start

    def advance(self) -> bool:
        """Extend every hypothesis by a token; True once the result is known."""
        if self.result is None:
            start = time.perf_counter()
            ids = mx.array([[hypothesis.ids[-1]] for hypothesis in self._running])
            self._expand(self._model.llm(self._model.llm.embed(ids), self._cache)[:, -1])
            self._made.steps += 1
            self._made.decode_seconds += time.perf_counter() - start
        return self.result is not None

    def _expand(self, states: mx.array) -> None:
        best = self._continuations(states)
        ended = [(parent, hypothesis) for parent, hypothesis in best[: self._beams] if hypothesis.ended]
        self._finished += [hypothesis for _, hypothesis in ended]
        self._finished = sorted(self._finished, key=lambda h: -h.score(self._penalty))[: self._beams]
        going_on = [(parent, hypothesis) for parent, hypothesis in best if not hypothesis.ended][: self._beams]
        cancelled = bool(self.request.cancelled and self.request.cancelled())
        if not going_on or cancelled or not self._can_improve(going_on[0][1]):
            self._conclude(cancelled, [hypothesis for _, hypothesis in going_on])
            return
        self._cache.keep_rows([parent for parent, _ in going_on])
        self._running = [hypothesis for _, hypothesis in going_on]

    def _continuations(self, states: mx.array) -> list[tuple[int, Hypothesis]]:
        """Return the likeliest continuations with the rows they continue, best first: enough for all beams to go on."""
        logprobs, sampling = log_softmax(self._model.llm.logits(states)), self.request.sampling
        if sampling.looks_back and self._running[0].ids:
            history = mx.array([hypothesis.ids for hypothesis in self._running], dtype=mx.int32)
            if sampling.repetition_penalty != 1:
                recent = history[:, -sampling.repetition_window :]
                logprobs = penalize_repeats(logprobs, recent, sampling.repetition_penalty)
            if sampling.no_repeat_ngram:
                logprobs = forbid_ngrams(logprobs, history, sampling.no_repeat_ngram)
        before = mx.array([[hypothesis.logprob] for hypothesis in self._running])
        total = (logprobs + before).reshape(-1)
        count = min(max(2, 1 + len(self._end_ids)) * self._beams, total.shape[0])
        places = mx.argpartition(-total, count - 1)[:count]
        triples = zip(total[places].tolist(), places.tolist(), logprobs.reshape(-1)[places].tolist(), strict=True)
        width = logprobs.shape[1]
        found = sorted(triples, key=lambda triple: (-triple[0], triple[1]))
        return [(place // width, self._continued(place // width, place % width, own)) for _, place, own in found]

    def _continued(self, row: int, token_id: int, logprob: float) -> Hypothesis:
        before = self._running[row]
        ids, logprobs = (*before.ids, token_id), (*before.logprobs, logprob)
        if token_id in self._end_ids:
            return Hypothesis(before.ids, logprobs, "end")
        if looping(list(ids)):
            return Hypothesis(ids, logprobs, "repetition")
        return Hypothesis(ids, logprobs, "length" if len(ids) >= self.request.sampling.max_tokens else None)

    def _can_improve(self, best: Hypothesis) -> bool:
        """False once the best running hypothesis scores no better than the worst of enough finished ones."""
        if len(self._finished) < self._beams:
            return True
        return best.score(self._penalty) > self._finished[-1].score(self._penalty)

    def _conclude(self, cancelled: bool, running: Sequence[Hypothesis]) -> None:
        best = self._finished or list(running)[:1] or self._running[:1]
        made, self._cache = self._made, None
        period, times = (looping(list(best[0].ids)) if best[0].ended == "repetition" else None) or (0, 1)
        length = len(best[0].ids) - period * (times - 1)
        made.ids, made.logprobs = list(best[0].ids[:length]), list(best[0].logprobs[:length])
        made.stop = "cancelled" if cancelled else best[0].ended or "length"
        made.candidates = [(list(h.ids), h.logprob, h.score(self._penalty)) for h in best]
        try:
            for token_id in made.ids if self.request.on_token else ():
                self.request.on_token(token_id)
        except Exception as error:
            made.error = error
        self.result = made
