"""Text while somebody speaks: a session takes audio as it comes and tells what it hears.

A voice-activity detector opens and closes segments. While one is open, it is encoded again at fixed times of its
audio and decoded with the last hypothesis as a draft, which gives exactly what decoding anew would, for little more
than one pass. Words that successive hypotheses agree on are committed: they stand until the segment ends, and its
final text is then what `Recognizer.transcribe` gives for that stretch of sound.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import mlx.core as mx
import numpy as np

from . import backend
from .audio import SAMPLE_RATE, Resampler
from .checkpoint.load import Checkpoint
from .decode.batch import Decoded, encode
from .decode.commit import Agreement, Revision
from .decode.draft import generate_drafted
from .decode.generate import Generated, Request
from .errors import AudioError, OptionError
from .features import FRAME_LENGTH, FRAME_SHIFT, filterbank, frame_count, lfr
from .pipeline import Wish, finished_segment, seed_for
from .reader import Cut
from .results import Segment, Timings, Transcript, join_texts
from .vad import Segmenter, Span, VadOptions, is_silent
from .words import Piece, split_words

_HOP = SAMPLE_RATE // 10  # what happens, happens at multiples of this, however the audio was chunked
_WAITED = 0.02  # seconds between two pushes that tell that whoever pushes had nothing more waiting


@dataclass(frozen=True)
class LiveOptions:
    """How a session listens.

    interval   seconds of audio between two hypotheses about an open segment
    agreement  how many hypotheses in a row must have a word before it is committed
    hold       seconds before the end of what was heard in which no word is committed: it may go on
    confidence how probable each token of a committed word must be; the first doubtful word holds up the rest
    realtime   leave out hypotheses that come too late to be seen: for microphones. Otherwise every one is made, so
               that the same audio gives the same updates whatever its chunks
    vad        where segments begin and end
    """

    interval: float = 0.5
    agreement: int = 2
    hold: float = 0.4
    confidence: float = 0.6
    realtime: bool = False
    vad: VadOptions = field(default_factory=VadOptions)

    def __post_init__(self) -> None:
        for name, fits, wanted in (
            ("interval", 0.1 <= self.interval <= 10, "from 0.1 to 10 seconds"),
            ("agreement", self.agreement in range(1, 11), "from 1 to 10"),
            ("hold", 0 <= self.hold <= 5, "from 0 to 5 seconds"),
            ("confidence", 0 <= self.confidence <= 1, "from 0 to 1"),
        ):
            if not fits:
                raise OptionError(f"{name}={getattr(self, name)!r}: must be {wanted}")


@dataclass(frozen=True)
class Latency:
    """What a session has cost so far, and how late its text comes; seconds.

    audio        heard so far
    work         spent on it, in all
    update       from the arrival of the audio to this update
    first_text   of audio between the beginning of a segment and its first text, of the last that has any
    commit       of audio between the end of each word that this update commits and now, where its end is known
    passes       hypotheses made, `skipped` those left out
    drafted      tokens guessed, `accepted` those that were right
    steps        of decoding after each prefill; decoding anew would have taken `tokens` of them
    """

    audio: float = 0.0
    work: float = 0.0
    update: float = 0.0
    first_text: float | None = None
    commit: tuple[float, ...] = ()
    passes: int = 0
    skipped: int = 0
    drafted: int = 0
    accepted: int = 0
    steps: int = 0
    tokens: int = 0

    def __str__(self) -> str:
        saved = 1 - self.steps / self.tokens if self.tokens else 0.0
        skipped = f", {self.skipped} left out" if self.skipped else ""
        return f"{self.work:.1f} s of work, {self.passes} hypotheses{skipped}, drafts saved {saved:.0%} of the steps"


@dataclass(frozen=True)
class Update:
    """What is new. Shown text is: the segments so far, then `committed`, then `tentative`.

    committed   of the open segment: stands while it is open
    tentative   of the open segment, after that: may change
    segments    finished since the last update, with their final text
    revisions   where that differs from what had been committed
    start       where the open segment begins, in seconds; None while nobody speaks
    """

    committed: str
    tentative: str
    segments: tuple[Segment, ...]
    revisions: tuple[Revision, ...]
    start: float | None
    latency: Latency


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
        self._checkpoint, self._wish, self._on_update = checkpoint, wish, on_update
        self._resampler = Resampler(sample_rate)
        self._segmenter = Segmenter(options.vad)
        self._seed = seed_for(wish)
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._rest = np.zeros(0, np.float32)  # heard, but less than a hop
        self._held, self._held_from = np.zeros(0, np.float32), 0  # what a segment may still need
        self._head: list[np.ndarray] | None = []  # everything, while it is no longer than a segment
        self._position = self._hops = 0
        self._open: _Open | None = None
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
        if self._open and due:
            if late:
                self.latency = replace(self.latency, skipped=self.latency.skipped + 1)
            else:
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
        self._open = None if start is None else _Open(start, self.options.agreement)
        return gone

    # decoding

    def _guess(self, segment: "_Open") -> tuple[float, ...]:
        """Make a new hypothesis about the open segment -> how late each word is that it commits."""
        samples = self._held[segment.start - self._held_from :]
        if len(samples) < FRAME_LENGTH:
            return ()
        found = backend.run(self._hypothesis, segment, samples)
        if found is None:
            return ()
        latency = self.latency
        if found.text and not segment.text.shown[1] and not segment.text.shown[0]:
            latency = replace(latency, first_text=len(samples) / SAMPLE_RATE)
        self.latency = replace(latency, passes=latency.passes + 1)
        now = self._position / SAMPLE_RATE
        words = split_words(found.text, found.tokens)
        new = segment.text.add(found.text, self._ready(words, now))
        return tuple(now - words[i].end for i in new if words[i].end is not None)

    def _ready(self, words: Sequence[Piece], now: float) -> int:
        """How many words from the first on are over and beyond doubt."""
        for i, word in enumerate(words):
            over = i < len(words) - 1 if word.end is None else word.end <= now - self.options.hold
            known = [token.confidence for token in word.tokens if token.confidence is not None]
            sure = min([math.exp(token.logprob) for token in word.tokens] + known, default=0.0)
            if not over or sure < self.options.confidence:
                return i
        return len(words)

    def _hypothesis(self, segment: "_Open", samples: np.ndarray) -> Segment | None:
        """Runs on the worker thread, and so do the others that touch the network."""
        if self._closed.is_set():
            return None
        model, start = self._checkpoint.model, time.perf_counter()
        bank = segment.hear(samples)
        x = lfr(bank)
        if self._checkpoint.cmvn is not None:
            x = (x + self._checkpoint.cmvn[0]) * self._checkpoint.cmvn[1]
        encoded = model.encode(x[None])
        tokens = model.adapt(encoded)[0, : model.audio_token_count(x.shape[0])]
        ctc = model.ctc_logprobs(encoded)[0] if self._wish.ctc_tokens and model.config.ctc else None
        mx.eval(tokens, ctc)
        seconds = {"encoder": time.perf_counter() - start}
        generated = self._decode(tokens, segment.ids, self._count)
        if generated is None:
            return None
        segment.ids = generated.ids
        return self._result(samples, segment.start, tokens, ctc, generated, seconds)[0]

    def _end(self, span: Span) -> tuple[Segment, Revision | None] | None:
        """Decode a segment that is over, as `transcribe` does."""
        known = self._open is not None and self._open.start == span.start
        segment = self._open if known else _Open(span.start, self.options.agreement)
        samples = self._held[span.start - self._held_from : span.end - self._held_from]
        found = backend.run(self._final, samples, span.start, segment.ids)
        self._count += 1
        self._open = None
        if found is None:
            return None
        final, timings = found
        self._timings += timings
        revision = segment.text.revision(final.text)
        final = replace(final, revised=revision is not None)
        if final.tokens:
            self._segments.append(final)
        return final, revision

    def _final(self, samples: np.ndarray, start: int, draft: Sequence[int]) -> tuple[Segment, Timings] | None:
        if self._closed.is_set():
            return None
        [source] = encode(self._checkpoint, [samples], self._wish.ctc_tokens is not None)
        generated = self._decode(source.audio_tokens, draft, self._count)
        if generated is None:
            return None
        return self._result(samples, start, source.audio_tokens, source.ctc_logprobs, generated, source.seconds)

    def _decode(self, audio_tokens: mx.array, draft: Sequence[int], index: int) -> Generated | None:
        embed, prompt = self._checkpoint.model.llm.embed, self._wish.prompt
        x = mx.concatenate([embed(mx.array(prompt.prefix)), audio_tokens, embed(mx.array(prompt.suffix))])
        request = Request(x, hash((self._seed, index)) % 2**48, cancelled=self._closed.is_set)
        end_ids = self._checkpoint.tokenizer.end_ids
        made = generate_drafted(self._checkpoint.model, request, self._wish.sampling, end_ids, draft)
        latency = self.latency
        self.latency = replace(
            latency,
            drafted=latency.drafted + made.drafted,
            accepted=latency.accepted + made.accepted,
            steps=latency.steps + made.steps,
            tokens=latency.tokens + len(made.ids),
        )
        return None if made.stop == "cancelled" else made

    def _result(
        self,
        samples: np.ndarray,
        start: int,
        audio_tokens: mx.array,
        ctc: mx.array | None,
        generated: Generated,
        seconds: dict[str, float],
    ) -> tuple[Segment, Timings]:
        seconds = seconds | {"prefill": generated.prefill_seconds, "decode": generated.decode_seconds}
        cut = Cut(self._count, start / SAMPLE_RATE, (start + len(samples)) / SAMPLE_RATE, samples)
        decoded = Decoded(generated, None if ctc is None else np.array(ctc), seconds)
        return finished_segment(self._checkpoint, self._wish, cut, decoded)

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
            self._count = 0
            told, draft = self._segments, [token.id for segment in self._segments for token in segment.tokens]
            found = backend.run(self._final, whole, 0, draft)
            if found is None:
                return None
            final, timings = found
            self._timings += timings
            revised = final.text != join_texts(segment.text for segment in told)
            self._segments = [replace(final, revised=revised)] if final.tokens else []
        duration = self._position / SAMPLE_RATE
        work = self.latency.work + time.perf_counter() - began
        return Transcript(
            text=join_texts(segment.text for segment in self._segments),
            segments=tuple(self._segments),
            language=self._wish.language,
            duration=duration,
            timings=self._timings + Timings(total=work, audio_seconds=duration, peak_memory=backend.peak_memory()),
            name="live",
        )


class _Open:
    """A segment that somebody is still speaking."""

    def __init__(self, start: int, agreement: int):
        self.start = start  # sample
        self.ids: list[int] = []  # the last hypothesis, the next one's draft
        self.text = Agreement(agreement)
        self._bank: mx.array | None = None  # of the frames heard so far: each is computed once

    def hear(self, samples: np.ndarray) -> mx.array:
        """The filterbank of the segment, given all of it."""
        known = 0 if self._bank is None else self._bank.shape[0]
        if frame_count(len(samples)) > known:
            new = filterbank(mx.array(samples[known * FRAME_SHIFT :]))
            self._bank = new if self._bank is None else mx.concatenate([self._bank, new])
            mx.eval(self._bank)
        return self._bank


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
