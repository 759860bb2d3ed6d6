"""Recordings, read ahead on threads of their own and cut into segments that the network can take.

A recording is never held whole unless it is one segment: what is in memory is a few segments, whatever its length.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import NanoASRError
from .detector import Detector, DetectorPool, RemoteDetector
from .files import SAMPLE_RATE, read_blocks, source_name
from .vad import Segmenter, VadOptions, has_speech, is_silent, quiet_place

_BLOCK_SECONDS = 15.0
_AHEAD = 16  # cuts that a recording may be ahead of who takes them
_MOST_WORKERS = 16  # what they read ahead is in memory, up to 15 MB each


@dataclass(frozen=True)
class Cut:
    """A segment's samples, and where it stands in its recording, in seconds."""

    index: int
    start: float
    end: float
    samples: np.ndarray


class Recording:
    """A recording while it is read. What it cost, its length and its error are known after the last cut."""

    def __init__(self, source: object):
        self.name = source_name(source)
        self.duration = self.read_seconds = self.vad_seconds = 0.0
        self.error: NanoASRError | None = None
        self._cuts: queue.Queue[Cut | None] = queue.Queue(maxsize=_AHEAD)
        self._abandoned = threading.Event()

    def cuts(self) -> Iterator[Cut]:
        """The segments, in order, as they are found."""
        while (cut := self._cuts.get()) is not None:
            yield cut

    def abandon(self) -> None:
        """Stop reading; nobody will ask for cuts any more."""
        self._abandoned.set()

    def read(
        self,
        source: object,
        rate: int | None,
        options: VadOptions | None,
        max_seconds: float | None,
        detectors: DetectorPool,
    ) -> None:
        """Read and cut `source`; runs on a thread of its own."""
        with detectors.detector() if options else contextlib.nullcontext() as detector:
            self._read(source, rate, options, max_seconds, detector)

    def _read(self, source, rate, options, max_seconds, detector) -> None:
        try:
            blocks = self._timed(read_blocks(source, rate, seconds=_BLOCK_SECONDS, max_seconds=max_seconds))
            began, read_before = time.perf_counter(), self.read_seconds
            for index, (start, samples) in enumerate(cut_blocks(blocks, options, detector)):
                self.vad_seconds += time.perf_counter() - began - (self.read_seconds - read_before)
                start_s, end_s = start / SAMPLE_RATE, (start + len(samples)) / SAMPLE_RATE
                self._put(Cut(index, start_s, end_s, samples))
                began, read_before = time.perf_counter(), self.read_seconds
            self.vad_seconds += time.perf_counter() - began - (self.read_seconds - read_before)
        except NanoASRError as error:
            self.error = error
        except _Abandoned:
            pass
        except Exception as error:  # whatever else a decoder trips over must not stop the other recordings
            self.error = NanoASRError(f"{self.name}: could not be read ({type(error).__name__}: {error})")
        with contextlib.suppress(_Abandoned):
            self._put(None)

    def _timed(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while True:
            start = time.perf_counter()
            block = next(blocks, None)
            self.read_seconds += time.perf_counter() - start
            if block is None:
                return
            self.duration += len(block) / SAMPLE_RATE
            yield block

    def _put(self, cut: Cut | None) -> None:
        # No daemon thread: Python would kill it inside a decoder's C++ at exit. It sees itself that all is over.
        while not self._abandoned.is_set() and threading.main_thread().is_alive():
            try:
                return self._cuts.put(cut, timeout=0.2)
            except queue.Full:
                continue
        raise _Abandoned


class _Abandoned(Exception):
    pass


def read_ahead(
    sources: Iterable[object],
    sample_rate: int | None = None,
    options: VadOptions | None = None,
    max_seconds: float | None = None,
    workers: int | None = None,
) -> Iterator[Recording]:
    """Recordings in order, `workers` of them (one for each core) being read at a time. `options` None: no VAD."""
    workers = workers or min(_cores(), _MOST_WORKERS)
    detectors = DetectorPool(workers, in_processes=workers > 2)  # on two cores the network wants both
    started: list[Recording] = []
    waiting = iter(sources)
    try:
        while True:
            while len(started) < workers:
                source = next(waiting, _NOTHING)
                if source is _NOTHING:
                    break
                recording = Recording(source)
                job = (source, sample_rate, options, max_seconds, detectors)
                threading.Thread(target=recording.read, args=job, name="nanoasr-reader").start()
                started.append(recording)
            if not started:
                return
            yield started[0]
            started.pop(0).abandon()  # whoever took it has what it wants
    finally:
        for recording in started:
            recording.abandon()
        detectors.close()


_NOTHING = object()


def _cores() -> int:
    """Those that this process may use; a container may have few of many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cut_blocks(
    blocks: Iterator[np.ndarray], options: VadOptions | None, detector: Detector | RemoteDetector | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of one recording -> (first sample, samples) of each segment.

    A recording no longer than one segment stays whole. Longer ones are cut at pauses, and only speech is kept;
    without a VAD, at quiet places, and everything is kept.
    """
    most = int((options or VadOptions()).max_segment * SAMPLE_RATE)
    head: list[np.ndarray] = []
    for block in blocks:
        head.append(block)
        if sum(map(len, head)) > most:
            break
    samples = np.concatenate(head) if head else np.zeros(0, np.float32)
    if len(samples) <= most:
        if len(samples) and not is_silent(samples) and (options is None or has_speech(samples, options, detector)):
            yield 0, samples
        return
    rest = _chain(samples, blocks)
    yield from _speech_cuts(rest, options, detector) if options else _quiet_cuts(rest, most)


def _speech_cuts(
    blocks: Iterator[np.ndarray], options: VadOptions, detector: Detector | RemoteDetector | None
) -> Iterator[tuple[int, np.ndarray]]:
    segmenter, held, held_from = Segmenter(options, detector), np.zeros(0, np.float32), 0
    for block in _chain_end(blocks):
        held = held if block is None else np.concatenate([held, block])
        for span in segmenter.finish() if block is None else segmenter.push(block):
            yield span.start, held[span.start - held_from : span.end - held_from].copy()
        keep = max(segmenter.needed_from - held_from, 0)
        held, held_from = held[keep:], held_from + keep


def _quiet_cuts(blocks: Iterator[np.ndarray], most: int) -> Iterator[tuple[int, np.ndarray]]:
    held, held_from = np.zeros(0, np.float32), 0
    for block in _chain_end(blocks):
        held = held if block is None else np.concatenate([held, block])
        while len(held) > most or (block is None and len(held)):
            end = quiet_place(held[:most], most // 2) if len(held) > most else len(held)
            if not is_silent(held[:end]):
                yield held_from, held[:end].copy()
            held, held_from = held[end:], held_from + end


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


def _chain_end(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray | None]:
    yield from blocks
    yield None
