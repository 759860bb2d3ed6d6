"""Rows of the output, one a recording."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import NanoASRError, printable
from ..results.transcript import Segment, Transcript
from ..results.words import join_texts
from .inputs import Input


@dataclass(frozen=True, slots=True)
class Row:
    """A recording's transcript, or its error; `segments` are as JSON has them, with words where these have times."""

    source: str
    text: str | None = None
    segments: tuple[dict, ...] = ()
    language: str | None = None
    duration: float | None = None
    error: str | None = None
    offset: float | None = None

    @property
    def key(self) -> tuple[str, float | None]:
        """What identifies the recording, as `Input.key`."""
        return self.source, self.offset

    def to_dict(self) -> dict:
        """Return the row as it is written; `offset` is there for parts of recordings only."""
        row = {
            "source": self.source,
            "text": self.text,
            "segments": list(self.segments),
            "language": self.language,
            "duration": self.duration,
            "error": self.error,
        }
        return row if self.offset is None else row | {"offset": self.offset}

    @classmethod
    def from_dict(cls, row: dict) -> "Row":
        """Read what `to_dict` returned."""
        return cls(**row | {"segments": tuple(row["segments"] or ())})


def make_row(item: Input, result: Transcript | NanoASRError | str) -> Row:
    """Make the row of a recording from its transcript, or from what went wrong."""
    if not isinstance(result, Transcript):
        error = printable(result).removeprefix("file object: ")  # of a remote file
        return Row(item.source, error=error, offset=item.offset)
    segments = tuple(map(_segment, result.segments))
    return Row(item.source, result.text, segments, result.language, result.duration, offset=item.offset)


def join_rows(rows: Iterable[Row]) -> Row:
    """Join the rows of consecutive pieces of one recording; the last one has its duration, and its error if any."""
    rows = list(rows)
    last = rows[-1]
    if last.error:
        return last
    segments = tuple(segment for row in rows for segment in row.segments)
    languages = [row.language for row in rows for _ in row.segments if row.language]
    language = max(languages, key=languages.count) if languages else last.language
    text = join_texts(segment["text"] for segment in segments)
    return Row(last.source, text, segments, language, last.duration, offset=last.offset)


def _segment(segment: Segment) -> dict:
    words = [
        {
            "text": word.text,
            "start": word.start,
            "end": word.end,
            "confidence": _finite(word.confidence),
            "speaker": word.speaker,
        }
        for word in segment.words
        if word.start is not None
    ]
    return {
        "text": segment.text,
        "start": segment.start,
        "end": segment.end,
        "speaker": segment.speaker,
        "words": words,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
