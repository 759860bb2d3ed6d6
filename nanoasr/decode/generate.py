"""The decoder loop: rows with prompts, settings and drafts of their own share every pass; rows come and go.

Without drafts a pass is launched before the tokens of the one before it are read, so that the device never waits for
Python. With drafts, a pass checks several tokens of each row, and what the row had to reject is cut off its cache.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from ..model.cache import Cache
from ..model.ctc import log_softmax
from ..model.fused import FusedCache
from ..model.nano import Nano
from .draft import LENGTHS, AlignedDraft, DraftPolicy, continuation, known_ids
from .request import ALTERNATIVES, Generated, Pass, Request
from .sampling import Sampling, make_chooser

_POSITIONS = 256  # whose logits are held at once: each is as long as the vocabulary


def generate(
    model: Nano,
    requests: Iterable[Request],
    end_ids: frozenset[int] | None,
    batch_size: int = 1,
    policy: DraftPolicy | None = None,
) -> Iterator[tuple[int, Generated]]:
    """Decode every request, at most `batch_size` at a time; yields (index, result) as each is finished.

    Greedy results are those that each request gives alone.
    """
    batch = DecoderBatch(model, end_ids, policy)
    waiting = enumerate(requests)
    more = True
    while more or batch.rows:
        free = batch_size - len(batch.rows)
        if more and (not batch.rows or free >= max(1, batch_size // 4)):
            new = [item for _, item in zip(range(free), waiting, strict=False)]
            more = len(new) == free
            batch.admit(new)
        for index, result in batch.step():
            if result.error:
                raise result.error
            yield index, result


@dataclass
class Row:
    """A request being decoded. `key` identifies it to the caller; `next_id` is its last token, not yet fed."""

    key: Any
    request: Request
    result: Generated = field(default_factory=Generated)
    next_id: int = 0
    draft: AlignedDraft = field(default_factory=AlignedDraft)
    others: list[list[int]] = field(default_factory=list)
    checked: int = 0  # drafted tokens, each guess's up to its first wrong one

    @property
    def drafts(self) -> bool:
        return self.request.draft is not None and self.request.sampling.greedy

    def guess(self, lookup: int, length: int) -> list[int]:
        """Guess at most `length` tokens that follow `next_id`; none where the row has no use for drafts."""
        if not self.drafts:
            return []
        most = min(length, self.request.sampling.max_tokens - len(self.result.ids) - 1)
        return continuation(self.result.ids, self.draft, self.others, lookup, most)


@dataclass(frozen=True)
class _Chosen:
    """The tokens of one pass, which the device may not have computed yet."""

    tokens: mx.array
    logprobs: mx.array
    top: tuple[mx.array, mx.array] | None  # ids and log-probabilities of the likeliest

    def arrays(self) -> list[mx.array]:
        return [self.tokens, self.logprobs, *(self.top or ())]

    def read(self) -> list[tuple[int, float, list[tuple[int, float]]]]:
        tops: Sequence = [()] * self.tokens.shape[0]
        if self.top:
            pairs = zip(*(array.tolist() for array in self.top), strict=True)
            tops = [list(zip(ids, logprobs, strict=True)) for ids, logprobs in pairs]
        return list(zip(self.tokens.tolist(), self.logprobs.tolist(), tops, strict=True))

    def rows(self, index: mx.array) -> "_Chosen":
        return _Chosen(self.tokens[index], self.logprobs[index], self.top and tuple(array[index] for array in self.top))

    @staticmethod
    def join(parts: "list[_Chosen]") -> "_Chosen":
        if len(parts) == 1:
            return parts[0]
        tops = [part.top for part in parts]
        top = tuple(mx.concatenate(arrays) for arrays in zip(*tops, strict=True)) if tops[0] else None
        return _Chosen(
            mx.concatenate([part.tokens for part in parts]), mx.concatenate([part.logprobs for part in parts]), top
        )


class DecoderBatch:
    """Rows that are decoded together, each to the text that it has alone. All methods are for the worker thread."""

    def __init__(self, model: Nano, end_ids: frozenset[int] | None, policy: DraftPolicy | None = None):
        self.model, self.end_ids = model, end_ids
        self.policy = policy or DraftPolicy()
        self.rows: list[Row] = []
        self._cache: Cache | FusedCache | None = None
        self._launched: _Chosen | None = None
        self._finished: list[Row] = []
        self._choosers: dict[Sampling, Callable] = {}

    def admit(self, requests: Sequence[tuple[Any, Request]]) -> None:
        """Prefill some requests, with their drafts, in one pass and add them as rows."""
        if not requests:
            return
        self._drain()
        start = time.perf_counter()
        rows = [Row(key, request) for key, request in requests]
        longest = self.policy.first_length(len(rows))
        guesses = [self._first_guess(row, longest) for row in rows]
        prompts = [
            mx.concatenate([row.request.embeddings, self._embed(guess)]) if guess else row.request.embeddings
            for row, guess in zip(rows, guesses, strict=True)
        ]
        longest = max(prompt.shape[0] for prompt in prompts)
        gaps = [longest - prompt.shape[0] for prompt in prompts]
        x = mx.stack([mx.pad(prompt, [(gap, 0), (0, 0)]) if gap else prompt for prompt, gap in zip(prompts, gaps)])  # noqa: B905
        cache = self.model.llm.new_cache(gaps, longest, self._cache)
        states = self.model.llm(x, cache)
        positions = [range(longest - len(guess) - 1, longest) for guess in guesses]
        chosen = self._choose_each(states, positions, rows, guesses)
        mx.eval(cache.state(), chosen.arrays())
        rejected = self._accept(rows, guesses, chosen)
        for row in rows:
            row.result.prefill_seconds = (time.perf_counter() - start) / len(rows)
        staying = self._unfinished(rows)
        if not staying:
            return
        if len(staying) < len(rows):
            cache.keep_rows(staying)
        cache.drop_last([rejected[place] for place in staying])
        if self.rows:
            self._cache.join(cache)
        else:
            self._cache = cache
        self.rows = self.rows + [rows[place] for place in staying]

    def step(self) -> list[tuple[Any, Generated]]:
        """Advance every row by at least one token; return the (key, result) of rows that are done."""
        if self.rows:
            start, count = time.perf_counter(), len(self.rows)
            taking_part = self.rows
            self._advance()
            share = (time.perf_counter() - start) / count
            for row in taking_part:
                row.result.decode_seconds += share
        finished, self._finished = self._finished, []
        return [(row.key, row.result) for row in finished]

    def _advance(self) -> None:
        start = time.perf_counter()
        chances = [self.policy.chance(row.result.accepted, row.checked) for row in self.rows if row.drafts]
        drafting = self.policy.best_length(chances, len(self.rows))
        if drafting:
            self._drain()
            guesses = [row.guess(self.policy.lookup, drafting) for row in self.rows]
            if any(guesses):
                self._check(guesses, start)
            if any(guesses) or not self.rows:
                return
        rows, before = len(self.rows), self._launched
        tokens = before.tokens if before else mx.array([row.next_id for row in self.rows])
        states = self.model.llm(self.model.llm.embed(tokens[:, None]), self._cache)
        self._launched = self._choose(states[:, -1], self.rows, [row.result.ids for row in self.rows], before)
        mx.async_eval(self._launched.arrays())
        if drafting:
            self._drain()
        elif before:
            self._read(before)
        if drafting or before:
            self.policy.count_pass(time.perf_counter() - start, rows, 0)

    def _drain(self) -> None:
        """Read the pass that is under way, so that every row's tokens are known."""
        if self._launched:
            launched, self._launched = self._launched, None
            self._read(launched)

    def _read(self, chosen: _Chosen) -> None:
        for row, (token_id, logprob, top) in zip(self.rows, chosen.read(), strict=True):
            row.result.steps += 1
            ended = self._append(row, token_id, logprob, top) and row.result.stop == "end"
            row.result.passes.append(Pass((), 0, int(not ended)))
        self._retire()

    def _check(self, guesses: list[list[int]], start: float) -> None:
        """Run one pass over every row's next token and its guess, which were begun to be made at `start`."""
        rows, longest = self.rows, _bucket(max(map(len, guesses)))
        fed = [[row.next_id, *guess] + [0] * (longest - len(guess)) for row, guess in zip(rows, guesses, strict=True)]
        states = self.model.llm(self.model.llm.embed(mx.array(fed)), self._cache)
        chosen = self._choose_each(states, [range(len(guess) + 1) for guess in guesses], rows, guesses)
        mx.eval(chosen.arrays())
        for row in rows:
            row.result.steps += 1
        rejected = self._accept(rows, guesses, chosen)
        unused = [longest - len(guess) + gone for guess, gone in zip(guesses, rejected, strict=True)]
        staying = self._retire()
        if staying:
            self._cache.drop_last([unused[place] for place in staying])
        self.policy.count_pass(time.perf_counter() - start, len(rows), longest)

    def _accept(self, rows: Sequence[Row], guesses: Sequence[list[int]], chosen: _Chosen) -> list[int]:
        """Append the model's tokens up to each row's first disagreement with its guess; count the rejected tokens."""
        found, place, rejected = chosen.read(), 0, []
        for row, guess in zip(rows, guesses, strict=True):
            right, length = 0, len(row.result.ids)
            for guessed, (token_id, logprob, top) in zip(
                [*guess, None], found[place : place + len(guess) + 1], strict=True
            ):
                right += token_id == guessed
                if self._append(row, token_id, logprob, top) or token_id != guessed:
                    break
            place += len(guess) + 1
            checked = min(right + 1, len(guess))
            self.policy.count_tokens(right, checked)
            row.checked += checked
            row.result.drafted += len(guess)
            row.result.accepted += right
            row.result.passes.append(Pass(tuple(guess), right, max(len(row.result.ids) - length, 0)))
            rejected.append(len(guess) - right)
        return rejected

    def _append(self, row: Row, token_id: int, logprob: float, top: list[tuple[int, float]]) -> bool:
        if row.request.alternatives:
            row.result.alternatives.append(top)
        row.next_id = token_id
        return row.result.append_token(row.request, token_id, logprob, self.end_ids)

    def _retire(self) -> list[int]:
        """Take finished rows out of the batch; return the indices of those that stay."""
        rows, staying = self.rows, self._unfinished(self.rows)
        if len(staying) < len(rows):
            self.rows = [rows[place] for place in staying]
            if staying:
                self._cache.keep_rows(staying)
                self._launched = self._launched and self._launched.rows(mx.array(staying))
            else:
                self._cache = self._launched = None
        return staying

    def _unfinished(self, rows: Sequence[Row]) -> list[int]:
        """Return the indices of rows that go on; note the others as finished."""
        self._finished += [row for row in rows if row.result.stop is not None]
        return [place for place, row in enumerate(rows) if row.result.stop is None]

    def _first_guess(self, row: Row, longest: int) -> list[int]:
        if not row.drafts:
            return []
        vocabulary = self.model.config.llm.vocab_size
        draft, *row.others = (known_ids(text, vocabulary) for text in (row.request.draft, *row.request.others))
        row.draft = AlignedDraft(draft)
        return draft[: min(longest, row.request.sampling.max_tokens - 1)]

    def _embed(self, ids: Sequence[int]) -> mx.array:
        return self.model.llm.embed(mx.array(ids, dtype=mx.int32))

    def _choose_each(
        self, states: mx.array, positions: Sequence[range], rows: Sequence[Row], guesses: Sequence[list[int]]
    ) -> _Chosen:
        """Choose a token after several positions of every row: after its guess, and after each part of it."""
        flat = [(i, j) for i, row_positions in enumerate(positions) for j in row_positions]
        owners = [rows[i] for i, row_positions in enumerate(positions) for _ in row_positions]
        said = [
            [*row.result.ids, *guess[:n]]
            for row, guess in zip(rows, guesses, strict=True)
            for n in range(len(guess) + 1)
        ]
        picked = states[mx.array([i for i, _ in flat]), mx.array([j for _, j in flat])]
        parts = [slice(start, start + _POSITIONS) for start in range(0, len(flat), _POSITIONS)]
        return _Chosen.join([self._choose(picked[part], owners[part], said[part]) for part in parts])

    def _choose(
        self, states: mx.array, rows: Sequence[Row], said: Sequence[list[int]], launched: _Chosen | None = None
    ) -> _Chosen:
        """Choose the next token for states [N, L] of `rows`, after the tokens `said` and those launched but unread."""
        logits = self.model.llm.logits(states)
        groups: dict[Sampling, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(row.request.sampling, []).append(place)
        parts, order = [], []
        for sampling, places in groups.items():
            chooser = self._choosers.setdefault(sampling, make_chooser(sampling))
            own = logits if len(groups) == 1 else logits[mx.array(places)]
            history = _history([said[place] for place in places], launched, places) if sampling.looks_back else _NONE
            keys = None
            if not sampling.greedy:  # each row draws with its own key, so that a text does not depend on its neighbours
                unread = int(launched is not None)
                keys = _random_keys([(rows[place].request.seed, len(said[place]) + unread) for place in places])
            parts.append(chooser(own, history, keys))
            order += places
        tokens = mx.concatenate(parts) if len(parts) > 1 else parts[0]
        if len(groups) > 1:
            tokens = tokens[mx.array(sorted(range(len(order)), key=order.__getitem__))]
        top = None
        if any(row.request.alternatives for row in rows):
            logprobs = log_softmax(logits)
            ids = mx.argsort(-logprobs, axis=-1)[:, :ALTERNATIVES]
            top = ids, mx.take_along_axis(logprobs, ids, axis=-1)
        return _Chosen(tokens, token_logprobs(logits, tokens), top)


_NONE = mx.zeros((1, 0), dtype=mx.int32)


def _history(said: Sequence[list[int]], launched: _Chosen | None, places: list[int]) -> mx.array:
    """Return the tokens before each choice, right-aligned and padded with -1."""
    longest = max(map(len, said))
    history = mx.array([[-1] * (longest - len(ids)) + ids for ids in said], dtype=mx.int32).reshape(len(said), longest)
    if launched is None:
        return history
    return mx.concatenate([history, launched.tokens[mx.array(places)][:, None].astype(mx.int32)], axis=1)


def _random_keys(places: Sequence[tuple[int, int]]) -> mx.array:
    """Return the random keys [B, 2] of seeds and steps, as `mx.random.key` makes them of numbers."""
    numbers = [(seed * 1_000_003 + step) & (2**63 - 1) for seed, step in places]
    return mx.array([[number >> 32, number & 0xFFFFFFFF] for number in numbers], dtype=mx.uint32)


def _bucket(width: int) -> int:
    """Round a width up to one for which a compiled pass is likely to exist."""
    return next(size for size in (*LENGTHS, width) if size >= width)


@mx.compile
def token_logprobs(logits: mx.array, tokens: mx.array) -> mx.array:
    """Compute the log-probabilities [B] of chosen tokens [B] from the logits [B, V]."""
    chosen = mx.take_along_axis(logits, tokens[:, None], axis=-1).astype(mx.float32)
    return (chosen - mx.logsumexp(logits.astype(mx.float32), axis=-1, keepdims=True)).squeeze(-1)
