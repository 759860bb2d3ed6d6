"""What a recognizer returns (Transcript, Segment, Word, Token, Timings) and the files it can be written to."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import secrets
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path

from ..errors import OptionError
from . import subtitles
from .subtitles import milliseconds
from .words import Alternative, Token, Word, join_texts, one_line, split_words

__all__ = [
    "FORMATS",
    "Alternative",
    "Segment",
    "Timings",
    "Token",
    "Transcript",
    "Word",
    "join_texts",
    "write_all",
]

_HIGH_CONTROL = re.compile(r"[\x7f-\x9f]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tabs and line ends
JSON_FORMAT = "nanoasr-1"
MAX_JSON_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech that was decoded in one go; times in seconds of the recording."""

    text: str
    start: float
    end: float
    tokens: tuple[Token, ...] = ()
    repetition_stopped: bool = False
    """The model had begun to repeat itself and was stopped."""
    truncated: bool = False
    """Decoding ran into `max_tokens`: there may be more speech than text."""
    revised: bool | None = None
    """Live only: whether the final text differs from what had been committed."""

    @property
    def avg_logprob(self) -> float | None:
        """Mean log probability of the tokens; None when there are none."""
        return sum(token.logprob for token in self.tokens) / len(self.tokens) if self.tokens else None

    @property
    def words(self) -> tuple[Word, ...]:
        """The text in words, with the times of their tokens; None where the tokens have none or spell another text."""
        return tuple(Word(p.text.strip(), p.start, p.end, p.confidence) for p in split_words(self.text, self.tokens))


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that each stage took. `a + b` adds them up; printed, it is a table."""

    read: float = 0.0
    vad: float = 0.0
    features: float = 0.0
    encoder: float = 0.0
    adaptor: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    align: float = 0.0
    total: float = 0.0
    audio_seconds: float = 0.0
    tokens: int = 0
    peak_memory: int | None = None
    """Bytes, where the device tells."""

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for one second of audio: below 1 is faster than real time. 0 without audio."""
        return self.total / self.audio_seconds if self.audio_seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens for each second of decoding; 0 where nothing was decoded."""
        return self.tokens / self.decode if self.decode else 0.0

    def __add__(self, other: Timings) -> Timings:
        if not isinstance(other, Timings):
            return NotImplemented
        peaks = [timings.peak_memory for timings in (self, other) if timings.peak_memory is not None]
        summed = [f.name for f in fields(Timings) if f.name != "peak_memory"]
        sums = {name: getattr(self, name) + getattr(other, name) for name in summed}
        return Timings(**sums, peak_memory=max(peaks, default=None))

    def table(self) -> str:
        """Each stage with its seconds and its share of the total, as lines of plain text."""
        stages = {name: getattr(self, name) for name in _STAGES}
        stages["other"] = max(0.0, self.total - sum(stages.values()))
        stages["total"] = self.total
        lines = [f"{'stage':<10}{'seconds':>10}{'share':>9}"]
        for name, seconds in stages.items():
            share = f"{100 * seconds / self.total:.1f} %" if self.total else "-"
            lines.append(f"{name:<10}{seconds:>10.3f}{share:>9}")
        lines.append(f"{self.audio_seconds:.1f} s of audio, real-time factor {self.real_time_factor:.3f}")
        lines.append(f"{self.tokens} tokens, {self.tokens_per_second:.1f} per second")
        if self.peak_memory is not None:
            lines.append(f"peak memory {self.peak_memory / 2**20:.0f} MiB")
        return "\n".join(lines)

    __str__ = table


_STAGES = ("read", "vad", "features", "encoder", "adaptor", "prefill", "decode", "align")


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of one recording, in segments, and what it cost."""

    text: str
    segments: tuple[Segment, ...]
    language: str | None
    duration: float
    timings: Timings = field(default_factory=Timings)
    name: str | None = None

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
        """Whether any segment began to repeat itself and was stopped."""
        return any(segment.repetition_stopped for segment in self.segments)

    def to_txt(self) -> str:
        """The text and a line end; a space stands for what is no character but a command to a terminal."""
        return _CONTROL.sub(" ", self.text) + "\n"

    def to_srt(self) -> str:
        """SubRip subtitles. Where words have times, a cue is at most two lines of 42 columns and 7 seconds;
        a segment without is one cue, over as many lines as it needs, since nobody knows where to cut it."""
        return subtitles.srt(self.segments)

    def to_vtt(self) -> str:
        """WebVTT subtitles, with the cues of `to_srt`."""
        return subtitles.vtt(self.segments)

    def to_tsv(self) -> str:
        """One line a segment: start and end in milliseconds, and the text, between tabs."""
        rows = [
            f"{milliseconds(segment.start)}\t{milliseconds(segment.end)}\t{one_line(segment.text)}\n"
            for segment in self.segments
        ]
        return "start\tend\ttext\n" + "".join(rows)

    def to_json(self, indent: int | None = 2) -> str:
        """Everything; `from_json` reads it back. Numbers that JSON cannot hold (infinity, NaN) become null."""
        content = {"format": JSON_FORMAT} | asdict(self)
        text = json.dumps(_finite(content), ensure_ascii=False, indent=indent, allow_nan=False)
        # JSON itself escapes the commands to terminals below U+0020 only.
        return _HIGH_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"

    @classmethod
    def from_json(cls, text_or_path: str | os.PathLike[str]) -> Transcript:
        """Read back what `to_json` or `save` wrote, from the JSON text itself or from a file.

        Keys it does not know are passed over; a null where a number must be becomes NaN.
        """
        if isinstance(text_or_path, str) and text_or_path.lstrip().startswith("{"):
            name, text = "JSON text", text_or_path
        else:
            name, text = _read_json_file(text_or_path)
        try:
            content = json.loads(text)
            if not isinstance(content, dict) or content.get("format") != JSON_FORMAT:
                raise ValueError(f'it lacks "format": "{JSON_FORMAT}"')
            return _build(cls, content, "transcript")
        except (ValueError, OverflowError, RecursionError) as error:
            raise OptionError(f"{name}: not a transcript that nanoasr saved: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file whose suffix names the format: .txt .srt .vtt .json .tsv.

        Missing folders are made. The file is whole or not there: it replaces an older one in a single step.
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
}


def write_all(transcript: Transcript, folder: str | Path, stem: str, formats: Iterable[str]) -> list[Path]:
    """Write `folder/stem.txt` and so on, one file a format; an unknown format raises before any is written."""
    formats = list(formats)
    for name in formats:
        _writer(name)
    paths = [Path(folder) / f"{stem}.{name}" for name in formats]
    for path in paths:
        transcript.save(path)
    return paths


# Files


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


def _build(kind: typing.Any, value: typing.Any, where: str) -> typing.Any:
    """The value as the annotated type says, or a ValueError that names the place."""
    if isinstance(kind, types.UnionType):  # here always "something | None"
        return None if value is None else _build(typing.get_args(kind)[0], value, where)
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_build(typing.get_args(kind)[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if is_dataclass(kind) and isinstance(value, dict):
        hints = _type_hints(kind)
        given = {name: _build(hints[name], value[name], f"{where}.{name}") for name in hints if name in value}
        required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        if missing := [name for name in required if name not in given]:
            raise ValueError(f"{where} lacks {', '.join(missing)}")
        return kind(**given)
    if kind is float and value is None:
        return math.nan
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{where} is {value!r}"[:200])
    return value


_type_hints = functools.lru_cache(typing.get_type_hints)  # slow to resolve, and asked for each token
