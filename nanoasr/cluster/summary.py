"""Counts and rates of a whole output folder."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from ..results.scoring import error_rates
from .inputs import Input
from .outputs import OutputFolder
from .rows import Row

NAME = "summary.json"


@dataclass(frozen=True)
class Summary:
    """What a folder holds, and how fast the last run that transcribed anything was.

    recordings         rows, of which `failed` have an error
    hours              of audio, transcribed
    seconds            that the last run took
    real_time_factor   these seconds for each second of audio that the run transcribed
    wer, cer           over the recordings whose texts are known; None without any
    """

    recordings: int
    failed: int
    hours: float
    seconds: float | None
    real_time_factor: float | None
    wer: float | None
    cer: float | None


def write_summary(output: OutputFolder, inputs: Iterable[Input], seconds: float, audio_seconds: float) -> Summary:
    """Write summary.json for all rows of the folder; `seconds` and `audio_seconds` are those of this run."""
    counted = _Counts()
    wer, cer = error_rates(_pairs(counted.watch(output.rows()), inputs))
    took, factor = seconds, seconds / audio_seconds if audio_seconds else None
    if not audio_seconds:
        took, factor = _last_speed(output)
    hours = counted.seconds / 3600
    summary = Summary(counted.rows, counted.failed, hours, took, factor, wer, cer)
    output.write(NAME, (json.dumps(asdict(summary), indent=2) + "\n").encode())
    return summary


class _Counts:
    def __init__(self) -> None:
        self.rows, self.failed, self.seconds = 0, 0, 0.0

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            self.rows += 1
            self.failed += row.error is not None
            self.seconds += row.duration or 0.0
            yield row


def _pairs(rows: Iterable[Row], inputs: Iterable[Input]) -> Iterator[tuple[str | None, str]]:
    """Yield the known text, or None, and the transcript of each row without an error."""
    references = defaultdict(list)
    for item in inputs:
        references[item.key].append(item.text)
    for row in rows:
        known = references.get(row.key)
        text = known.pop(0) if known else None
        if row.error is None:
            yield text, row.text or ""


def _last_speed(output: OutputFolder) -> tuple[float | None, float | None]:
    try:
        before = json.loads((output.folder / NAME).read_text(encoding="utf-8"))
        return before["seconds"], before["real_time_factor"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
