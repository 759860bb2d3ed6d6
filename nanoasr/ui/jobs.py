"""A transcription as a web handler wants it: an iterator of how far it is, that can be stopped from outside."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..recognizer import Recognizer
from ..results import Segment, Transcript, join_texts

_EVERY = 0.1  # seconds between two updates of the page


@dataclass(frozen=True)
class Update:
    """How far a transcription is; `transcript` comes with the last one, and whether it was stopped."""

    text: str
    seconds_done: float
    transcript: Transcript | None = None
    stopped: bool = False


def transcribe_live(recognizer: Recognizer, source: str, stop: threading.Event, **options: object) -> Iterator[Update]:
    """Transcribe on a thread of its own and tell how it goes, about ten times a second.

    Setting `stop` ends it with what there is so far; so does closing the iterator. Errors come out of the iterator.
    """
    news: queue.Queue[Callable[[], None]] = queue.Queue()
    segments: list[Segment] = []
    current: list[str] = []
    done = [0.0]
    outcome: list[Transcript | BaseException] = []

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
        except BaseException as error:
            found = error
        news.put(lambda: outcome.append(found))

    threading.Thread(target=work, name="nanoasr-transcribe", daemon=True).start()
    try:
        while not outcome:
            began = time.monotonic()
            _take_all(news)
            if not outcome:
                yield Update(join_texts([*(segment.text for segment in segments), "".join(current)]), done[0])
                time.sleep(max(0.0, _EVERY - (time.monotonic() - began)))
        if isinstance(outcome[0], BaseException):
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
