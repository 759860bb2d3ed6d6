"""Diarization error rate: how far the turns found are from those of a reference."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .turns import Turn


@dataclass(frozen=True)
class DiarizationError:
    """Seconds of speech by kind of error; `a + b` adds them up."""

    missed: float = 0.0
    false_alarm: float = 0.0
    confusion: float = 0.0
    speech: float = 0.0  # of the reference; where two speak at once, both count

    @property
    def rate(self) -> float:
        """All errors as a share of the reference's speech."""
        return (self.missed + self.false_alarm + self.confusion) / self.speech if self.speech else 0.0

    def __add__(self, other: "DiarizationError") -> "DiarizationError":
        return DiarizationError(*(mine + theirs for mine, theirs in zip(_parts(self), _parts(other), strict=True)))


def diarization_error(reference: Sequence[Turn], found: Sequence[Turn], collar: float = 0.25) -> DiarizationError:
    """Score `found` as NIST does: overlap counts, the names that fit best are matched, and nothing is scored
    within `collar` seconds on either side of a boundary of the reference."""
    boundaries = [time for turn in reference for time in (turn.start, turn.end)]
    edges = {time for turn in [*reference, *found] for time in (turn.start, turn.end)}
    edges |= {time + side for time in boundaries for side in (-collar, collar)}
    times = np.array(sorted(edges))
    middles, lengths = (times[1:] + times[:-1]) / 2, np.diff(times)
    if collar:
        near = np.abs(middles[:, None] - np.array(boundaries or [np.inf])).min(axis=1)
        lengths = np.where(near < collar, 0.0, lengths)
    spoken, heard = _activity(reference, middles), _activity(found, middles)
    real, given = spoken.sum(axis=0), heard.sum(axis=0)
    right = _best_matching((spoken * lengths) @ heard.T)
    return DiarizationError(
        missed=float((np.maximum(real - given, 0) * lengths).sum()),
        false_alarm=float((np.maximum(given - real, 0) * lengths).sum()),
        confusion=float((np.minimum(real, given) * lengths).sum() - right),
        speech=float((real * lengths).sum()),
    )


def read_rttm(path: str | Path) -> dict[str, list[Turn]]:
    """Read the turns of each recording from an RTTM file."""
    found: dict[str, list[Turn]] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields and fields[0] == "SPEAKER":
            start, length = float(fields[3]), float(fields[4])
            found.setdefault(fields[1], []).append(Turn(start, start + length, fields[7]))
    return found


def _parts(error: DiarizationError) -> tuple[float, float, float, float]:
    return error.missed, error.false_alarm, error.confusion, error.speech


def _activity(turns: Iterable[Turn], times: np.ndarray) -> np.ndarray:
    """[speakers, times]: 1 where a speaker speaks."""
    rows: dict[str, np.ndarray] = {}
    for turn in turns:
        row = rows.setdefault(turn.speaker, np.zeros(len(times)))
        row[(times > turn.start) & (times < turn.end)] = 1
    return np.array([*rows.values()]).reshape(len(rows), len(times))


def _best_matching(shared: np.ndarray) -> float:
    """Find the most seconds that a one-to-one matching of rows and columns shares: dynamic programming over subsets."""
    if shared.shape[0] > shared.shape[1]:
        shared = shared.T
    best = {0: 0.0}  # rows matched so far -> seconds
    for column in shared.T:
        reached = dict(best)
        for rows, seconds in best.items():
            for i, value in enumerate(column):
                if not rows >> i & 1 and value:
                    key = rows | 1 << i
                    reached[key] = max(reached.get(key, 0.0), seconds + value)
        best = reached
    return max(best.values())
