"""Turns -> the speakers of a transcript's segments and words."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from ..results.transcript import Segment
from ..results.words import Piece, one_line, split_words
from .turns import Turn


def label_segments(segments: Iterable[Segment], turns: Sequence[Turn]) -> tuple[Segment, ...]:
    """Label segments with speakers, split where the voice changes between two words; no turns give no speakers."""
    if not turns:
        return tuple(segments)
    return tuple(part for segment in segments for part in _split(segment, turns))


def speaker_at(turns: Sequence[Turn], start: float, end: float) -> str:
    """Who speaks most between two times; the nearest turn's speaker if nobody does."""
    spoken: dict[str, float] = {}
    for turn in turns:
        if (shared := min(end, turn.end) - max(start, turn.start)) > 0:
            spoken[turn.speaker] = spoken.get(turn.speaker, 0.0) + shared
    if spoken:
        return max(spoken, key=spoken.__getitem__)
    return min(turns, key=lambda turn: max(turn.start - end, start - turn.end)).speaker


def _split(segment: Segment, turns: Sequence[Turn]) -> list[Segment]:
    pieces = split_words(segment.text, segment.tokens)
    speakers = _speakers(pieces, turns)
    if not speakers:
        return [replace(segment, speaker=speaker_at(turns, segment.start, segment.end))]
    changes = [i for i in range(1, len(pieces)) if speakers[i] != speakers[i - 1]]
    if not changes:
        return [replace(segment, speaker=speakers[0])]
    places = {id(token): i for i, token in enumerate(segment.tokens)}
    parts = []
    for first, stop in pairwise([0, *changes, len(pieces)]):
        after = pieces[stop] if stop < len(pieces) else None
        parts.append(
            replace(
                segment,
                text=one_line("".join(piece.text for piece in pieces[first:stop])),
                tokens=segment.tokens[
                    places[id(pieces[first].tokens[0])] if first else 0 : places[id(after.tokens[0])] if after else None
                ],
                start=pieces[first].start if first else segment.start,
                end=(pieces[stop - 1].end or after.start) if after else segment.end,
                speaker=speakers[first],
                nbest=(),
            )
        )
    return parts


def _speakers(pieces: Sequence[Piece], turns: Sequence[Turn]) -> list[str]:
    """Find the speaker of each word; a word without times, or in one token with the word before it, has that word's.

    Empty where no word has times.
    """
    timed = [piece for piece in pieces if piece.start is not None and piece.end is not None]
    if not timed:
        return []
    speakers, last = [], speaker_at(turns, timed[0].start, timed[0].end)
    for i, piece in enumerate(pieces):
        shares_token = i > 0 and piece.tokens and pieces[i - 1].tokens and piece.tokens[0] is pieces[i - 1].tokens[-1]
        if piece.start is not None and piece.end is not None and not shares_token:
            last = speaker_at(turns, piece.start, piece.end)
        speakers.append(last)
    return speakers
