"""Corrected text for a segment: words that were kept keep their times, others share the time of those they replace."""

from dataclasses import replace
from difflib import SequenceMatcher

from .segments import Segment
from .words import Piece, Token, one_line, split_words

BY_HAND = -1
"""The id of a token that a person wrote."""


def correct_segment(segment: Segment, text: str) -> Segment:
    """Return the segment with another text, one token a word; the segment itself if the text is the same."""
    if one_line(text) == one_line(segment.text):
        return segment
    before, after = split_words(segment.text, segment.tokens), split_words(text)
    old, new = ([piece.text.strip() for piece in pieces] for pieces in (before, after))
    tokens: list[Token] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pairs = zip(before[a:b], after[c:d], strict=True)
            tokens += [Token(BY_HAND, there.text, _logprob(here), here.start, here.end) for here, there in pairs]
        else:
            tokens += _spread(after[c:d], before[a:b])
    return replace(segment, text=one_line(text), tokens=tuple(tokens), nbest=())


def _logprob(word: Piece) -> float:
    return sum(token.logprob for token in word.tokens)


def _spread(words: list[Piece], replaced: list[Piece]) -> list[Token]:
    """Words over the time of those that they replace, in proportion to their lengths; without times where none are."""
    start = next((piece.start for piece in replaced if piece.start is not None), None)
    end = next((piece.end for piece in reversed(replaced) if piece.end is not None), None)
    if start is None or end is None:
        return [Token(BY_HAND, word.text, 0.0) for word in words]
    total, at, tokens = sum(len(word.text) for word in words), 0, []
    for word in words:
        first, at = at, at + len(word.text)
        times = (start + (end - start) * place / total for place in (first, at))
        tokens.append(Token(BY_HAND, word.text, 0.0, *times))
    return tokens
