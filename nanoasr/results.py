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
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path

from nanoasr.errors import OptionError

JSON_FORMAT = "nanoasr-1"
MAX_JSON_BYTES = 256 * 2**20
LINE_COLUMNS = 42  # a subtitle line; a full-width character takes two columns
CUE_LINES = 2
CUE_SECONDS = 7.0
PAUSE_SECONDS = 0.5  # a gap between words that is as good a place to cut as a comma


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
        return tuple(Word(p.text.strip(), p.start, p.end, p.confidence) for p in _pieces(self))


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
        """The text and a line end."""
        return self.text + "\n"

    def to_srt(self) -> str:
        """SubRip subtitles. Where words have times, a cue is at most two lines of 42 columns and 7 seconds;
        a segment without is one cue, over as many lines as it needs, since nobody knows where to cut it."""
        blocks = []
        for number, cue in enumerate(_cues(self.segments), 1):
            # SubRip has no escapes; an arrow inside a text would be read as a time line.
            lines = "\n".join(cue.lines).replace("-->", "-- >")
            blocks.append(f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{lines}\n")
        return "\n".join(blocks)

    def to_vtt(self) -> str:
        """WebVTT subtitles, with the cues of `to_srt`."""
        blocks = ["WEBVTT\n"]
        for cue in _cues(self.segments):
            lines = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{lines}\n")
        return "\n".join(blocks)

    def to_tsv(self) -> str:
        """One line a segment: start and end in milliseconds, and the text, between tabs."""
        rows = [
            f"{_milliseconds(segment.start)}\t{_milliseconds(segment.end)}\t{_one_line(segment.text)}\n"
            for segment in self.segments
        ]
        return "start\tend\ttext\n" + "".join(rows)

    def to_json(self, indent: int | None = 2) -> str:
        """Everything; `from_json` reads it back. Numbers that JSON cannot hold (infinity, NaN) become null."""
        content = {"format": JSON_FORMAT} | asdict(self)
        return json.dumps(_finite(content), ensure_ascii=False, indent=indent, allow_nan=False) + "\n"

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


# Words

# Scripts written without spaces, and full-width forms. Not Hangul: Korean puts spaces between words.
_CJK = re.compile("[\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]")
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")  # control characters too: no file format here can hold them
_NEVER_FIRST = frozenset("々ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ")  # Japanese: they belong to the one before


@dataclass(frozen=True, slots=True)
class _Piece:
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


def _pieces(segment: Segment) -> list[_Piece]:
    spelled = "".join(token.text for token in segment.tokens)
    if _SPACE.sub("", spelled) == _SPACE.sub("", segment.text):
        return _split_words(segment.tokens)
    return _split_words([Token(0, segment.text, 0.0)])


def _split_words(tokens: Iterable[Token]) -> list[_Piece]:
    pieces: list[_Piece] = []
    letters: list[str] = []
    sources: list[Token] = []
    waiting: list[Token] = []  # tokens without text yet: they start the next character
    before = spoken = ""  # the last character, and the word's last one that is not punctuation

    def finish_word() -> None:
        text = _SPACE.sub(" ", "".join(letters))
        if pieces and not spoken:  # a lone dash, spaces at the end
            pieces[-1] = _Piece((pieces[-1].text + text).rstrip(), pieces[-1].tokens)
        elif text.strip():
            pieces.append(_Piece(text, tuple(sources)))

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


# Subtitles


@dataclass(frozen=True, slots=True)
class _Cue:
    start: int  # milliseconds
    end: int
    lines: list[str]


def _cues(segments: Sequence[Segment]) -> list[_Cue]:
    """Cues in order, none empty, none of no length, none overlapping the next."""
    drafts = [draft for segment in sorted(segments, key=lambda segment: segment.start) for draft in _drafts(segment)]
    starts: list[int] = []
    for start, _, _ in drafts:
        starts.append(max(_milliseconds(start), starts[-1] + 1 if starts else 0))
    cues = []
    for i, (start, (_, end, lines)) in enumerate(zip(starts, drafts, strict=True)):
        last = _milliseconds(end)
        last = last if last > start else start + 1000
        cues.append(_Cue(start, min([last, *starts[i + 1 : i + 2]]), lines))
    return cues


def _drafts(segment: Segment) -> Iterable[tuple[float, float, list[str]]]:
    pieces = _pieces(segment)
    first = 0
    while first < len(pieces):
        stop = _cue_stop(pieces, first)
        start, end = pieces[first].start, pieces[stop - 1].end
        yield (
            segment.start if start is None else start,
            segment.end if end is None else end,
            _wrap([piece.text for piece in pieces[first:stop]]),
        )
        first = stop


def _cue_stop(pieces: list[_Piece], first: int) -> int:
    """Where the cue that starts at `first` ends: as late as it fits, rather after punctuation or at a pause."""
    fitting: list[tuple[int, int]] = []
    for stop in range(first + 1, len(pieces)):
        left, right = pieces[stop - 1], pieces[stop]
        if left.end is None or right.start is None or right.start <= (left.start or 0.0):
            continue
        if fitting and not _fits(pieces[first:stop]):
            break
        rank = _ending_rank(left.text) or int(right.start - left.end >= PAUSE_SECONDS)
        fitting.append((rank, stop))
    else:
        if not fitting or _fits(pieces[first:]):
            return len(pieces)
    half = (first + fitting[-1][1]) / 2
    return max(candidate for candidate in fitting if candidate[1] >= half)[1]


def _fits(pieces: list[_Piece]) -> bool:
    start, end = pieces[0].start, pieces[-1].end
    if start is not None and end is not None and end - start > CUE_SECONDS:
        return False
    return len(_fill([piece.text for piece in pieces])) <= CUE_LINES


def _ending_rank(text: str) -> int:
    last = text.rstrip("\"'”’」』）)")[-1:]
    return 2 if last in _SENTENCE_ENDS else 1 if last in _CLAUSE_ENDS else 0


_SENTENCE_ENDS = frozenset(".!?。！？…؟।")
_CLAUSE_ENDS = frozenset(",;:，、；：،؛")


def _wrap(words: list[str]) -> list[str]:
    """The words in lines of at most 42 columns; of two lines, neither much longer unless the first ends well."""
    lines = _fill(words)
    if len(lines) != 2:
        return lines
    splits = [("".join(words[:i]).strip(), "".join(words[i:]).strip()) for i in range(1, len(words))]
    fitting = [split for split in splits if max(map(_columns, split)) <= LINE_COLUMNS]
    if not fitting:  # one word, chopped
        return lines
    return list(min(fitting, key=lambda s: abs(_columns(s[0]) - _columns(s[1])) - 12 * _ending_rank(s[0])))


def _fill(words: list[str]) -> list[str]:
    lines: list[str] = []
    used = 0
    for word in words:
        for part in _chop(word):
            width = _columns(part)
            if lines and used + width <= LINE_COLUMNS:
                lines[-1] += part
                used += width
            else:
                lines.append(part.lstrip())
                used = _columns(lines[-1])
    return lines


def _chop(word: str) -> list[str]:
    """A word longer than a line (Thai has no spaces) in parts that fit, marks left with their letters."""
    if _columns(word) <= LINE_COLUMNS:
        return [word]
    parts, used = [""], 0
    for char in word:
        width = _columns(char)
        if width and used + width > LINE_COLUMNS and not parts[-1].endswith("\u200d"):
            parts.append("")
            used = 0
        parts[-1] += char
        used += width
    return parts


@functools.lru_cache(maxsize=4096)
def _columns(text: str) -> int:
    return sum(map(_char_columns, text))


@functools.lru_cache(maxsize=4096)
def _char_columns(char: str) -> int:
    category = unicodedata.category(char)
    if category[0] == "M" or category == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _clock(milliseconds: int, decimal: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{decimal}{milliseconds:03}"


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000)) if math.isfinite(seconds) else 0


def _one_line(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


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
