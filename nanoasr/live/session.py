"""Live transcription: a session takes audio as it arrives, and commits its text word by word.

Voice activity detection opens and closes segments. An open segment is encoded again at fixed times of its audio, and
decoded with its last hypothesis as the draft: that gives the same text as decoding anew, mostly in one pass. Words
that successive hypotheses agree on are committed and stay until the segment ends; its final text is what
`Recognizer.transcribe` gives for the same samples.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from .. import backend
from ..audio.features import FRAME_LENGTH
from ..audio.files import SAMPLE_RATE, Resampler
from ..audio.vad import Segmenter, Span, is_silent
from ..errors import AudioError, OptionError
from ..families.base import DecodeOptions
from ..pipeline import heard_language
from ..results import Segment, Tags, Timings, Transcript, join_texts
from ..results.words import split_words
from ..scheduler import Scheduler
from ..speakers import SpeakerTracker
from .agreement import Revision, count_ready
from .events import Latency, LiveOptions, Update
from .hypotheses import IncrementalDecoder, OpenSegment
from .view import LiveView

__all__ = ["Latency", "LiveOptions", "LiveSession", "Update"]

_HOP = SAMPLE_RATE // 10  # audio is processed in hops of this length, so that its chunks do not matter
_IDLE = 0.02  # seconds between two pushes after which the caller is known to have had no more audio waiting


class LiveSession:
    """One live audio stream; `Recognizer.stream` makes it. Any thread may use it, one call at a time.

    Use it in a `with` block, or call `close` when it is no longer needed: that also stops work in progress.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        decoding: DecodeOptions,
        options: LiveOptions,
        sample_rate: int = SAMPLE_RATE,
        on_update: Callable[[Update], None] | None = None,
        speakers: bool | int = False,
    ):
        if not isinstance(options, LiveOptions):
            raise OptionError(f"options={options!r:.80}: give LiveOptions(…)")
        if not (on_update is None or callable(on_update)):
            raise OptionError(f"on_update={on_update!r:.80}: give a function of an Update")
        self.sample_rate = sample_rate
        self.options = options
        self._on_update, self._view = on_update, None
        self._resampler = Resampler(sample_rate)
        self._segmenter = Segmenter(options.vad)
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread: int | None = None  # the one that holds the lock
        self._decoder = IncrementalDecoder(scheduler, decoding, self._closed.is_set)
        self._language, self._heard = decoding.language, []  # the one asked for, and those of the segments
        self._tracker = None if speakers is False else SpeakerTracker(speakers)
        self._pending = np.zeros(0, np.float32)  # received, but less than a hop
        self._held, self._held_from = np.zeros(0, np.float32), 0  # samples that a segment may still need
        self._head: list[np.ndarray] | None = []  # all samples, as long as they fit in a segment
        self._position = self._hops = 0
        self._open: OpenSegment | None = None
        self._segments: list[Segment] = []
        self._count = 0  # segments that ended, including those without text
        self.latency, self._timings = Latency(), Timings()
        self._transcript: Transcript | None = None
        self._began = self._returned = 0.0  # clock times: when the audio began, and when the last push returned

    def push(self, samples: np.ndarray) -> Update | None:
        """Add audio: any number of mono samples at `sample_rate`, floats in [-1, 1] or int16.

        Returns what changed, or None if nothing did; always None after `close` or `finish`.
        """
        samples = _checked(samples)
        with self._exclusive("push"):
            if self._closed.is_set():
                return None
            update = _merged(self._process(self._resampler.push(samples)))
            self._returned = time.perf_counter()
            return update

    @property
    def open_since(self) -> float | None:
        """Where the open segment begins, in seconds; None while nobody speaks. It may be known before any text."""
        segment = self._open
        return segment.start / SAMPLE_RATE if segment else None

    def finish(self) -> Transcript:
        """End the audio, close the session, and return the Transcript that `transcribe` gives for all of it."""
        with self._exclusive("finish"):
            if self._transcript is None:
                transcript = None if self._closed.is_set() else self._finish()
                if self._closed.is_set() or transcript is None:
                    raise OptionError("this session was closed before its end: there is no transcript")
                self._transcript = transcript
                self._closed.set()
            return self._transcript

    def close(self) -> None:
        """Stop at once and release all audio; `on_update` may call this, too."""
        self._closed.set()
        if self._thread != threading.get_ident():  # else the push or finish in progress releases it
            with self._lock:
                self._release()

    def _ipython_display_(self) -> None:
        self._view = LiveView()

    def __enter__(self) -> "LiveSession":
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    @contextmanager
    def _exclusive(self, name: str) -> Iterator[None]:
        """Hold the lock, and release the audio if the session is closed meanwhile."""
        if self._thread == threading.get_ident():
            raise OptionError(f"on_update called {name}() of its own session: call it after push() has returned")
        with self._lock:
            self._thread = threading.get_ident()
            try:
                yield
            finally:
                self._thread = None
                if self._closed.is_set():
                    self._release()

    def _release(self) -> None:
        self._pending = self._held = np.zeros(0, np.float32)
        self._head = self._open = None
        self._segments = []

    # Audio

    def _process(self, samples: np.ndarray) -> list[Update]:
        arrived = time.perf_counter()
        pending = np.concatenate([self._pending, samples])
        hops = len(pending) // _HOP
        self._pending = pending[hops * _HOP :].copy()
        if arrived - self._returned > _IDLE:
            self._began = arrived - (self._position + len(pending)) / SAMPLE_RATE
        interval = round(self.options.interval * SAMPLE_RATE / _HOP)
        updates = []
        for i in range(hops):
            self._hops += 1
            due = self._hops % interval == 0
            late = self.options.realtime and (hops - i > interval or self._delay() > self.options.interval)
            update = self._process_hop(pending[i * _HOP : (i + 1) * _HOP], due, late, arrived)
            if self._closed.is_set():
                return []
            if update:
                updates.append(update)
        return updates

    def _delay(self) -> float:
        """Return the seconds by which processing lags behind the audio."""
        return time.perf_counter() - self._began - self._position / SAMPLE_RATE

    def _process_hop(self, samples: np.ndarray, due: bool, late: bool, arrived: float) -> Update | None:
        began = time.perf_counter()
        self._hold(samples)
        ended = [self._end(span) for span in self._segmenter.push(samples)]
        changed = self._follow_segmenter()
        self._drop_unneeded()
        committed: tuple[float, ...] = ()
        if self._open and due and self._open.is_due(self._position):
            if late:
                self._note(skipped=self.latency.skipped + 1)
            else:
                self._open.decoded_at = self._position
                before = self._open.text.shown
                committed = self._decode_open(self._open)
                changed = changed or self._open.text.shown != before
        now = time.perf_counter()
        self._note(work=self.latency.work + now - began)
        return self._update(ended, committed, now - arrived) if ended or changed else None

    def _hold(self, samples: np.ndarray) -> None:
        self._position += len(samples)
        self._held = np.concatenate([self._held, samples])
        if self._head is not None:
            self._head.append(samples)
            if self._position > self.options.vad.max_segment * SAMPLE_RATE:
                self._head = None

    def _drop_unneeded(self) -> None:
        start = self._segmenter.needed_from
        if start - self._held_from > _HOP:
            self._held, self._held_from = self._held[start - self._held_from :].copy(), start

    def _follow_segmenter(self) -> bool:
        """Open the segment that the segmenter has open; True if text of another one was shown and is dropped."""
        start = self._segmenter.start if self._segmenter.speaking else None
        if self._open and self._open.start == start:
            return False
        dropped = bool(self._open and any(self._open.text.shown))
        self._open = None if start is None else OpenSegment(start, self.options.agreement)
        return dropped

    # Decoding

    def _decode_open(self, segment: OpenSegment) -> tuple[float, ...]:
        """Make a hypothesis about the open segment; return the delay of each word that it commits."""
        samples = self._held[segment.start - self._held_from :]
        if len(samples) < FRAME_LENGTH:
            return ()
        if self._tracker and self._position - segment.speaker_known_at >= self._tracker.model.window:
            segment.speaker, segment.speaker_known_at = self._tracker.guess(samples), self._position
        found = self._decoder.decode_open(segment, samples, self._count)
        if found is None:
            return ()
        self._count_tokens(found.timings)
        if found.segment.text and not any(segment.text.shown):
            self._note(first_text=len(samples) / SAMPLE_RATE)
        self._note(passes=self.latency.passes + 1)
        now = self._position / SAMPLE_RATE
        words = split_words(found.segment.text, found.segment.tokens)
        new = segment.text.add(words, count_ready(words, now, self.options.hold, self.options.confidence))
        return tuple(now - words[i].end for i in new if words[i].end is not None)

    def _end(self, span: Span) -> tuple[tuple[Segment, ...], Revision | None] | None:
        """Decode a segment that has ended, as `transcribe` does."""
        known = self._open is not None and self._open.start == span.start
        segment = self._open if known else OpenSegment(span.start, self.options.agreement)
        samples = self._held[span.start - self._held_from : span.end - self._held_from]
        found = self._decoder.decode_final(samples, span.start, self._count, segment.ids)
        self._count += 1
        self._open = None
        backend.give_back_memory()
        if found is None:
            return None
        self._count_tokens(found.timings)
        self._timings += found.timings
        revision = segment.text.revision(split_words(found.segment.text))
        final = replace(found.segment, revised=revision is not None)
        if not final.tokens:
            return (), revision
        self._heard.append(found.language)
        if self._tracker:
            self._tracker.hear(samples, span.start / SAMPLE_RATE)
        labelled = self._label(final)
        self._segments += labelled
        return labelled, revision

    def _label(self, segment: Segment) -> tuple[Segment, ...]:
        return self._tracker.label(segment) if self._tracker else (segment,)

    def _finish(self) -> Transcript | None:
        began = time.perf_counter()
        self._process(self._resampler.finish())
        rest, self._pending = self._pending, self._pending[:0]
        self._hold(rest)
        ended = [self._end(span) for span in [*self._segmenter.push(rest), *self._segmenter.finish()]]
        if ended:
            self._update(ended, (), time.perf_counter() - began)
        if self._head and self._count and not is_silent(whole := np.concatenate(self._head)):
            # No longer than a segment: `transcribe` decodes such a recording whole and untrimmed.
            draft = [token.id for segment in self._segments for token in segment.tokens]
            found = self._decoder.decode_final(whole, 0, 0, draft)
            if found is None:
                return None
            self._count_tokens(found.timings)
            self._timings += found.timings
            revised = found.segment.text != join_texts(segment.text for segment in self._segments)
            self._segments = [*self._label(replace(found.segment, revised=revised))] if found.segment.tokens else []
            self._heard = [found.language]
        duration = self._position / SAMPLE_RATE
        work = self.latency.work + time.perf_counter() - began
        return Transcript(
            text=join_texts(segment.text for segment in self._segments),
            segments=tuple(self._segments),
            language=heard_language(self._heard) or self._language,
            duration=duration,
            timings=replace(self._timings, total=work, audio_seconds=duration, peak_memory=backend.peak_memory()),
            name="live",
            tags=Tags.join(segment.tags for segment in self._segments),
        )

    # Updates

    def _note(self, **changes: object) -> None:
        self.latency = replace(self.latency, **changes)

    def _count_tokens(self, timings: Timings) -> None:
        names = ("drafted", "accepted", "steps", "tokens")
        self._note(**{name: getattr(self.latency, name) + getattr(timings, name) for name in names})

    def _update(
        self,
        ended: Sequence[tuple[tuple[Segment, ...], Revision | None] | None],
        committed: tuple[float, ...],
        late: float,
    ) -> Update:
        found = [pair for pair in ended if pair]
        self._note(audio=self._position / SAMPLE_RATE, update=late, commit=committed)
        shown = self._open.text.shown if self._open else ("", "")
        update = Update(
            committed=shown[0],
            tentative=shown[1],
            segments=tuple(segment for segments, _ in found for segment in segments),
            revisions=tuple(revision for _, revision in found if revision),
            start=self._open.start / SAMPLE_RATE if self._open else None,
            latency=self.latency,
            speaker=self._open.speaker if self._open else None,
        )
        if self._view:
            self._view.show(self._segments, update)
        if self._on_update:
            self._on_update(update)
        return update


def _merged(updates: list[Update]) -> Update | None:
    """Combine the updates of one push into one."""
    if not updates:
        return None
    return replace(
        updates[-1],
        segments=tuple(segment for update in updates for segment in update.segments),
        revisions=tuple(revision for update in updates for revision in update.revisions),
        latency=replace(updates[-1].latency, commit=tuple(t for update in updates for t in update.latency.commit)),
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
        raise AudioError("live: samples that are not numbers (NaN or infinity)")
    return samples
