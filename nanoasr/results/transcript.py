"""Transcript: the result of a transcription, and the file formats it can be written to."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import OptionError
from ..typed import build
from . import notebook, subtitles
from .segments import Segment, Tags
from .subtitles import milliseconds
from .timings import Timings
from .words import Alternative, Token, Word, join_texts, one_line

__all__ = ["FORMATS", "Alternative", "Segment", "Timings", "Token", "Transcript", "Word", "join_texts", "write_all"]

_HIGH_CONTROL = re.compile(r"[\x7f-\x9f]")
JSON_FORMAT = "nanoasr-1"
MAX_JSON_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of one recording and its segments, with timings of the work."""

    text: str
    segments: tuple[Segment, ...]
    language: str | None
    duration: float
    timings: Timings = field(default_factory=Timings)
    name: str | None = None
    tags: Tags = field(default_factory=Tags)
    audio: str | None = field(default=None, compare=False, repr=False)
    """The recording's file, where it came from one: notebooks play it. Files do not store it."""

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        name = f"{self.name}: " if self.name else ""
        note = f"{name}{self.duration:.1f} s of audio in {self.timings.total:.2f} s of work"
        return notebook.transcript_html(self.segments, note, self.audio)

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens of all segments."""
        return tuple(token for segment in self.segments for token in segment.tokens)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments."""
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def repetition_stopped(self) -> bool:
        """True if the model repeated itself in any segment and was stopped."""
        return any(segment.repetition_stopped for segment in self.segments)

    def to_txt(self) -> str:
        """Return the text as one line, or with known speakers one line a turn ("S1: ...")."""
        if not any(segment.speaker for segment in self.segments):
            return one_line(self.text) + "\n"
        lines = []
        for speaker, turn in itertools.groupby(self.segments, lambda segment: segment.speaker):
            text = one_line(join_texts(segment.text for segment in turn))
            if text:
                lines.append(f"{one_line(speaker)}: {text}\n" if speaker else f"{text}\n")
        return "".join(lines)

    def to_srt(self) -> str:
        """Return SubRip subtitles; a cue begins with its speaker ("S1: ...") where known.

        With word times a cue has at most two lines of 42 columns and 7 seconds. Without, a segment is one cue of as
        many lines as it needs, since nothing tells where to cut it.
        """
        return subtitles.srt(self.segments)

    def to_vtt(self) -> str:
        """Return WebVTT subtitles with the cues of `to_srt`, and speakers as voice tags (`<v S1>`)."""
        return subtitles.vtt(self.segments)

    def to_tsv(self) -> str:
        """Return one line a segment: start and end in milliseconds and the text, separated by tabs."""
        rows = [
            f"{milliseconds(segment.start)}\t{milliseconds(segment.end)}\t{one_line(segment.text)}\n"
            for segment in self.segments
        ]
        return "start\tend\ttext\n" + "".join(rows)

    def to_rttm(self) -> str:
        """Return who spoke when, one RTTM line for each segment whose speaker is known."""
        file = _rttm_field(Path(self.name or "").stem) or "recording"
        lines = []
        for segment in self.segments:
            if label := _rttm_field(segment.speaker or ""):
                start, end = milliseconds(segment.start) / 1000, milliseconds(segment.end) / 1000
                times = f"{start:.3f} {max(0.0, end - start):.3f}"
                lines.append(f"SPEAKER {file} 1 {times} <NA> <NA> {label} <NA> <NA>\n")
        return "".join(lines)

    def to_json(self, indent: int | None = 2) -> str:
        """Return everything as JSON for `from_json`. Numbers that JSON cannot hold (infinity, NaN) become null."""
        content = {"format": JSON_FORMAT} | asdict(self)
        del content["audio"]
        text = json.dumps(_finite(content), ensure_ascii=False, indent=indent, allow_nan=False)
        # JSON escapes only the control characters below U+0020; terminals obey those above, too.
        return _HIGH_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"

    @classmethod
    def from_json(cls, text_or_path: str | os.PathLike[str]) -> Transcript:
        """Read what `to_json` or `save` wrote, from the JSON text itself or from a file.

        Unknown keys are ignored; null where a number is required becomes NaN.
        """
        if isinstance(text_or_path, str) and text_or_path.lstrip().startswith("{"):
            name, text = "JSON text", text_or_path
        else:
            name, text = _read_json_file(text_or_path)
        try:
            content = json.loads(text)
            if not isinstance(content, dict) or content.get("format") != JSON_FORMAT:
                raise ValueError(f'it lacks "format": "{JSON_FORMAT}"')
            return build(cls, content, "transcript", lenient=True)
        except (ValueError, OverflowError, RecursionError) as error:
            raise OptionError(f"{name}: not a transcript that nanoasr saved: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file whose suffix names the format: .txt .srt .vtt .json .tsv .rttm.

        Missing folders are created. The file replaces an older one in a single step, so it is never incomplete.
        """
        path = Path(path)
        writer = _writer(path.suffix.lower().removeprefix("."), f"{path}: ")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".nanoasr-{secrets.token_hex(8)}.tmp"
        try:
            temporary.write_bytes(writer(self).encode("utf-8", errors="replace"))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


FORMATS: dict[str, Callable[[Transcript], str]] = {
    "txt": Transcript.to_txt,
    "srt": Transcript.to_srt,
    "vtt": Transcript.to_vtt,
    "json": Transcript.to_json,
    "tsv": Transcript.to_tsv,
    "rttm": Transcript.to_rttm,
}


def write_all(transcript: Transcript, folder: str | Path, stem: str, formats: Iterable[str]) -> list[Path]:
    """Write one file a format (`folder/stem.txt`, ...); an unknown format raises before any file is written."""
    formats = list(formats)
    for name in formats:
        _writer(name)
    paths = [Path(folder) / f"{stem}.{name}" for name in formats]
    for path in paths:
        transcript.save(path)
    return paths


def _writer(name: str, where: str = "") -> Callable[[Transcript], str]:
    if name not in FORMATS:
        raise OptionError(f"{where}unknown format {name!r}; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _read_json_file(path: str | os.PathLike[str]) -> tuple[str, str]:
    name = str(path)[:200]
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
        if len(content) > MAX_JSON_BYTES:
            raise ValueError(f"larger than {MAX_JSON_BYTES >> 20} MiB")
        return name, content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise OptionError(f"{name}: no JSON transcript could be read here: {error}") from error


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rttm_field(text: str) -> str:
    return one_line(text).replace(" ", "_")
