"""Tokens, and the words that they spell."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that the model weighed at one step."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Token:
    """One token that the model chose; times in seconds of the recording, None where no alignment gave them.

    `text` is empty for a token that ends inside a character: the one that completes it has the character.
    `alternatives` are the likeliest at this step, on request only; a sampled token need not be among them.
    `confidence` is the alignment's.
    """

    id: int
    text: str
    logprob: float
    start: float | None = None
    end: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or one CJK character, with the punctuation after it. Words within one token share its times."""

    text: str
    start: float | None
    end: float | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Piece:
    """A word with the space in front of it, if any, and the tokens that its letters come from."""

    text: str
    tokens: tuple[Token, ...]

    @property
    def start(self) -> float | None:
        return next((token.start for token in self.tokens if token.start is not None), None)

    @property
    def end(self) -> float | None:
        return next((token.end for token in reversed(self.tokens) if token.end is not None), None)

    @property
    def confidence(self) -> float | None:
        known = [token.confidence for token in self.tokens if token.confidence is not None]
        return sum(known) / len(known) if known else None


def split_words(text: str, tokens: Sequence[Token]) -> list[Piece]:
    """The words of a text, with the tokens that they come from; with none where the tokens spell another text."""
    spelled = "".join(token.text for token in tokens)
    if _SPACE.sub("", spelled) == _SPACE.sub("", text):
        return _split(tokens)
    return _split([Token(0, text, 0.0)])


def join_texts(texts: Iterable[str]) -> str:
    """Join texts that follow each other: a space between them, but none between CJK or at full-width punctuation."""
    joined: list[str] = []
    for text in filter(None, (text.strip() for text in texts)):
        if joined and not _joins_closely(joined[-1], text):
            joined.append(" ")
        joined.append(text)
    return "".join(joined)


def _joins_closely(left: str, right: str) -> bool:
    last = next((c for c in reversed(left) if not _is_punctuation(c)), "")
    first = next((c for c in right if not _is_punctuation(c)), "")
    if _CJK.match(last) and _CJK.match(first):
        return True
    return any(_is_punctuation(c) and _CJK.match(c) for c in (left[-1], right[0]))


def one_line(text: str) -> str:
    """The text without line ends, tabs and control characters: a space stands for any run of them."""
    return _SPACE.sub(" ", text).strip()


# Scripts written without spaces, and full-width forms. Not Hangul: Korean puts spaces between words.
_CJK = re.compile("[\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]")
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")  # control characters too: no file format here can hold them
_NEVER_FIRST = frozenset("々ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ")  # Japanese: they belong to the one before


def _split(tokens: Iterable[Token]) -> list[Piece]:
    pieces: list[Piece] = []
    letters: list[str] = []
    sources: list[Token] = []
    waiting: list[Token] = []  # tokens without text yet: they start the next character
    before = spoken = ""  # the last character, and the word's last one that is not punctuation

    def finish_word() -> None:
        text = _SPACE.sub(" ", "".join(letters))
        if pieces and not spoken:  # a lone dash, spaces at the end
            pieces[-1] = Piece((pieces[-1].text + text).rstrip(), pieces[-1].tokens)
        elif text.strip():
            pieces.append(Piece(text, tuple(sources)))

    for token in tokens:
        waiting.append(token)
        for char in token.text:
            if _starts_word(char, before, spoken):
                finish_word()
                letters, sources, spoken = [], [], ""
            letters.append(char)
            before = char
            if not (_SPACE.match(char) or _is_punctuation(char)):
                if waiting or not sources:
                    sources += waiting or [token]
                waiting = []
                spoken = char
        if token.text:
            waiting = []
    finish_word()
    return pieces


def _starts_word(char: str, before: str, spoken: str) -> bool:
    if _SPACE.match(char):
        return not _SPACE.match(before)
    category = unicodedata.category(char)
    opening = category in ("Ps", "Pi")
    if not spoken or (category[0] in "MP" and not opening) or category == "Cf" or char in _NEVER_FIRST:
        return False
    return any(_CJK.match(c) for c in (char, spoken, before))


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] == "P"
