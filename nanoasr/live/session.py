"""Text while somebody speaks: a session takes audio as it comes and tells what it hears.

A voice-activity detector opens and closes segments. While one is open, it is encoded again at fixed times of its
audio and decoded with the last hypothesis as a draft, which gives exactly what decoding anew would, for little more
than one pass. Words that successive hypotheses agree on are committed: they stand until the segment ends, and its
final text is then what `Recognizer.transcribe` gives for that stretch of sound.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .. import backend
from ..audio.features import FRAME_LENGTH
from ..audio.files import SAMPLE_RATE, Resampler
from ..audio.vad import Segmenter, Span, is_silent
from ..checkpoint.load import Checkpoint
from ..decode.generate import Generated
from ..errors import AudioError, OptionError
from ..pipeline import Wish
from ..results.transcript import Segment, Timings, Transcript, join_texts
from ..results.words import split_words
from .agreement import Revision, count_ready
from .events import Latency, LiveOptions, Update
from .hypotheses import Guesser, OpenSegment

__all__ = ["Latency", "LiveOptions", "LiveSession", "Update"]

_HOP = SAMPLE_RATE // 10  # what happens, happens at multiples of this, however the audio was chunked
_WAITED = 0.02  # seconds between two pushes that tell that whoever pushes had nothing more waiting


class LiveSession:
    """One speaker's stream of sound. Made by `Recognizer.stream`; any thread may use it, one call at a time.

    Use it in a `with` block, or call `close` when you no longer want it: that also stops what it is doing.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        wish: Wish,
        options: LiveOptions,
        sample_rate: int = SAMPLE_RATE,
        on_update: Callable[[Update], None] | None = None,
    ):
        self.sample_rate = sample_rate
        self.options = options
        self._on_update = on_update
        self._resampler = Resampler(sample_rate)
        self._segmenter = Segmenter(options.vad)
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._guesser = Guesser(checkpoint, wish, self._closed.is_set)
        self._language = wish.language
        self._rest = np.zeros(0, np.float32)  # heard, but less than a hop
        self._held, self._held_from = np.zeros(0, np.float32), 0  # what a segment may still need
        self._head: list[np.ndarray] | None = []  # everything, while it is no longer than a segment
        self._position = self._hops = 0
        self._open: OpenSegment | None = None
        self._segments: list[Segment] = []
        self._count = 0  # segments that ended, those without text included
        self.latency, self._timings = Latency(), Timings()
        self._transcript: Transcript | None = None
        self._began = self._left = 0.0  # by the clock: when the sound began, and when the last push was done

    def push(self, samples: np.ndarray) -> Update | None:
        """Hear more: float samples in [-1, 1] (or int16), mono, at `sample_rate`, as many as there are.

        What is new comes back, None when nothing is; after `close` or `finish` always None.
        """
        samples = _checked(samples)
        with self._lock:
            if self._closed.is_set():
                return None
            update = self._merged(self._hear(self._resampler.push(samples)))
            self._left = time.perf_counter()
            return update

    @property
    def open_since(self) -> float | None:
        """Where the open segment begins, in seconds; None while nobody speaks. It may be known before any text."""
        segment = self._open
        return segment.start / SAMPLE_RATE if segment else None

    def finish(self) -> Transcript:
        """The sound is over: the whole as a Transcript, as `transcribe` gives it. The session is closed."""
        with self._lock:
            if self._transcript is None:
                transcript = None if self._closed.is_set() else self._finish()
                if self._closed.is_set() or transcript is None:  # perhaps meanwhile
                    raise OptionError("this session was closed before its end: there is no transcript")
                self._transcript = transcript
                self._closed.set()
                self._forget()
            return self._transcript

    def close(self) -> None:
        """Stop at once, and free what is held."""
        self._closed.set()
        with self._lock:
            self._forget()

    def __enter__(self) -> "LiveSession":
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def _forget(self) -> None:
        self._rest = self._held = np.zeros(0, np.float32)
        self._head = self._open = None
        self._segments = []

    # hearing

    def _hear(self, samples: np.ndarray) -> list[Update]:
        arrived = time.perf_counter()
        heard = np.concatenate([self._rest, samples])
        hops = len(heard) // _HOP
        self._rest = heard[hops * _HOP :].copy()
        if arrived - self._left > _WAITED:
            self._began = arrived - (self._position + len(heard)) / SAMPLE_RATE
        every = round(self.options.interval * SAMPLE_RATE / _HOP)
        updates = []
        for i in range(hops):
            self._hops += 1
            due = self._hops % every == 0
            late = self.options.realtime and (hops - i > every or self._behind() > self.options.interval)
            update = self._take(heard[i * _HOP : (i + 1) * _HOP], due, late, arrived)
            if self._closed.is_set():
                return []
            if update:
                updates.append(update)
        return updates

    def _behind(self) -> float:
        """How late the sound is that is heard now, since work took longer than it did."""
        return time.perf_counter() - self._began - self._position / SAMPLE_RATE

    def _take(self, samples: np.ndarray, due: bool, late: bool, arrived: float) -> Update | None:
        began = time.perf_counter()
        self._keep(samples)
        ended = [self._end(span) for span in self._segmenter.push(samples)]
        changed = self._look_for_open()
        self._drop()
        committed: tuple[float, ...] = ()
        if self._open and due and self._open.is_due(self._position):
            if late:
                self.latency = replace(self.latency, skipped=self.latency.skipped + 1)
            else:
                self._open.guessed_at = self._position
                before = self._open.text.shown
                committed = self._guess(self._open)
                changed = changed or self._open.text.shown != before
        now = time.perf_counter()
        self.latency = replace(self.latency, work=self.latency.work + now - began)
        return self._update(ended, committed, now - arrived) if ended or changed else None

    def _keep(self, samples: np.ndarray) -> None:
        self._position += len(samples)
        self._held = np.concatenate([self._held, samples])
        if self._head is not None:
            self._head.append(samples)
            if self._position > self.options.vad.max_segment * SAMPLE_RATE:
                self._head = None

    def _drop(self) -> None:
        """Let go of the sound that no segment will need."""
        start = self._segmenter.needed_from
        if start - self._held_from > _HOP:
            self._held, self._held_from = self._held[start - self._held_from :].copy(), start

    def _look_for_open(self) -> bool:
        """Whether text that was shown is gone because its segment was none, or begins elsewhere."""
        start = self._segmenter.start if self._segmenter.speaking else None
        if self._open and self._open.start == start:
            return False
        gone = bool(self._open and any(self._open.text.shown))
        self._open = None if start is None else OpenSegment(start, self.options.agreement)
        return gone

    # decoding

    def _guess(self, segment: OpenSegment) -> tuple[float, ...]:
        """Make a new hypothesis about the open segment -> how late each word is that it commits."""
        samples = self._held[segment.start - self._held_from :]
        if len(samples) < FRAME_LENGTH:
            return ()
        guess = backend.run(self._guesser.guess, segment, samples, self._count)
        if guess is None:
            return ()
        self._count_in(guess.made)
        found, latency = guess.segment, self.latency
        if found.text and not segment.text.shown[1] and not segment.text.shown[0]:
            latency = replace(latency, first_text=len(samples) / SAMPLE_RATE)
        self.latency = replace(latency, passes=latency.passes + 1)
        now = self._position / SAMPLE_RATE
        words = split_words(found.text, found.tokens)
        ready = count_ready(words, now, self.options.hold, self.options.confidence)
        new = segment.text.add(words, ready)
        return tuple(now - words[i].end for i in new if words[i].end is not None)

    def _end(self, span: Span) -> tuple[Segment, Revision | None] | None:
        """Decode a segment that is over, as `transcribe` does."""
        known = self._open is not None and self._open.start == span.start
        segment = self._open if known else OpenSegment(span.start, self.options.agreement)
        samples = self._held[span.start - self._held_from : span.end - self._held_from]
        found = backend.run(self._guesser.finish, samples, span.start, self._count, segment.ids)
        self._count += 1
        self._open = None
        backend.give_back_memory()
        if found is None:
            return None
        self._count_in(found.made)
        self._timings += found.timings
        revision = segment.text.revision(split_words(found.segment.text))
        final = replace(found.segment, revised=revision is not None)
        if final.tokens:
            self._segments.append(final)
        return final, revision

    def _count_in(self, made: Generated) -> None:
        latency = self.latency
        self.latency = replace(
            latency,
            drafted=latency.drafted + made.drafted,
            accepted=latency.accepted + made.accepted,
            steps=latency.steps + made.steps,
            tokens=latency.tokens + len(made.ids),
        )

    # telling

    def _update(
        self, ended: Sequence[tuple[Segment, Revision | None] | None], committed: tuple[float, ...], late: float
    ) -> Update:
        found = [pair for pair in ended if pair]
        self.latency = replace(self.latency, audio=self._position / SAMPLE_RATE, update=late, commit=committed)
        shown = self._open.text.shown if self._open else ("", "")
        update = Update(
            committed=shown[0],
            tentative=shown[1],
            segments=tuple(segment for segment, _ in found if segment.tokens),
            revisions=tuple(revision for _, revision in found if revision),
            start=self._open.start / SAMPLE_RATE if self._open else None,
            latency=self.latency,
        )
        if self._on_update:
            self._on_update(update)
        return update

    @staticmethod
    def _merged(updates: list[Update]) -> Update | None:
        if not updates:
            return None
        return replace(
            updates[-1],
            segments=tuple(segment for update in updates for segment in update.segments),
            revisions=tuple(revision for update in updates for revision in update.revisions),
            latency=replace(
                updates[-1].latency, commit=tuple(late for update in updates for late in update.latency.commit)
            ),
        )

    def _finish(self) -> Transcript | None:
        began = time.perf_counter()
        self._hear(self._resampler.finish())
        rest, self._rest = self._rest, self._rest[:0]
        self._keep(rest)
        ended = [self._end(span) for span in [*self._segmenter.push(rest), *self._segmenter.finish()]]
        if ended:
            self._update(ended, (), time.perf_counter() - began)
        if self._head and self._count and not is_silent(whole := np.concatenate(self._head)):
            # no longer than a segment: `transcribe` decodes such a recording whole and untrimmed
            told, draft = self._segments, [token.id for segment in self._segments for token in segment.tokens]
            found = backend.run(self._guesser.finish, whole, 0, 0, draft)
            if found is None:
                return None
            self._count_in(found.made)
            self._timings += found.timings
            revised = found.segment.text != join_texts(segment.text for segment in told)
            self._segments = [replace(found.segment, revised=revised)] if found.segment.tokens else []
        duration = self._position / SAMPLE_RATE
        work = self.latency.work + time.perf_counter() - began
        return Transcript(
            text=join_texts(segment.text for segment in self._segments),
            segments=tuple(self._segments),
            language=self._language,
            duration=duration,
            timings=self._timings + Timings(total=work, audio_seconds=duration, peak_memory=backend.peak_memory()),
            name="live",
        )


def _checked(samples: np.ndarray) -> np.ndarray:
    samples = np.asarray(samples)
    if samples.ndim == 2 and 1 in samples.shape:
        samples = samples.reshape(-1)
    if samples.ndim != 1 or samples.dtype.kind not in "fi":
        raise AudioError(f"live: expected mono samples in one row, got an array {samples.shape} of {samples.dtype}")
    if samples.dtype.kind == "i":
        samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
    samples = samples.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise AudioError("live: samples that are no numbers (NaN or infinity)")
    return samples
