"""Which words of successive hypotheses stand: those that several in a row agree on.

A hypothesis about speech that still goes on is surest about what was said first. Text is compared in pieces: words,
or single characters where a script writes none.
"""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

_CJK = "\u3040-\u30ff\u3400-\u9fff"
_PIECE = re.compile(rf"\s*(?:[{_CJK}]|[^\s{_CJK}]+)")


@dataclass(frozen=True)
class Revision:
    """Words of a segment that had been committed, and what stands in their place; either may be empty."""

    committed: str
    final: str


def words_of(text: str) -> list[str]:
    """A text in pieces that, joined, are the text."""
    return [piece if i else piece.lstrip() for i, piece in enumerate(_PIECE.findall(text))]


class Agreement:
    """The hypotheses about one segment, and the words that were committed; those never change again."""

    def __init__(self, needed: int):
        self._needed = needed  # hypotheses in a row that must agree
        self._guesses: list[list[str]] = []
        self._committed: list[str] = []

    @property
    def shown(self) -> tuple[str, str]:
        """(committed, tentative) text; one after the other they read as the last hypothesis does."""
        guess = self._guesses[-1] if self._guesses else []
        rest = "".join(guess[_place_after(self._committed, guess) :])
        return "".join(self._committed).strip(), rest if self._committed else rest.strip()

    def add(self, text: str, ready: int) -> range:
        """Take a hypothesis and commit what it confirms of its first `ready` words -> which of them are new."""
        pieces, done = words_of(text), len(self._committed)
        self._guesses = [*self._guesses, pieces][-self._needed :]
        if len(self._guesses) < self._needed or pieces[:done] != self._committed:
            return range(done, done)
        agreed = min(_equal(guess, pieces) for guess in self._guesses)
        self._committed = pieces[: max(min(agreed, ready), done)]
        return range(done, len(self._committed))

    def revision(self, final: str) -> Revision | None:
        """What of the committed words the final text has otherwise; None where it begins with just them."""
        pieces = words_of(final)
        if pieces[: len(self._committed)] == self._committed:
            return None
        place = _place_after(self._committed, pieces)
        steps = SequenceMatcher(None, self._committed, pieces[:place], autojunk=False).get_opcodes()
        changed = [step for step in steps if step[0] != "equal"] or steps
        said, stands = self._committed[changed[0][1] : changed[-1][2]], pieces[changed[0][3] : changed[-1][4]]
        return Revision("".join(said).strip(), "".join(stands).strip())


def _equal(a: list[str], b: list[str]) -> int:
    """How many pieces two hypotheses share from their beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _place_after(committed: list[str], guess: list[str]) -> int:
    """Where a guess goes on after what was committed, if it has words of that otherwise."""
    if guess[: len(committed)] == committed:
        return len(committed)
    blocks = SequenceMatcher(None, committed, guess, autojunk=False).get_matching_blocks()
    after = [block.b + len(committed) - block.a for block in blocks if block.size]
    return min(after[-1] if after else len(committed), len(guess))
