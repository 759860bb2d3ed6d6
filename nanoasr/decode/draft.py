"""Drafts: guesses of the text to come, which the decoder checks many at a time.

The decoder reads a guess in one pass and finds after each of its tokens what it would have chosen there. The guess is
kept up to the first disagreement, so the greedy text never depends on it; a good one only makes it come sooner. Where
two tokens are equally likely to the last bit, rounding may decide otherwise than one token a pass would.
"""

from collections.abc import Sequence
from itertools import cycle, islice, takewhile
from operator import itemgetter

LONGEST_GUESS = 127  # tokens checked in one pass: each takes a row of scores as long as the vocabulary
SHORTEST_GUESS = 7  # tokens of a guess that nothing has confirmed yet
_MEMORY = 0.9  # of the running means
_RETRY = 64  # plain steps after which drafting is tried again


class DraftPolicy:
    """Decides by running means whether checking guesses is faster, on this device and for these texts, than steps.

    `lookup` is how many tokens a guess's context may have (0: no guesses after the prefill); `always` skips the
    decision.
    """

    def __init__(self, lookup: int = 6, always: bool = False):
        self.lookup, self._always = lookup, always
        self._step = self._pass = None  # seconds
        self._gain = 2.0  # accepted tokens a row of a pass
        self._shapes: set[tuple[int, int]] = set()
        self._steps_left = 0

    @property
    def pays(self) -> bool:
        """True if the next pass should check guesses where there are any."""
        if self._always:
            return True
        if self._steps_left:
            return False
        if self._step is None:
            return self._gain >= 1  # else take a step, to learn what one costs
        return self._pass is None or (1 + self._gain) * self._step > self._pass

    def count_step(self, seconds: float) -> None:
        """Learn from a step of one token a row."""
        self._step = _mean(self._step, seconds)
        self._steps_left = max(self._steps_left - 1, 0)

    def count_pass(self, seconds: float, rows: int, tokens: int, accepted: int) -> None:
        """Learn from a pass that checked guesses. The first of a shape does not count: it may compile kernels."""
        if (rows, tokens) in self._shapes:
            self._pass = _mean(self._pass, seconds)
        self._shapes.add((rows, tokens))
        self._gain = _mean(self._gain, accepted / rows)
        if not self._always and not self.pays:
            self._steps_left = _RETRY


def _mean(before: float | None, value: float) -> float:
    return value if before is None else _MEMORY * before + (1 - _MEMORY) * value


def known_ids(draft: Sequence[int], vocabulary: int) -> list[int]:
    """Cut a draft before the first id that the model does not have."""
    return list(takewhile(lambda i: 0 <= i < vocabulary, draft))


def continuation(said: list[int], draft: list[int], others: Sequence[list[int]], lookup: int, reach: int) -> list[int]:
    """Guess what follows `said`: what follows the longest run of its last tokens, at about the same place, in the
    draft, in what was said, or in one of the `others`; at most `reach` tokens."""
    if not lookup or reach < 1:
        return []
    texts = [draft, said, *others]
    found = [
        (_shared(text[max(end - lookup, 0) : end], said, lookup), -i, -abs(end - len(said)), text, end)
        for i, text in enumerate(texts)
        for end in range(1, len(text))
        if text[end - 1] == said[-1]
    ]
    if not found:  # most often one token stands for another
        return draft[len(said) :][:reach]
    *_, text, end = max(found, key=itemgetter(0, 1, 2))
    rest = text[end:]
    return list(islice(cycle(rest) if text is said else rest, reach))  # what was said twice may be said again


def _shared(text: list[int], said: list[int], most: int) -> int:
    """Count how many of the last `most` tokens two texts share, from their ends."""
    pairs = zip(reversed(text), reversed(said[-most:]), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
