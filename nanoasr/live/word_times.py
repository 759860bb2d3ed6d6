"""Measure when each word of a live session was first shown, and when it was committed."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from ..results.segments import Segment
from ..results.words import split_words
from .events import Update


@dataclass(frozen=True, slots=True)
class WordTime:
    """A word of a finished segment; times in seconds of the audio received.

    end      of the word itself, None without an alignment
    shown    when it first appeared in its place
    settled  when it was committed, at the latest at the end of its segment
    """

    text: str
    end: float | None
    shown: float
    settled: float


class WordTimes:
    """Collects the updates of a session; `words` are those of its finished segments."""

    def __init__(self) -> None:
        self.words: list[WordTime] = []
        self._open: list[Update] = []  # about the open segment

    def add(self, update: Update) -> list[WordTime]:
        """Add an update, and return the words of the segments that it ends."""
        new = [word for segment in update.segments for word in self._words(segment, update.latency.audio)]
        self.words += new
        if self._open and self._open[-1].start != update.start:
            self._open.clear()
        if update.start is not None:
            self._open.append(update)
        return new

    def _words(self, segment: Segment, now: float) -> list[WordTime]:
        words = segment.words
        texts = [word.text for word in words]
        shown, settled = [now] * len(words), [now] * len(words)
        for update in reversed(self._open):
            if update.start is not None and abs(update.start - segment.start) < 1e-3:
                for i in _found(texts, update.committed + update.tentative):
                    shown[i] = update.latency.audio
                for i in _found(texts, update.committed):
                    settled[i] = update.latency.audio
        return [WordTime(word.text, word.end, *times) for word, *times in zip(words, shown, settled, strict=True)]


def _found(words: Sequence[str], text: str) -> list[int]:
    """Return the indices of the words that occur in a text in the same order."""
    matcher = SequenceMatcher(None, words, [piece.text.strip() for piece in split_words(text)], autojunk=False)
    return [i for block in matcher.get_matching_blocks() for i in range(block.a, block.a + block.size)]
