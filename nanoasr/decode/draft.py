"""Drafts: guesses of the text to come, which the decoder checks many at a time.

The decoder reads a guess in one pass and finds after each of its tokens what it would have chosen there. The guess is
kept up to the first disagreement, so the greedy text never depends on it; a good one only makes it come sooner. Where
two tokens are equally likely to the last bit, rounding may decide otherwise than one token a pass would.
"""

from collections.abc import Sequence
from itertools import cycle, islice, takewhile
from operator import itemgetter

import numpy as np

LENGTHS = (1, 3, 7, 15, 31, 63, 127)  # of guesses; a token takes a row of scores as long as the vocabulary
LONGEST_GUESS = LENGTHS[-1]
_TYPICAL = 0.7  # of the tokens of drafts are right
_WEIGHT = 4  # of the mean of all rows in a row's estimate, in tokens
_RETRY = 64  # plain steps after which drafting is tried again


class DraftPolicy:
    """Chooses how many tokens to check in a pass, from what passes take on this device and how many are right.

    `lookup` is how many tokens a guess's context may have (0: no guesses after the prefill); `always` never prefers a
    step of one token.
    """

    def __init__(self, lookup: int = 6, always: bool = False):
        self.lookup, self._always = lookup, always
        self._seconds: dict[int, dict[int, float]] = {}  # of passes, by `_size` of the batch and length of the guesses
        self._shapes: set[tuple[int, int]] = set()
        self._right, self._checked = 10 * _WEIGHT * _TYPICAL, 10.0 * _WEIGHT
        self._steps = 0  # since a guess was checked

    def chance(self, right: int, checked: int) -> float:
        """Estimate how likely a row's next drafted token is right, given how many of its tokens were."""
        return (_WEIGHT * self._right / self._checked + right) / (_WEIGHT + checked)

    def best_length(self, chances: Sequence[float], rows: int) -> int:
        """Return the length of guesses that gives rows with these chances the most tokens a second; 0: a step."""
        known = self._seconds.get(_size(rows), {})
        if not chances or not self.lookup or (known and 0 not in known and not self._always):
            return 0  # also to learn what a step takes
        steps = 0 in known and not self._always and self._steps < _RETRY
        more, chance = rows - len(chances), np.array(chances)  # tokens of the other rows
        return max(
            LENGTHS if not steps else (0, *LENGTHS),
            key=lambda n: (more + _expected(chance, n).sum()) / _seconds(known, n, rows),
        )

    def first_length(self, rows: int) -> int:
        """Return how much of their drafts to check in a prefill of some rows: all of one row's.

        Of many rows it is what a pass is going to check, since the prefill is not so long that more comes for nothing.
        """
        return max(LONGEST_GUESS // rows, self.best_length([self.chance(0, 0)] * rows, rows))

    def count_pass(self, seconds: float, rows: int, length: int) -> None:
        """Learn from a pass. The first of a shape does not count: it may compile kernels."""
        self._steps = 0 if length else self._steps + 1
        if (_size(rows), length) in self._shapes:
            known = self._seconds.setdefault(_size(rows), {})
            before = known.get(length, seconds)
            # slow ones count less: the machine's other work took part of their time
            known[length] = before + (0.5 if seconds < before else 0.1) * (min(seconds, 3 * before) - before)
        self._shapes.add((_size(rows), length))

    def count_tokens(self, right: int, checked: int) -> None:
        """Learn from a guess, whose tokens after the first wrong one do not count."""
        total = self._checked + checked
        kept = min(1.0, 100 * _WEIGHT / total)
        self._right, self._checked = (self._right + right) * kept, total * kept


def _size(rows: int) -> int:
    """Return the class of batch sizes that are timed together."""
    return rows.bit_length()


def _seconds(known: dict[int, float], length: int, rows: int) -> float:
    """Estimate how long a pass takes from the lengths that were measured.

    A step of one row takes as long as the tokens of many; a step of many rows has work enough.
    """
    overhead = max(16.0 / rows, 3.0)
    if not known:
        return overhead + length
    lengths = sorted(known)
    if length <= lengths[-1]:
        return float(np.interp(length, lengths, [known[n] for n in lengths]))
    return known[lengths[-1]] * (overhead + length) / (overhead + lengths[-1])


def _expected(chance: np.ndarray, length: int) -> np.ndarray:
    """Return how many tokens a pass over such a guess gives: those before the first wrong one, and the model's own."""
    chance = np.minimum(chance, 1 - 1e-9)
    return (1 - chance ** (length + 1)) / (1 - chance)


def known_ids(draft: Sequence[int], vocabulary: int) -> list[int]:
    """Cut a draft at the first id that the model does not have."""
    return list(takewhile(lambda i: 0 <= i < vocabulary, draft))


class AlignedDraft:
    """A draft, and how far a text that grows is from each of its beginnings, in edits of tokens."""

    def __init__(self, ids: Sequence[int] = ()):
        self.ids = list(ids)
        self._array = np.array(self.ids, dtype=np.int64)
        self._places = np.arange(len(self.ids) + 1)
        self._edits, self._count = self._places, 0
        self._place, self._said = 0, 0  # as they were last time

    def place(self, said: list[int]) -> int:
        """How much of the draft `said` stands for: where the draft goes on. `said` is longer in each call."""
        new, self._said = said[self._said :], len(said)
        follows = self._place + len(new)
        if self.ids[self._place : follows] == new:  # no edit more, so there is no nearer place
            self._place = follows
            return follows
        for token_id in said[self._count :]:
            edits = self._edits + 1
            edits[1:] = np.minimum(edits[1:], self._edits[:-1] + (self._array != token_id))
            self._edits = np.minimum.accumulate(edits - self._places) + self._places
        self._count = len(said)
        places = np.flatnonzero(self._edits == self._edits.min()).tolist()
        self._place = min(places, key=lambda n: (self.ids[n - 1 : n] != said[-1:], abs(n - len(said))))
        return self._place


def continuation(
    said: list[int], draft: AlignedDraft, others: Sequence[list[int]], lookup: int, length: int
) -> list[int]:
    """Guess at most `length` tokens that follow `said`: the rest of the draft, unless a longer run of the last tokens
    was said before or stands in one of the `others`."""
    if not lookup or length < 1:
        return []
    place = draft.place(said)
    rest = draft.ids[place:]
    shared = _shared(draft.ids[max(place - lookup, 0) : place], said, lookup) if rest else 0
    if shared == lookup:
        return rest[:length]
    found = [
        (_shared(text[max(end - lookup, 0) : end], said, lookup), -i, -abs(end - len(said)), text, end)
        for i, text in enumerate([said, *others])
        for end in range(1, len(text))
        if text[end - 1] == said[-1]
    ]
    if not found or (rest and max(found)[0] <= max(shared, 1)):
        return rest[:length]
    *_, text, end = max(found, key=itemgetter(0, 1, 2))
    rest = text[end:]
    return list(islice(cycle(rest) if text is said else rest, length))  # what was said twice may be said again


def _shared(text: list[int], said: list[int], most: int) -> int:
    """How many of the last `most` tokens two texts share, counted from their ends."""
    pairs = zip(reversed(text), reversed(said[-most:]), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
