"""Read recordings ahead on threads and cut them into segments that the network can take.

A recording is never held whole unless it is one segment: memory holds a few segments, whatever its length.
"""

import contextlib
import itertools
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import DetectorError, NanoASRError
from .detector import Detector, DetectorPool, cores, shared_processes
from .files import read_blocks, source_name
from .resample import SAMPLE_RATE
from .vad import Segmenter, VadOptions, has_speech, is_silent, quiet_place

_BLOCK_SECONDS = 15.0
_QUEUE_SIZE = 16  # segments that a recording is read ahead
_MAX_WORKERS = 16  # each holds up to 15 MB of segments


@dataclass(frozen=True)
class Cut:
    """A segment's samples, and its place in its recording in seconds. `is_speech`: cut to what the VAD heard."""

    index: int
    start: float
    end: float
    samples: np.ndarray
    is_speech: bool


class Recording:
    """A recording that is being read. Its times, duration and error are known after the last cut."""

    def __init__(self, source: object):
        self.name = source_name(source)
        self.path = os.fsdecode(source) if isinstance(source, str | os.PathLike) else None
        self.duration = self.read_seconds = self.vad_seconds = 0.0
        self.error: NanoASRError | None = None
        self._cuts: queue.Queue[Cut | None] = queue.Queue(_QUEUE_SIZE)
        self._abandoned = threading.Event()

    def cuts(self) -> Iterator[Cut]:
        """Yield the segments, in order, as they are found."""
        while (cut := self._cuts.get()) is not None:
            yield cut

    def abandon(self) -> None:
        """Stop reading and end `cuts`."""
        self._abandoned.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._cuts.get_nowait()
        self._cuts.put(None)

    def read(
        self,
        source: object,
        rate: int | None,
        options: VadOptions | None,
        max_seconds: float | None,
        detectors: DetectorPool,
    ) -> None:
        """Read and cut `source`; runs on a thread of its own. Any failure becomes `error`, so `cuts` always ends."""
        try:
            blocks = read_blocks(source, rate, seconds=_BLOCK_SECONDS, max_seconds=max_seconds)
            with detectors.detector() if options else contextlib.nullcontext() as detector:
                self._read(blocks, options, detector)
        except _Abandoned:
            return
        except DetectorError as error:
            self.error = DetectorError(f"{self.name}: {error}")
        except NanoASRError as error:
            self.error = error
        except BaseException as error:  # one recording's failure must not stop the others
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C
            self.error = NanoASRError(f"{self.name}: could not be read ({type(error).__name__}: {error})")
        with contextlib.suppress(_Abandoned):
            self._put(None)

    def _read(self, blocks: Iterator[np.ndarray], options: VadOptions | None, detector: Detector | None) -> None:
        start, read_before = time.perf_counter(), 0.0

        def count_vad_time() -> None:
            self.vad_seconds += time.perf_counter() - start - (self.read_seconds - read_before)

        for index, (first, samples, is_speech) in enumerate(cut_blocks(self._timed(blocks), options, detector)):
            count_vad_time()
            self._put(Cut(index, first / SAMPLE_RATE, (first + len(samples)) / SAMPLE_RATE, samples, is_speech))
            start, read_before = time.perf_counter(), self.read_seconds
        count_vad_time()

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
        # Not a daemon thread: Python would kill it inside a decoder's C++ at exit. It polls for the end instead.
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
    """Yield recordings in order while `workers` of them (one a core) are read. `options` None: no VAD."""
    workers = workers or min(cores(), _MAX_WORKERS)
    shared = workers > 2 or shared_processes.running
    pool = shared_processes.lend() if shared else contextlib.closing(DetectorPool(in_processes=False))
    started: list[Recording] = []
    sources = iter(sources)
    with pool as detectors:
        try:
            while True:
                for source in itertools.islice(sources, workers - len(started)):
                    recording = Recording(source)
                    job = (source, sample_rate, options, max_seconds, detectors)
                    if options is None and _is_ready(source, sample_rate):  # quicker than to start a thread
                        recording.read(*job)
                    else:
                        threading.Thread(target=recording.read, args=job, name="nanoasr-reader").start()
                    started.append(recording)
                if not started:
                    return
                yield started[0]
                started.pop(0).abandon()
        finally:
            for recording in started:
                recording.abandon()


def _is_ready(source: object, sample_rate: int | None) -> bool:
    """Return True for the samples of one block, which need neither be decoded nor resampled."""
    plain = isinstance(source, np.ndarray) and source.ndim == 1 and sample_rate in (None, SAMPLE_RATE)
    return plain and len(source) <= _BLOCK_SECONDS * SAMPLE_RATE


def cut_blocks(
    blocks: Iterator[np.ndarray], options: VadOptions | None, detector: Detector | None = None
) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Cut the blocks of one recording into (first sample, samples, cut to speech or not) of each segment.

    A recording no longer than one segment stays whole. Longer ones are cut at pauses, and only speech is kept;
    without a VAD, at quiet places, and everything is kept.
    """
    longest = int((options or VadOptions()).max_segment * SAMPLE_RATE)
    head: list[np.ndarray] = []
    for block in blocks:
        head.append(block)
        if sum(map(len, head)) > longest:
            break
    samples = head[0] if len(head) == 1 else np.concatenate([np.zeros(0, np.float32), *head])
    if len(samples) <= longest:
        if not is_silent(samples) and (options is None or has_speech(samples, options, detector)):
            yield 0, samples, False
        return
    rest = itertools.chain([samples], blocks)
    cuts = _cut_at_pauses(rest, options, detector) if options else _cut_at_quiet_places(rest, longest)
    yield from ((first, segment, options is not None) for first, segment in cuts)


def _cut_at_pauses(
    blocks: Iterator[np.ndarray], options: VadOptions, detector: Detector | None
) -> Iterator[tuple[int, np.ndarray]]:
    segmenter, held, held_from = Segmenter(options, detector), np.zeros(0, np.float32), 0
    for block in itertools.chain(blocks, [None]):
        held = held if block is None else np.concatenate([held, block])
        for span in segmenter.finish() if block is None else segmenter.push(block):
            yield span.start, held[span.start - held_from : span.end - held_from].copy()
        unneeded = max(segmenter.needed_from - held_from, 0)
        held, held_from = held[unneeded:], held_from + unneeded


def _cut_at_quiet_places(blocks: Iterator[np.ndarray], longest: int) -> Iterator[tuple[int, np.ndarray]]:
    held, held_from = np.zeros(0, np.float32), 0
    for block in itertools.chain(blocks, [None]):
        held = held if block is None else np.concatenate([held, block])
        while len(held) > longest or (block is None and len(held)):
            end = quiet_place(held[:longest], longest // 2) if len(held) > longest else len(held)
            if not is_silent(held[:end]):
                yield held_from, held[:end].copy()
            held, held_from = held[end:], held_from + end
