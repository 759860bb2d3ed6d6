"""Decode segments from any thread together, on the worker thread, in short pieces of work.

Callers take turns: each call's segments wait in a queue of its own, and free places in the batch go to the queues in
rotation, so a short recording waits for a few decoder passes, never for somebody's whole batch.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from . import backend
from .families.base import DecodedSegment, DecodeOptions, Family, Outcome, SegmentJob, settle

MOST_ROWS = 8 if backend.on_cpu else 64
_AT_ONCE = 16.0 if backend.on_cpu else 1000.0  # seconds of audio encoded in one piece of work
# A segment waits, at most so many seconds, until half as many wait as are being decoded: to encode a few takes a GPU as
# long as to encode them all.
_PATIENCE = 0.0 if backend.on_cpu else 0.1
_PIECE = 0.02  # seconds of decoder passes before other work of the worker thread gets its turn


class Call:
    """The segments of one caller, at most `rows` of them in the batch at a time."""

    def __init__(self, rows: int):
        self.rows = rows
        self.active = 0
        self.waiting: deque[tuple[SegmentJob, Future]] = deque()

    def cancel(self) -> None:
        """Drop the segments that have not begun."""
        self.waiting.clear()


class Scheduler:
    """One batch of a family's segments, shared by all callers."""

    def __init__(self, family: Family):
        self._batch = family.new_batch()
        self.family = family
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque()
        self._running: dict[int, tuple[Call, Future]] = {}
        self._scheduled = False
        self._noticed: float | None = None  # when the first of the segments that may begin was seen to wait

    def submit(self, job: SegmentJob, call: Call | None = None) -> "Future[Outcome]":
        """Queue a segment; jobs of one `call` begin in the order in which they were submitted."""
        return self.submit_all([job], call or Call(1))[0]

    def submit_all(self, jobs: Sequence[SegmentJob], call: Call) -> "list[Future[Outcome]]":
        """Queue several segments at once, so that they can be encoded together."""
        futures: list[Future[Outcome]] = [Future() for _ in jobs]
        with self._lock:
            call.waiting.extend(zip(jobs, futures, strict=True))
            if call not in self._calls:
                self._calls.append(call)
            if self._scheduled:
                return futures
            self._scheduled = True
        backend.submit(self._work)
        return futures

    def result(self, future: "Future[Outcome]") -> DecodedSegment:
        """Wait for a segment; works from the worker thread too."""
        while backend.on_worker_thread() and not future.done():
            self._work(alone=True)
        return settle(future.result())

    def _work(self, alone: bool = False) -> None:
        try:
            until = time.perf_counter() + _PIECE
            self._admit()
            while True:
                for job, result in self._batch.step():
                    self._settle(job, result)
                if time.perf_counter() > until or not len(self._batch):
                    break
        except Exception as error:
            self._fail(error)
        if alone:
            return
        with self._lock:
            self._scheduled = bool(len(self._batch) or self._calls)
        if self._scheduled:
            backend.submit(self._work)

    def _admit(self) -> None:
        """Add waiting segments to the batch, a few at once: while they are encoded, all others stand still."""
        jobs = self._next_jobs()
        if not jobs:
            return
        try:
            self._batch.admit(jobs)
        except Exception as error:
            for job in jobs:
                self._settle(job, error)

    def _next_jobs(self) -> list[SegmentJob]:
        """Take waiting segments from the calls in rotation."""
        jobs: list[SegmentJob] = []
        with self._lock:
            rows, seconds, idle = len(self._batch), 0.0, 0
            room = max([MOST_ROWS, *(call.rows for call in self._calls)]) - rows
            bulk = room >= rows // 4
            if 0 < self._count_waiting(bulk) < rows // 2:
                self._noticed = self._noticed or time.perf_counter()
                if time.perf_counter() - self._noticed < _PATIENCE:
                    return []
            self._noticed = None
            while self._calls and len(jobs) < room and seconds < _AT_ONCE and idle < len(self._calls):
                call = self._calls[0]
                self._calls.rotate(-1)
                if not call.waiting:
                    self._calls.remove(call)
                elif call.active >= call.rows or (call.active and not bulk):
                    idle += 1
                else:
                    idle = 0
                    job, future = call.waiting.popleft()
                    if future.set_running_or_notify_cancel():
                        call.active += 1
                        self._running[id(job)] = call, future
                        jobs.append(job)
                        seconds += job.end - job.start
        return jobs

    def _count_waiting(self, bulk: bool) -> int:
        """Count the segments that may begin; a call without any in the batch need not wait for room for a few."""
        return sum(min(len(call.waiting), call.rows - call.active) for call in self._calls if bulk or not call.active)

    def _settle(self, job: SegmentJob, result: Outcome) -> None:
        with self._lock:
            call, future = self._running.pop(id(job), (None, None))
            if future is None:  # its batch failed
                return
            call.active -= 1
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def _fail(self, error: Exception) -> None:
        """Fail all segments of the batch, and start a new batch for those that wait."""
        with self._lock:
            running, self._running = self._running, {}
        self._batch = self.family.new_batch()
        for call, future in running.values():
            call.active -= 1
            future.set_exception(error)


class CompanionScheduler:
    """Schedules segments for a family after another recognizer, the companion, has drafted their texts."""

    def __init__(self, scheduler: Scheduler, companion: Scheduler, tokenize: Callable[[str], Sequence[int]]):
        self._scheduler, self._companion, self._tokenize = scheduler, companion, tokenize
        self._drafts = Call(MOST_ROWS)

    def submit_all(self, jobs: Sequence[SegmentJob], call: Call) -> "list[Future[Outcome]]":
        """Queue segments with the companion, then, with their drafts, with the family itself."""
        return [self._submit(job, call) for job in jobs]

    def _submit(self, job: SegmentJob, call: Call) -> "Future[Outcome]":
        if backend.on_worker_thread():  # it can work for one scheduler only
            return self._scheduler.submit(job, call)
        known = {language.code for language in self._companion.family.languages}
        language = job.options.language if job.options.language in known else None
        options = DecodeOptions(language=language, itn=job.options.itn, timestamps=False)
        drafted, future = self._companion.submit(replace(job, options=options, on_text=None), self._drafts), Future()

        def decode(drafted: "Future[Outcome]") -> None:
            try:
                draft = self._tokenize(self._companion.result(drafted).segment.text)
            except Exception:  # the text does not depend on it
                draft = []
            self._scheduler.submit(replace(job, draft=draft), call).add_done_callback(deliver)

        def deliver(decoded: "Future[Outcome]") -> None:
            if error := decoded.exception():
                future.set_exception(error)
            else:
                future.set_result(decoded.result())

        drafted.add_done_callback(decode)
        return future

    def result(self, future: "Future[Outcome]") -> DecodedSegment:
        """Wait for a segment."""
        return self._scheduler.result(future)
