"""When each word of a live session was first shown, and when it stood."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from ..results.transcript import Segment
from ..results.words import split_words
from .events import Update


@dataclass(frozen=True, slots=True)
class WordTime:
    """A word of a finished segment; times in seconds of the sound that was heard.

    end      of the word itself, None where no alignment gave it
    shown    when it first was on the screen in its place
    settled  when it was committed, at the latest with its segment
    """

    text: str
    end: float | None
    shown: float
    settled: float


class WordTimes:
    """Takes a session's updates, as `on_update` gets them; `words` are those of the segments that are over."""

    def __init__(self) -> None:
        self.words: list[WordTime] = []
        self._open: list[Update] = []  # about the segment that is not over

    def add(self, update: Update) -> list[WordTime]:
        """What an update makes known -> the words of the segments that it ends."""
        new = [word for segment in update.segments for word in self._words(segment, update.latency.audio)]
        self.words += new
        if self._open and self._open[-1].start != update.start:
            self._open.clear()
        if update.start is not None:
            self._open.append(update)
        return new

    def _words(self, segment: Segment, now: float) -> list[WordTime]:
        pieces = split_words(segment.text, segment.tokens)
        texts = [piece.text.strip() for piece in pieces]
        shown, settled = [now] * len(pieces), [now] * len(pieces)
        for update in reversed(self._open):
            if update.start is not None and abs(update.start - segment.start) < 1e-3:
                for i in _found(texts, update.committed + update.tentative):
                    shown[i] = update.latency.audio
                for i in _found(texts, update.committed):
                    settled[i] = update.latency.audio
        return [
            WordTime(text, piece.end, *times)
            for text, piece, times in zip(texts, pieces, zip(shown, settled, strict=True), strict=True)
        ]


def _found(words: Sequence[str], text: str) -> list[int]:
    """Which of the words a text has, in the same order."""
    matcher = SequenceMatcher(None, words, [piece.text.strip() for piece in split_words(text)], autojunk=False)
    return [i for block in matcher.get_matching_blocks() for i in range(block.a, block.a + block.size)]
