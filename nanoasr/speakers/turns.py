"""Windows with a speaker each -> turns: who speaks from when to when."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHORTEST_TURN = 0.6  # seconds: a shorter turn inside another speaker's is taken for an error of one window


@dataclass(frozen=True)
class Turn:
    """A stretch of time in which one speaker speaks; seconds."""

    start: float
    end: float
    speaker: str


def find_turns(
    spans: Sequence[tuple[float, float]], centres: np.ndarray, labels: np.ndarray, named: bool = False
) -> list[Turn]:
    """Turns within the spans of speech: each instant belongs to the window whose centre is nearest.

    Speakers are named "S1", "S2" … in order of appearance, or with `named` by their labels from 0 up. Where two speak
    at once, the window has one of them, as a rule the louder.
    """
    if not len(centres):
        return []
    order = np.argsort(centres, kind="stable")
    centres, labels = centres[order], labels[order]
    borders = (centres[1:] + centres[:-1]) / 2
    found: list[tuple[float, float, int]] = []
    for start, end in spans:
        first, last = np.searchsorted(borders, (start, end))
        edges = [start, *borders[first:last], end]
        parts = [(edges[i], edges[i + 1], int(labels[first + i])) for i in range(last - first + 1)]
        found += _smoothed(_merged(parts))
    names = {int(label): f"S{label + 1}" for label in labels} if named else {}
    for _, _, label in found:
        names.setdefault(label, f"S{len(names) + 1}")
    return [Turn(float(start), float(end), names[label]) for start, end, label in found]


def _merged(parts: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Join neighbours of one speaker."""
    joined: list[tuple[float, float, int]] = []
    for start, end, label in parts:
        if joined and joined[-1][2] == label:
            start = joined.pop()[0]
        joined.append((start, end, label))
    return joined


def _smoothed(parts: list[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Give a short turn between two of another speaker to that speaker."""
    kept = [
        (start, end, before) if end - start < SHORTEST_TURN and before == after else (start, end, label)
        for (start, end, label), before, after in zip(
            parts, [None, *(p[2] for p in parts[:-1])], [*(p[2] for p in parts[1:]), None], strict=True
        )
    ]
    return _merged(kept)
