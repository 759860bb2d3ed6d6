"""A transcription as a web handler wants it: an iterator of how far it is, that can be stopped from outside."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..recognizer import Recognizer
from ..results.transcript import Segment, Transcript, join_texts

_EVERY = 0.1  # seconds between two updates of the page
_IN_LINE = 0.5  # seconds between two for those who only wait: if twenty are told often, that is what takes the time
_LONG_SECONDS = 60
_BYTES_PER_SECOND = 16_000  # of a file that does not say how long it is


@dataclass(frozen=True)
class Update:
    """How far a transcription is; `transcript` comes with the last one, and whether it was stopped.

    `before`: how many other recordings must be done first.
    """

    text: str
    seconds_done: float
    transcript: Transcript | None = None
    stopped: bool = False
    before: int = 0


class Turns:
    """Two lines of recordings, a few of each being transcribed: a short one never waits for the long ones."""

    def __init__(self, at_once: int):
        self._at_once = at_once
        self._changed = threading.Condition()
        self._lines: dict[bool, list[object]] = {True: [], False: []}

    @contextmanager
    def place(self, is_long: bool) -> Iterator[Callable[[float], int]]:
        """Stand in line until the block is left. What it gives waits for one's turn, for so many seconds at most, and
        tells how many must be done first."""
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
    turns: Turns, recognizer: Recognizer, path: str, seconds: float | None, stop: threading.Event, **options: object
) -> Iterator[Update]:
    """`transcribe_live`, once it is this recording's turn. `seconds`: how long it says it is."""
    if seconds is None:
        seconds = os.path.getsize(path) / _BYTES_PER_SECOND
    with turns.place(seconds > _LONG_SECONDS) as wait:
        while (before := wait(_IN_LINE)) and not stop.is_set():
            yield Update("", 0.0, before=before)
        yield from transcribe_live(recognizer, path, stop, **options)


def transcribe_live(recognizer: Recognizer, source: str, stop: threading.Event, **options: object) -> Iterator[Update]:
    """Transcribe on a thread of its own and tell how it goes, about ten times a second.

    Setting `stop` ends it with what there is so far; so does closing the iterator. Errors come out of the iterator.
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


class Stops:
    """The running job of each visitor, so that a button can stop it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, threading.Event] = {}

    def start(self, visitor: str | None) -> threading.Event:
        """A new job; one that the visitor still has running is stopped."""
        event = threading.Event()
        if visitor:
            with self._lock:
                before = self._running.get(visitor)
                self._running[visitor] = event
            if before:
                before.set()
        return event

    def stop(self, visitor: str | None) -> None:
        """Stop the visitor's job, if there is one."""
        with self._lock:
            event = self._running.get(visitor or "")
        if event:
            event.set()

    def end(self, visitor: str | None, event: threading.Event) -> None:
        """The job is over."""
        with self._lock:
            if visitor and self._running.get(visitor) is event:
                del self._running[visitor]
