"""What decoding is asked for, what it gives, and when a text ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import mlx.core as mx

from .sampling import Sampling

Stop = Literal["end", "length", "repetition", "cancelled"]
ALTERNATIVES = 5


@dataclass(frozen=True)
class Request:
    """A prompt as embeddings [N, L], and how to decode it.

    `draft` is a guess of the text (see draft.py), `others` are texts that may share passages with it; a draft of None
    decodes one token a pass. Neither changes greedy text; random sampling ignores them. `on_token` is called with
    every token id as it is known, `cancelled` after each.
    """

    embeddings: mx.array
    sampling: Sampling = Sampling()  # noqa: RUF009 (frozen)
    seed: int = 0
    draft: Sequence[int] | None = None
    others: Sequence[Sequence[int]] = ()
    alternatives: bool = False
    on_token: Callable[[int], None] | None = None
    cancelled: Callable[[], bool] | None = None


@dataclass(frozen=True)
class Pass:
    """One pass of the decoder over a row: the tokens of a draft that it checked, how many of them the model would have
    chosen itself, and how many tokens of text came of it."""

    draft: tuple[int, ...]
    accepted: int
    written: int


@dataclass
class Generated:
    """The tokens of one request, with the log-probability the model gave each.

    `steps` counts the decoder passes after the prefill, `drafted` the tokens of drafts that were checked, `accepted`
    those the model would have chosen itself; `passes` has the same pass by pass, the prefill first. Time spent on a
    batch is divided equally among its rows. `candidates` are the results of a beam search, best first: ids,
    log-probability, score.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    alternatives: list[list[tuple[int, float]]] = field(default_factory=list)
    candidates: list[tuple[list[int], float, float]] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    stop: Stop | None = None
    error: Exception | None = None  # raised by a callback
    steps: int = 0
    drafted: int = 0
    accepted: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0

    def append_token(self, request: Request, token_id: int, logprob: float, end_ids: frozenset[int] | None) -> bool:
        """Add the next token and run the request's callbacks; True if it was the last.

        `end_ids` of None decodes exactly `max_tokens` tokens, for benchmarks.
        """
        if end_ids and token_id in end_ids:
            self.stop = "end"
            self._truncate(len(self.ids))
            return True
        self.ids.append(token_id)
        self.logprobs.append(logprob)
        loop = None if end_ids is None else looping(self.ids)
        if loop:
            period, times = loop
            self._truncate(len(self.ids) - period * (times - 1))
            self.stop = "repetition"
        elif len(self.ids) >= request.sampling.max_tokens:
            self.stop = "length"
        try:
            if request.on_token:
                request.on_token(token_id)
            if not self.stop and request.cancelled and request.cancelled():
                self.stop = "cancelled"
        except Exception as error:
            self.error, self.stop = error, "cancelled"
        return self.stop is not None

    def _truncate(self, length: int) -> None:
        del self.ids[length:], self.logprobs[length:], self.alternatives[length:]


def looping(ids: list[int]) -> tuple[int, int] | None:
    """Detect that the last tokens repeat one n-gram: (its length, how often), or None.

    People do repeat themselves ("no no no no", "zero zero zero"), so it takes 16 tokens and at least 4 repeats.
    """
    for period in range(1, min(40, len(ids) // 4) + 1):
        if ids[-1] != ids[-1 - period]:
            continue
        times = max(4, -(-16 // period))
        span = period * times
        if len(ids) >= span and ids[-span:-period] == ids[-span + period :]:
            return period, times
    return None
