"""One visitor's microphone: sound comes in pieces, and what is known of it can be asked for at any time."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import AudioError, NanoASRError
from ..live.session import Latency, LiveOptions, LiveSession, Update
from ..live.word_times import WordTime, WordTimes
from ..recognizer import Recognizer
from ..results.transcript import Segment, Transcript, join_texts
from .problems import told

_GONE_AFTER = 30.0  # seconds without sound: a microphone that is on sends some all the time
_MOST_EARLY = 16  # pieces that may overtake another
_UNDER_WAY = 2.0  # seconds that a piece which others overtook is waited for


@dataclass(frozen=True)
class Heard:
    """What is known so far.

    seconds     received
    segments    that are over; after them come `committed` and `tentative` of the open one
    late        (seconds heard, how late the text came) of each update
    waits       how long ago the end of each word was when it was committed
    words       of the segments that are over, and when they were shown
    problem     what went wrong, if something did: then nothing more is heard
    """

    seconds: float = 0.0
    segments: tuple[Segment, ...] = ()
    committed: str = ""
    tentative: str = ""
    late: tuple[tuple[float, float], ...] = ()
    waits: tuple[float, ...] = ()
    words: tuple[WordTime, ...] = ()
    latency: Latency = field(default_factory=Latency)
    problem: str | None = None
    transcript: Transcript | None = None


class Listening:
    """Takes the sound of one microphone, on a thread of its own, so that nobody who sends it has to wait.

    It ends with `finish` or `close`, and by itself when no sound has come for half a minute.
    """

    def __init__(self, recognizer: Callable[[], Recognizer], most_seconds: float, **options: object):
        self._recognizer, self._most_seconds, self._options = recognizer, most_seconds, options
        self._pieces: queue.Queue[tuple[int, np.ndarray] | None] = queue.Queue()
        self._heard, self._word_times = Heard(), WordTimes()
        self._changed = threading.Condition(threading.RLock())
        self._early: dict[int, tuple[int, np.ndarray]] = {}  # pieces that overtook another
        self._expected = 0
        self._waiting = 0  # pieces that are not dealt with yet
        self._closed = False
        self._session: LiveSession | None = None
        self._thread = threading.Thread(target=self._work, name="nanoasr-live", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether nothing more will be known."""
        return not self._thread.is_alive()

    def hear(self, number: int, rate: int, samples: np.ndarray, patience: float = 0.0) -> Heard:
        """Take piece `number`, counted from 0: mono samples in [-1, 1]. Wait up to `patience` seconds for its text."""
        with self._changed:
            if self._expected <= number < self._expected + _MOST_EARLY:
                self._early[number] = rate, samples
            while self._expected in self._early:
                self._accept(*self._early.pop(self._expected))
                self._expected += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting or self.over, patience)
            return self._heard

    def _accept(self, rate: int, samples: np.ndarray) -> None:
        if self._heard.problem is not None or self._closed:
            return
        seconds = self._heard.seconds + len(samples) / max(rate, 1)
        if seconds > self._most_seconds:
            limit = f"The limit of {self._most_seconds / 60:g} minutes is reached: what was said until then stays."
            self._tell(problem=limit)
            self._pieces.put(None)
            return
        self._tell(seconds=seconds)
        self._waiting += 1
        self._pieces.put((rate, samples))

    @property
    def heard(self) -> Heard:
        """What is known now."""
        return self._heard

    def finish(self) -> None:
        """The sound is over: `heard` has the transcript once `over`. A piece that is under way is waited for."""
        with self._changed:
            self._changed.wait_for(lambda: not self._early, _UNDER_WAY)
        self._pieces.put(None)

    def wait(self, seconds: float) -> Heard:
        """What is known, at the latest after so many seconds, sooner if it is all."""
        self._thread.join(seconds)
        return self._heard

    def close(self) -> None:
        """Nobody wants to know any more."""
        self._closed = True
        self._pieces.put(None)
        if self._session:
            self._session.close()

    def _work(self) -> None:
        try:
            while piece := self._next():
                self._push(*piece)
                with self._changed:
                    self._waiting -= 1
                    self._changed.notify_all()
            if self._session and not self._closed:
                self._tell(transcript=self._as_told(self._session.finish()))
        except NanoASRError as error:
            if not self._closed:
                self._tell(problem=str(error))
        except Exception as error:
            self._tell(problem=told(error, "listening failed"))
        finally:
            if self._session:
                self._session.close()
            with self._changed:
                self._waiting = 0
                self._changed.notify_all()

    def _next(self) -> tuple[int, np.ndarray] | None:
        if self._closed:
            return None
        try:
            return self._pieces.get(timeout=_GONE_AFTER)
        except queue.Empty:
            self._tell(problem="No sound has come for a while, so this was ended.")
            return None

    def _push(self, rate: int, samples: np.ndarray) -> None:
        if self._session is None:
            self._session = self._recognizer().stream(
                sample_rate=rate, options=LiveOptions(realtime=True), on_update=self._take, **self._options
            )
        if rate != self._session.sample_rate:
            raise AudioError("The microphone was changed meanwhile: press Stop, then Start again.")
        self._session.push(samples)

    def _take(self, update: Update) -> None:
        heard, now = self._heard, update.latency.audio
        self._tell(
            segments=heard.segments + update.segments,
            committed=update.committed,
            tentative=update.tentative,
            late=(*heard.late, (now, update.latency.update)),
            waits=heard.waits + update.latency.commit,
            words=(*heard.words, *self._word_times.add(update)),
            latency=update.latency,
        )

    def _as_told(self, found: Transcript) -> Transcript:
        """The text as it was shown; `finish` hears a short recording anew as a whole, and may word it otherwise."""
        segments = self._heard.segments
        return replace(found, segments=segments, text=join_texts(segment.text for segment in segments))

    def _tell(self, **news: object) -> None:
        with self._changed:
            self._heard = replace(self._heard, **news)


class Microphones:
    """Who is being listened to: one microphone a visitor, and only so many at once."""

    def __init__(self, at_once: int):
        self._at_once = at_once
        self._lock = threading.Lock()
        self._on: dict[str, Listening] = {}

    def start(self, visitor: str, make: Callable[[], Listening]) -> Listening:
        """Listen to another; what the visitor had on before is closed."""
        before = self.end(visitor)
        if before:
            before.close()
        with self._lock:
            self._on = {name: listening for name, listening in self._on.items() if not listening.over}
            if len(self._on) >= self._at_once:
                raise AudioError(
                    f"{self._at_once} microphones are being listened to already, and that is the most. "
                    "Press Stop and try again in a moment."
                )
            self._on[visitor] = make()
            return self._on[visitor]

    def of(self, visitor: str | None) -> Listening | None:
        """The visitor's, if there is one."""
        with self._lock:
            return self._on.get(visitor or "")

    def end(self, visitor: str | None) -> Listening | None:
        """The visitor's, if there is one, which is forgotten here."""
        with self._lock:
            return self._on.pop(visitor or "", None)
