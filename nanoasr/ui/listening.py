"""One visitor's microphone: sound comes in pieces, and its text so far can be asked for at any time."""

import queue
import threading
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import AudioError, NanoASRError
from ..live.session import Latency, LiveOptions, LiveSession, Update
from ..live.word_times import WordTime, WordTimes
from ..recognizer import Recognizer
from ..results.transcript import Segment, Transcript, join_texts
from .microphone import Piece
from .problems import user_message

_GONE_AFTER = 30.0  # seconds without sound: a microphone that is on sends some all the time
_GAP_PATIENCE = 2.0  # seconds that a missing piece is waited for before it counts as lost
_MOST_EARLY = 4 << 20  # bytes of pieces that wait for a missing one
_MOST_WAITING = 8 << 20  # bytes of pieces that wait to be transcribed


@dataclass(frozen=True)
class LiveState:
    """The state of a microphone's text.

    seconds     of sound received, with what was lost in between
    lost        seconds of sound that never arrived, or for which there was no time
    segments    that are over; after them come `committed` and `tentative` of the open one
    late        (seconds of sound, how late the text came) of each update
    waits       how long ago the end of each word was when it was committed
    words       of the segments that are over, and when they were shown
    problem     the error that ended the session, if there was one
    """

    seconds: float = 0.0
    lost: float = 0.0
    segments: tuple[Segment, ...] = ()
    committed: str = ""
    tentative: str = ""
    late: tuple[tuple[float, float], ...] = ()
    waits: tuple[float, ...] = ()
    words: tuple[WordTime, ...] = ()
    latency: Latency = field(default_factory=Latency)
    problem: str | None = None
    transcript: Transcript | None = None


class MicrophoneSession:
    """Transcribes the sound of one microphone on a thread of its own, so that requests need not wait.

    It ends with `finish` or `close`, and by itself when no sound has come for half a minute. Where a piece does not
    arrive, silence takes its place.
    """

    def __init__(
        self, recognizer: Callable[[], Recognizer], max_seconds: float, path: Path | None = None, **options: object
    ):
        self.path = path  # where the sound is kept, if anywhere
        self._file: wave.Wave_write | None = None
        self._recognizer, self._max_seconds, self._options = recognizer, max_seconds, options
        self._pieces: queue.Queue[Piece | None] = queue.Queue()
        self._state, self._word_times = LiveState(), WordTimes()
        self._changed = threading.Condition(threading.RLock())
        self._early: dict[int, Piece] = {}  # pieces that arrived before an earlier one
        self._gap_since: float | None = None
        self._expected = 0  # number of the next piece
        self._waiting = 0  # bytes of pieces that are not transcribed yet
        self._closed = False
        self._session: LiveSession | None = None
        self._pushed = 0  # samples
        self._thread = threading.Thread(target=self._work, name="nanoasr-live", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether the session has ended, with a transcript or a problem."""
        return not self._thread.is_alive()

    def push(self, piece: Piece, patience: float = 0.0) -> LiveState:
        """Accept a piece, numbered from 0. Wait up to `patience` seconds for its text."""
        with self._changed:
            if piece.number >= self._expected:
                self._early[piece.number] = piece
            self._accept_early(skip=self._gap_lasts())
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting or self.over, patience)
            return self._state

    def _gap_lasts(self) -> bool:
        """Whether a missing piece has been waited for long enough, in time or in bytes."""
        if self._expected in self._early:
            self._gap_since = None
        elif self._gap_since is None:
            self._gap_since = time.monotonic()
        waiting = sum(piece.samples.nbytes for piece in self._early.values())
        return waiting > _MOST_EARLY or (
            self._gap_since is not None and time.monotonic() - self._gap_since > _GAP_PATIENCE
        )

    def _accept_early(self, skip: bool) -> None:
        """Accept the pieces that are next; those behind a gap, too, with `skip`."""
        while self._early and (skip or self._expected in self._early):
            number = min(self._early)
            self._accept(self._early.pop(number))
            self._expected, self._gap_since = number + 1, None

    def _accept(self, piece: Piece) -> None:
        if self._state.problem is not None or self._closed:
            return
        seconds = (piece.offset + len(piece.samples)) / piece.rate
        if seconds > self._max_seconds:
            limit = f"The limit of {self._max_seconds / 60:g} minutes is reached: the text until then is kept."
            self._tell(problem=limit)
            self._pieces.put(None)
        elif self._waiting + piece.samples.nbytes <= _MOST_WAITING:
            self._tell(seconds=seconds)
            self._waiting += piece.samples.nbytes
            self._pieces.put(piece)

    @property
    def state(self) -> LiveState:
        """The state now."""
        return self._state

    def finish(self) -> None:
        """End the sound: `state` has the transcript once `over`. Missing pieces are waited for."""
        with self._changed:
            self._changed.wait_for(lambda: not self._early, _GAP_PATIENCE)
            self._accept_early(skip=True)
        self._pieces.put(None)

    def wait(self, seconds: float) -> LiveState:
        """Wait up to `seconds` for the end and return the state."""
        self._thread.join(seconds)
        return self._state

    def close(self) -> None:
        """Stop at once; no transcript is made."""
        self._closed = True
        self._pieces.put(None)
        if self._session:
            self._session.close()

    def _work(self) -> None:
        try:
            while piece := self._next():
                self._push(piece)
                with self._changed:
                    self._waiting -= piece.samples.nbytes
                    self._changed.notify_all()
            if self._session and not self._closed:
                self._tell(transcript=self._as_shown(self._session.finish()))
        except NanoASRError as error:
            if not self._closed:
                self._tell(problem=str(error))
        except BaseException as error:  # of a native library, too: the page must not wait for ever
            self._tell(problem=user_message(error, "a live session failed"))
        finally:
            if self._session:
                self._session.close()
            if self._file:
                self._file.close()
            with self._changed:
                self._waiting = 0
                self._changed.notify_all()

    def _next(self) -> Piece | None:
        if self._closed:
            return None
        try:
            return self._pieces.get(timeout=_GONE_AFTER)
        except queue.Empty:
            self._tell(problem="No sound has come for a while, so this was ended.")
            return None

    def _push(self, piece: Piece) -> None:
        if self._session is None:
            self._session = self._recognizer().stream(
                sample_rate=piece.rate, options=LiveOptions(realtime=True), on_update=self._add_update, **self._options
            )
        if piece.rate != self._session.sample_rate:
            raise AudioError("The microphone was changed meanwhile: press Stop, then Start again.")
        gap = piece.offset - self._pushed
        if gap > 0:
            self._tell(lost=self._state.lost + gap / piece.rate)
        for start in range(0, gap, piece.rate):
            self._add(np.zeros(min(piece.rate, gap - start), np.int16))
        self._add(piece.samples)
        self._pushed = max(self._pushed, piece.offset) + len(piece.samples)

    def _add(self, samples: np.ndarray) -> None:
        if self.path and not self._file:
            self.path.parent.mkdir(parents=True)
            self._file = wave.open(str(self.path), "wb")  # noqa: SIM115 (closed when the session ends)
            self._file.setparams((1, 2, self._session.sample_rate, 0, "NONE", ""))
        if self._file:
            self._file.writeframesraw(samples.astype("<i2").tobytes())
        self._session.push(samples.astype(np.float32) / 32768)

    def _add_update(self, update: Update) -> None:
        state, now = self._state, update.latency.audio
        self._tell(
            segments=state.segments + update.segments,
            committed=update.committed,
            tentative=update.tentative,
            late=(*state.late, (now, update.latency.update)),
            waits=state.waits + update.latency.commit,
            words=(*state.words, *self._word_times.add(update)),
            latency=update.latency,
        )

    def _as_shown(self, found: Transcript) -> Transcript:
        """The text as it was shown: `finish` decodes a short recording again as a whole, which may change words."""
        segments = self._state.segments
        return replace(found, segments=segments, text=join_texts(segment.text for segment in segments))

    def _tell(self, **news: object) -> None:
        with self._changed:
            self._state = replace(self._state, **news)


class Microphones:
    """The microphones in use: one per visitor, and a limited number of them."""

    def __init__(self, limit: int):
        self._limit = limit
        self._lock = threading.Lock()
        self._on: dict[str, MicrophoneSession] = {}

    def start(self, visitor: str, create: Callable[[], MicrophoneSession]) -> MicrophoneSession:
        """Start another; the visitor's last one is closed."""
        before = self.end(visitor)
        if before:
            before.close()
        with self._lock:
            self._on = {name: listening for name, listening in self._on.items() if not listening.over}
            if len(self._on) >= self._limit:
                raise AudioError(
                    f"{self._limit} microphones are in use already, and that is the limit. Try again in a moment."
                )
            self._on[visitor] = create()
            return self._on[visitor]

    def of(self, visitor: str | None) -> MicrophoneSession | None:
        """The visitor's microphone, if there is one."""
        with self._lock:
            return self._on.get(visitor or "")

    def end(self, visitor: str | None) -> MicrophoneSession | None:
        """Forget the visitor's microphone and return it, if there is one."""
        with self._lock:
            return self._on.pop(visitor or "", None)
