"""Subtitles in SubRip and WebVTT: segments split into cues and lines of a length that players display well."""

import functools
import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from .segments import Segment
from .words import Piece, one_line, split_words

LINE_COLUMNS = 42  # a full-width character takes two columns
CUE_LINES = 2
CUE_SECONDS = 7.0
PAUSE_SECONDS = 0.5  # a gap between words at which cutting is as good as after a comma


def srt(segments: Iterable[Segment]) -> str:
    """Return SubRip subtitles; a cue begins with its speaker where known."""
    blocks = []
    for number, cue in enumerate(_cues(segments, show_speaker=True), 1):
        # SubRip has no escapes; an arrow within the text would be read as a time line.
        lines = "\n".join(cue.lines).replace("-->", "-- >")
        blocks.append(f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{lines}\n")
    return "\n".join(blocks)


def vtt(segments: Iterable[Segment]) -> str:
    """Return WebVTT subtitles; speakers are voice tags."""
    blocks = ["WEBVTT\n"]
    for cue in _cues(segments, show_speaker=False):
        voice = f"<v {_escaped(cue.speaker)}>" if cue.speaker else ""
        lines = _escaped("\n".join(cue.lines))
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{voice}{lines}\n")
    return "\n".join(blocks)


def milliseconds(seconds: float) -> int:
    """Round to whole milliseconds; 0 for negative times, infinity and NaN."""
    return max(0, round(seconds * 1000)) if math.isfinite(seconds) else 0


@dataclass(frozen=True, slots=True)
class _Cue:
    start: int  # milliseconds
    end: int
    lines: list[str]
    speaker: str


def _cues(segments: Iterable[Segment], show_speaker: bool) -> list[_Cue]:
    """Return cues in order, none empty, of no duration, or overlapping the next."""
    ordered = sorted(segments, key=lambda segment: segment.start)
    drafts = [draft for segment in ordered for draft in _drafts(segment, show_speaker)]
    starts: list[int] = []
    for draft in drafts:
        starts.append(max(draft.start, starts[-1] + 1 if starts else 0))
    cues = []
    for i, (start, draft) in enumerate(zip(starts, drafts, strict=True)):
        end = draft.end if draft.end > start else start + 1000
        cues.append(_Cue(start, min([end, *starts[i + 1 : i + 2]]), draft.lines, draft.speaker))
    return cues


def _drafts(segment: Segment, show_speaker: bool) -> Iterable[_Cue]:
    speaker = one_line(segment.speaker or "")
    label = f"{speaker}: " if speaker and show_speaker else ""
    pieces = split_words(segment.text, segment.tokens)
    first = 0
    while first < len(pieces):
        stop = _cue_stop(pieces, first, label)
        start, end = pieces[first].start, pieces[stop - 1].end
        yield _Cue(
            milliseconds(segment.start if start is None else start),
            milliseconds(segment.end if end is None else end),
            _wrap(_labelled(label, pieces[first:stop])),
            speaker,
        )
        first = stop


def _labelled(label: str, pieces: list[Piece]) -> list[str]:
    first, *rest = [piece.text for piece in pieces]
    return [label + first.lstrip(), *rest]


def _cue_stop(pieces: list[Piece], first: int, label: str) -> int:
    """Return where the cue that starts at `first` ends: as late as fits, preferably after punctuation or at a pause."""
    fitting: list[tuple[int, int]] = []
    for stop in range(first + 1, len(pieces)):
        left, right = pieces[stop - 1], pieces[stop]
        if left.end is None or right.start is None or right.start <= (left.start or 0.0):
            continue
        if fitting and not _fits(pieces[first:stop], label):
            break
        rank = _ending_rank(left.text) or int(right.start - left.end >= PAUSE_SECONDS)
        fitting.append((rank, stop))
    else:
        if not fitting or _fits(pieces[first:], label):
            return len(pieces)
    half = (first + fitting[-1][1]) / 2
    return max(candidate for candidate in fitting if candidate[1] >= half)[1]


def _fits(pieces: list[Piece], label: str) -> bool:
    start, end = pieces[0].start, pieces[-1].end
    if start is not None and end is not None and end - start > CUE_SECONDS:
        return False
    return len(_fill(_labelled(label, pieces))) <= CUE_LINES


def _ending_rank(text: str) -> int:
    last = text.rstrip("\"'”’」』）)")[-1:]
    return 2 if last in _SENTENCE_ENDS else 1 if last in _CLAUSE_ENDS else 0


_SENTENCE_ENDS = frozenset(".!?。！？…؟।")
_CLAUSE_ENDS = frozenset(",;:，、；：،؛")


def _wrap(words: list[str]) -> list[str]:
    """Break words into lines of at most 42 columns; two lines are of similar length unless the first ends a clause."""
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
    """Cut a word longer than a line into parts that fit, marks kept with their letters."""
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


def _clock(moment: int, decimal: str) -> str:
    seconds, thousandths = divmod(moment, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{decimal}{thousandths:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
