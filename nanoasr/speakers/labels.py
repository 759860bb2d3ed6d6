"""Turns -> the speakers of a transcript's segments and words."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from ..results.transcript import Segment
from ..results.words import one_line, split_words
from .turns import Turn


def label_segments(segments: Iterable[Segment], turns: Sequence[Turn]) -> tuple[Segment, ...]:
    """Segments with speakers, split where the voice changes between two words; no turns give no speakers."""
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
    if not pieces or any(piece.start is None or piece.end is None for piece in pieces):
        return [replace(segment, speaker=speaker_at(turns, segment.start, segment.end))]
    speakers: list[str] = []
    for i, piece in enumerate(pieces):
        shares_token = i > 0 and piece.tokens[0] is pieces[i - 1].tokens[-1]
        speakers.append(speakers[-1] if shares_token else speaker_at(turns, piece.start, piece.end))
    changes = [i for i in range(1, len(pieces)) if speakers[i] != speakers[i - 1]]
    places = {id(token): i for i, token in enumerate(segment.tokens)}
    parts = []
    for first, stop in pairwise([0, *changes, len(pieces)]):
        begin = places[id(pieces[first].tokens[0])] if first else 0
        end = places[id(pieces[stop].tokens[0])] if stop < len(pieces) else len(segment.tokens)
        parts.append(
            replace(
                segment,
                text=one_line("".join(piece.text for piece in pieces[first:stop])) if changes else segment.text,
                tokens=segment.tokens[begin:end],
                start=pieces[first].start if first else segment.start,
                end=pieces[stop - 1].end if stop < len(pieces) else segment.end,
                speaker=speakers[first],
            )
        )
    return parts
