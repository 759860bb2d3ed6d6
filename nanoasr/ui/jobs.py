"""Jobs of visitors: transcriptions as iterators of their progress, a fair queue for them, and stopping them."""

import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..recognizer import Recognizer
from ..results.transcript import Segment, Transcript, join_texts

_EVERY = 0.1  # seconds between two updates of the page
_IN_LINE = 0.5  # seconds between two for those who only wait: updates for twenty visitors take time, too
_LONG_SECONDS = 60
_MOST_VISITORS = 1000
_BYTES_PER_SECOND = 16_000  # of a file that does not say how long it is


@dataclass(frozen=True)
class Update:
    """Progress of a transcription; the last update has the `transcript`, and whether it was stopped.

    `before` is the number of recordings ahead in the queue.
    """

    text: str
    seconds_done: float
    transcript: Transcript | None = None
    stopped: bool = False
    before: int = 0


class FairQueue:
    """Two queues, for short and long recordings, each with a limited number at work: short ones never wait for long."""

    def __init__(self, at_once: int):
        self._at_once = at_once
        self._changed = threading.Condition()
        self._lines: dict[bool, list[object]] = {True: [], False: []}

    @contextmanager
    def place(self, is_long: bool) -> Iterator[Callable[[float], int]]:
        """Hold a place in a queue. The function it gives waits up to some seconds for one's turn, and returns how many
        are still ahead."""
        ticket, line = object(), self._lines[is_long]
        with self._changed:
            line.append(ticket)

        def before() -> int:
            return max(line.index(ticket) - self._at_once + 1, 0)

        def wait(seconds: float) -> int:
            with self._changed:
                self._changed.wait_for(lambda: not before(), seconds)
                return before()

        try:
            yield wait
        finally:
            with self._changed:
                line.remove(ticket)
                self._changed.notify_all()


def transcribe_in_turn(
    waiting: FairQueue,
    recognizer: Recognizer,
    path: str,
    seconds: float | None,
    stop: threading.Event,
    **options: object,
) -> Iterator[Update]:
    """Wait for a turn, then transcribe; `seconds` is the recording's length where its header states it."""
    if seconds is None:
        seconds = os.path.getsize(path) / _BYTES_PER_SECOND
    with waiting.place(seconds > _LONG_SECONDS) as wait:
        while (before := wait(_IN_LINE)) and not stop.is_set():
            yield Update("", 0.0, before=before)
        yield from transcribe_with_progress(recognizer, path, stop, **options)


def transcribe_with_progress(
    recognizer: Recognizer, source: str, stop: threading.Event, **options: object
) -> Iterator[Update]:
    """Transcribe on a thread of its own, with about ten updates a second.

    Setting `stop` or closing the iterator ends it with the text so far. Errors are raised by the iterator.
    """
    news: queue.Queue[Callable[[], None]] = queue.Queue()
    segments: list[Segment] = []
    current: list[str] = []
    done = [0.0]
    outcome: list[Transcript | Exception] = []
    over = threading.Event()

    def finish_segment(segment: Segment) -> None:
        segments.append(segment)
        current.clear()

    def set_done(seconds: float) -> None:
        current.clear()
        done[0] = seconds

    def work() -> None:
        try:
            found = recognizer.transcribe(
                source,
                on_token=lambda piece: news.put(lambda: current.append(piece)),
                on_segment=lambda segment: news.put(lambda: finish_segment(segment)),
                on_progress=lambda seconds: news.put(lambda: set_done(seconds)),
                cancelled=stop.is_set,
                **options,
            )
        except Exception as error:
            found = error
        except BaseException as error:  # of a native library: Gradio would not answer the request
            found = RuntimeError(f"{type(error).__name__}: {error}")
        news.put(lambda: outcome.append(found))
        over.set()

    threading.Thread(target=work, name="nanoasr-transcribe", daemon=True).start()
    try:
        while not outcome:
            began = time.monotonic()
            _take_all(news)
            if not outcome:
                yield Update(join_texts([*(segment.text for segment in segments), "".join(current)]), done[0])
                over.wait(max(0.0, _EVERY - (time.monotonic() - began)))
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        yield Update(outcome[0].text, outcome[0].duration, outcome[0], stop.is_set())
    finally:
        stop.set()


def _take_all(news: "queue.Queue[Callable[[], None]]") -> None:
    try:
        news.get(timeout=0.5)()
        while True:
            news.get_nowait()()
    except queue.Empty:
        pass


@dataclass(eq=False)
class Job:
    """Work for one visitor on one recording; `abandoned` once its results are no longer wanted."""

    recording: object
    stop: threading.Event
    abandoned: bool = False


class Jobs:
    """The last job of each visitor, which owns the results on the visitor's page."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: OrderedDict[str, Job] = OrderedDict()

    def start(self, visitor: str | None, recording: object = None) -> Job:
        """Start a job; the visitor's last one is abandoned."""
        job = Job(recording, threading.Event())
        if visitor:
            with self._lock:
                self._abandon(visitor)
                self._last[visitor] = job
                while len(self._last) > _MOST_VISITORS:
                    self._last.popitem(last=False)
        return job

    def choose(self, visitor: str | None, recording: object) -> bool:
        """Note that a visitor chose a recording. True if the results on the page belong to another one."""
        with self._lock:
            job = self._last.get(visitor or "")
            if job is None or job.recording == recording:
                return False
            self._abandon(visitor or "")
            return True

    def has_any(self, visitor: str | None) -> bool:
        """Whether a visitor has started anything."""
        with self._lock:
            return (visitor or "") in self._last

    def stop(self, visitor: str | None) -> None:
        """Stop the visitor's job, if there is one; its results so far are kept."""
        with self._lock:
            job = self._last.get(visitor or "")
        if job:
            job.stop.set()

    def _abandon(self, visitor: str) -> None:
        if job := self._last.pop(visitor, None):
            job.abandoned = True
            job.stop.set()
