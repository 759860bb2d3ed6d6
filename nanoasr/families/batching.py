"""Segments -> one padded batch of features, and the time that each stage takes."""

import time
from collections.abc import Sequence
from typing import TypeVar

import mlx.core as mx

from .. import backend
from ..audio.features import features, frame_count, lfr, lfr_count, normalized
from .base import SegmentJob

Arrays = TypeVar("Arrays")
_PADDING = 1.25  # on a CPU, segments are encoded together where the longest is at most so much longer


def similar_lengths(jobs: Sequence[SegmentJob]) -> list[list[int]]:
    """Split jobs into batches, as positions in `jobs`: all in one on a GPU, those of similar length on a CPU."""
    if not backend.on_cpu:
        return [list(range(len(jobs)))] if jobs else []
    groups: list[list[int]] = []
    for i in sorted(range(len(jobs)), key=lambda i: len(jobs[i].samples)):
        shortest = len(jobs[groups[-1][0]].samples) if groups else 0
        if len(jobs[i].samples) <= _PADDING * shortest and jobs[i].filterbank is None:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def batch_features(jobs: Sequence[SegmentJob], cmvn: mx.array | None) -> tuple[mx.array, list[int], mx.array | None]:
    """Compute features [B, T', 560] of some jobs, the frames of each, and these as an array where they differ."""
    frames = [lfr_count(frame_count(len(job.samples))) for job in jobs]
    if len(jobs) == 1 and jobs[0].filterbank is not None:
        return normalized(lfr(jobs[0].filterbank), cmvn)[None], frames, None
    counts = [len(job.samples) for job in jobs]
    rows = [mx.array(job.samples, dtype=mx.float32) for job in jobs]  # copied once, row by row
    unequal = len(set(counts)) > 1
    if unequal:
        rows = [mx.pad(row, (0, max(counts) - len(row))) for row in rows]
    x = features(mx.stack(rows), mx.array(counts) if unequal else None, cmvn)
    return x, frames, mx.array(frames) if len(set(frames)) > 1 else None


class Stopwatch:
    """Times stages by waiting for what each computes; the time is divided among `rows`."""

    def __init__(self, rows: int):
        self.rows = rows
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def stage(self, name: str, value: Arrays) -> Arrays:
        """Evaluate `value`, and count the time since the last stage as that of `name`."""
        mx.eval(value)
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + (now - self._began) / self.rows
        self._began = now
        return value
