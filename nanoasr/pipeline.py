"""Turn recordings into transcripts, in order; segments of all recordings are decoded together."""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace

from . import backend
from .audio.reader import Cut, Recording
from .decode.sampling import Sampling
from .errors import NanoASRError
from .families.base import DecodedSegment, DecodeOptions, Outcome, SegmentJob
from .results.segments import Tags
from .results.transcript import Segment, Timings, Transcript, join_texts
from .scheduler import Call, Scheduler
from .speakers import Diarizer

_AHEAD = 3  # segments queued for each that is being decoded


@dataclass(frozen=True)
class Callbacks:
    """Progress callbacks: `on_token` and `cancelled` run on the worker thread, the others on the caller's."""

    on_token: Callable[[str], None] | None = None
    on_segment: Callable[[Segment], None] | None = None
    on_progress: Callable[[float], None] | None = None
    cancelled: Callable[[], bool] | None = None


def transcripts(
    scheduler: Scheduler,
    options: DecodeOptions,
    recordings: Iterator[Recording],
    batch_size: int,
    callbacks: Callbacks,
    speakers: bool | int = False,
) -> Iterator[Transcript | NanoASRError]:
    """Yield one result for each recording, in order; at most `batch_size` segments are decoded at a time.

    Speakers are known at the end of a recording: `callbacks` get segments without them.
    """
    call, stopped = Call(batch_size), threading.Event()
    unfinished: deque[PendingTranscript] = deque()
    gathered: list[tuple[PendingTranscript, Cut, SegmentJob]] = []
    queued: deque[tuple[PendingTranscript, Cut, Future[Outcome]]] = deque()

    def cancelled() -> bool:
        return stopped.is_set() or bool(callbacks.cancelled and callbacks.cancelled())

    def submit() -> None:
        futures = scheduler.submit_all([job for _, _, job in gathered], call)
        queued.extend((pending, cut, future) for (pending, cut, _), future in zip(gathered, futures, strict=True))
        gathered.clear()

    def collect(most: int) -> Iterator[Transcript | NanoASRError]:
        """Take finished segments in order, waiting until no more than `most` are queued."""
        while queued and (len(queued) > most or queued[0][2].done()):
            pending, cut, future = queued.popleft()
            decoded = scheduler.result(future)
            pending.add(decoded)
            if callbacks.on_segment and decoded.segment.tokens:
                callbacks.on_segment(decoded.segment)
            if callbacks.on_progress:
                callbacks.on_progress(cut.end)
        while unfinished and unfinished[0].complete:
            yield unfinished.popleft().transcript(options)

    try:
        for recording in recordings:
            pending = PendingTranscript(recording, speakers)
            unfinished.append(pending)
            seed = new_seed(options.sampling)
            for cut in recording.cuts():
                job = SegmentJob(
                    samples=cut.samples,
                    options=options,
                    start=cut.start,
                    seed=segment_seed(seed, cut.index),
                    on_text=callbacks.on_token,
                    cancelled=cancelled,
                )
                gathered.append((pending, cut, job))
                pending.expected += 1
                if len(gathered) == batch_size:  # together, as encoding them one by one takes as long for each
                    submit()
                pending.hear(cut)
                yield from collect(_AHEAD * batch_size)
                if cancelled():
                    break
            pending.finish_hearing()
            pending.read = True
            yield from collect(_AHEAD * batch_size)
        submit()
        yield from collect(0)
    finally:
        stopped.set()
        call.cancel()


def new_seed(sampling: Sampling) -> int:
    """Return the seed of a recording: the sampling's own, or a random one."""
    return random.getrandbits(48) if sampling.seed is None else sampling.seed


def segment_seed(seed: int, index: int) -> int:
    """Derive the seed of a segment from its recording's."""
    return hash((seed, index)) % 2**48


class PendingTranscript:
    """A recording whose segments are being decoded."""

    def __init__(self, recording: Recording, speakers: bool | int = False):
        self.recording, self.speakers = recording, speakers
        self._diarizer = None if speakers is False else Diarizer()
        self._diarizing = 0.0  # seconds
        self.expected, self.read = 0, False
        self._decoded: list[DecodedSegment] = []

    @property
    def complete(self) -> bool:
        return self.read and len(self._decoded) == self.expected

    def add(self, decoded: DecodedSegment) -> None:
        self._decoded.append(decoded)

    def hear(self, cut: Cut) -> None:
        """Take a segment's samples if speakers are to be told apart."""
        if self._diarizer:
            self._listen(self._diarizer.add, cut.samples, cut.start, cut.is_speech)

    def finish_hearing(self) -> None:
        """Embed what was heard last, while segments are still being decoded."""
        if self._diarizer:
            self._listen(self._diarizer.embed)

    def _listen(self, work: Callable[..., None], *args: object) -> None:
        began = time.perf_counter()
        work(*args)
        self._diarizing += time.perf_counter() - began

    def transcript(self, options: DecodeOptions) -> Transcript | NanoASRError:
        recording = self.recording
        if recording.error:
            return recording.error
        reading = Timings(
            read=recording.read_seconds,
            vad=recording.vad_seconds,
            total=recording.read_seconds + recording.vad_seconds,
            audio_seconds=recording.duration,
            peak_memory=backend.peak_memory(),
        )
        made = make_transcript(self._decoded, options, recording.duration, reading, recording.name)
        made = replace(made, audio=recording.path)
        if not self._diarizer:
            return made
        began = time.perf_counter()
        labelled = self._diarizer.label(made, self.speakers)
        seconds = self._diarizing + time.perf_counter() - began
        return replace(labelled, timings=made.timings + Timings(speakers=seconds, total=seconds))


def make_transcript(
    decoded: list[DecodedSegment], options: DecodeOptions, duration: float, timings: Timings, name: str
) -> Transcript:
    """Join decoded segments; those without text are left out."""
    spoken = [found for found in decoded if found.segment.tokens]
    return Transcript(
        text=join_texts(found.segment.text for found in spoken),
        segments=tuple(found.segment for found in spoken),
        language=heard_language([found.language for found in spoken]) or options.language,
        duration=duration,
        timings=sum((found.timings for found in decoded), timings),
        name=name,
        tags=Tags.join(found.segment.tags for found in spoken),
    )


def heard_language(languages: Iterable[str | None]) -> str | None:
    """Return the most frequent language of the segments; None where the family does not detect it."""
    codes = Counter(code for code in languages if code)
    return codes.most_common(1)[0][0] if codes else None
