"""Decide which words of successive hypotheses are committed: those that several in a row agree on.

A hypothesis about unfinished speech is most reliable at its beginning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from ..results.words import Piece, is_word_character, split_words


@dataclass(frozen=True)
class Revision:
    """Committed words of a segment, and what replaces them in its final text; either may be empty."""

    committed: str
    final: str


class Agreement:
    """The hypotheses about one segment and its committed words, which never change again."""

    def __init__(self, needed: int):
        self._needed = needed  # consecutive hypotheses that must agree
        self._hypotheses: list[list[str]] = []
        self._committed: list[str] = []

    @property
    def shown(self) -> tuple[str, str]:
        """The committed and the tentative text; joined, they read like the last hypothesis."""
        last = self._hypotheses[-1] if self._hypotheses else []
        return "".join(self._committed), "".join(last[_continuation(self._committed, last) :])

    def add(self, words: Sequence[Piece], ready: int) -> range:
        """Add a hypothesis, commit those of its first `ready` words that are agreed on, and return which are new."""
        texts, done = _texts(words), len(self._committed)
        merged = self._committed + texts[done:]  # punctuation that changed since is left to the final text
        confirms = _same_letters(texts[:done], self._committed) and _texts(split_words("".join(merged))) == merged
        if confirms:
            texts = merged
        self._hypotheses = [*self._hypotheses, texts][-self._needed :]
        if confirms and len(self._hypotheses) == self._needed:
            agreed = min(_common(hypothesis, texts) for hypothesis in self._hypotheses)
            self._committed = texts[: max(min(agreed, ready), done)]
        return range(done, len(self._committed))

    def revision(self, words: Sequence[Piece]) -> Revision | None:
        """Compare the final words with the committed ones; None where they begin with just these."""
        final, done = _texts(words), len(self._committed)
        unchanged = "".join(final).startswith("".join(self._committed))
        if unchanged and _same_letters(final[:done], self._committed):
            return None
        final = final[: _continuation(self._committed, final)]
        steps = SequenceMatcher(None, self._committed, final, autojunk=False).get_opcodes()
        changed = [step for step in steps if step[0] != "equal"] or steps
        replaced, replacing = self._committed[changed[0][1] : changed[-1][2]], final[changed[0][3] : changed[-1][4]]
        return Revision("".join(replaced).strip(), "".join(replacing).strip())


def count_ready(words: Sequence[Piece], now: float, hold: float, confidence: float) -> int:
    """Count the leading words that ended at least `hold` seconds ago and whose tokens are all probable enough."""
    for i, word in enumerate(words):
        ended = i < len(words) - 1 if word.end is None else word.end <= now - hold
        alignment = [token.confidence for token in word.tokens if token.confidence is not None]
        least = min([math.exp(token.logprob) for token in word.tokens] + alignment, default=0.0)
        if not ended or least < confidence:
            return i
    return len(words)


def _texts(words: Sequence[Piece]) -> list[str]:
    return [word.text for word in words]


def _common(a: list[str], b: list[str]) -> int:
    """Length of the common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _same_letters(a: list[str], b: list[str]) -> bool:
    return list(map(_letters, a)) == list(map(_letters, b))


def _letters(word: str) -> str:
    return "".join(filter(is_word_character, word))


def _continuation(committed: list[str], hypothesis: list[str]) -> int:
    """Index where a hypothesis continues after the committed words, even if it has some of them differently."""
    if hypothesis[: len(committed)] == committed:
        return len(committed)
    blocks = SequenceMatcher(None, committed, hypothesis, autojunk=False).get_matching_blocks()
    after = [block.b + len(committed) - block.a for block in blocks if block.size]
    return min(after[-1] if after else len(committed), len(hypothesis))
