"""Recordings, read and cut -> transcripts in order. Cuts are decoded together, over the borders of recordings."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import backend
from .audio.reader import Cut, Recording
from .checkpoint.ctc_tokens import CTCTokens
from .checkpoint.load import Checkpoint
from .decode.align import token_times
from .decode.batch import Decoded, Task, decode_tasks
from .decode.prompt import Prompt
from .decode.sampling import Sampling
from .decode.text import TextStream
from .errors import NanoASRError
from .results.transcript import Alternative, Segment, Timings, Token, Transcript, join_texts


@dataclass(frozen=True)
class Wish:
    """What is asked of every segment."""

    prompt: Prompt
    language: str | None
    sampling: Sampling
    ctc_tokens: CTCTokens | None  # for times, where they are wanted and can be had
    alternatives: bool = False


@dataclass(frozen=True)
class Listeners:
    """Whom to tell while work goes on; all are called on other threads than the caller's."""

    on_token: Callable[[str], None] | None = None
    on_segment: Callable[[Segment], None] | None = None
    on_progress: Callable[[float], None] | None = None
    cancelled: Callable[[], bool] | None = None


def transcripts(
    checkpoint: Checkpoint,
    wish: Wish,
    recordings: Iterator[Recording],
    width: int,
    window: int,
    listeners: Listeners,
) -> Iterator[Transcript | NanoASRError]:
    """One result for each recording, in order. `window` cuts are handed to the worker at a time, `width` of them
    are decoded together; other callers of the worker get their turn in between."""
    seed = seed_for(wish)
    unfinished: list[_File] = []
    waiting: list[tuple[_File, Cut]] = []

    def decode() -> None:
        batch = waiting.copy()
        waiting.clear()
        cuts = [cut for _, cut in batch]
        results = backend.run(_decode_cuts, checkpoint, wish, cuts, seed, width, listeners) if cuts else []
        for (file, cut), (segment, timings) in zip(batch, results, strict=True):
            file.add(segment, timings)
            if listeners.on_segment and segment.tokens:
                listeners.on_segment(segment)
            if listeners.on_progress:
                listeners.on_progress(cut.end)

    def finished() -> Iterator[Transcript | NanoASRError]:
        while unfinished and unfinished[0].complete:
            yield unfinished.pop(0).result(wish.language)

    for recording in recordings:
        file = _File(recording)
        unfinished.append(file)
        for cut in recording.cuts():
            waiting.append((file, cut))
            file.expected += 1
            if len(waiting) >= window:
                decode()
                yield from finished()
            if listeners.cancelled and listeners.cancelled():
                break
        file.read = True
        yield from finished()
    decode()
    yield from finished()


def seed_for(wish: Wish) -> int:
    """The seed of a recording: the one that was asked for, or any."""
    return random.getrandbits(48) if wish.sampling.seed is None else wish.sampling.seed


class _File:
    """A recording on its way to a transcript."""

    def __init__(self, recording: Recording):
        self.recording = recording
        self.expected, self.read = 0, False
        self.segments: list[Segment] = []
        self.timings = Timings()

    @property
    def complete(self) -> bool:
        return self.read and len(self.segments) == self.expected

    def add(self, segment: Segment, timings: Timings) -> None:
        self.segments.append(segment)
        self.timings += timings

    def result(self, language: str | None) -> Transcript | NanoASRError:
        recording = self.recording
        if recording.error:
            return recording.error
        segments = tuple(segment for segment in self.segments if segment.tokens)
        reading = Timings(
            read=recording.read_seconds,
            vad=recording.vad_seconds,
            total=recording.read_seconds + recording.vad_seconds,
            audio_seconds=recording.duration,
            peak_memory=backend.peak_memory(),
        )
        return Transcript(
            text=join_texts(segment.text for segment in segments),
            segments=segments,
            language=language,
            duration=recording.duration,
            timings=self.timings + reading,
            name=recording.name,
        )


def _decode_cuts(
    checkpoint: Checkpoint, wish: Wish, cuts: Sequence[Cut], seed: int, width: int, listeners: Listeners
) -> list[tuple[Segment, Timings]]:
    """Decode some cuts together, on the worker thread."""
    streams = [TextStream(checkpoint.tokenizer) for _ in cuts]
    tasks = [
        Task(
            cut.samples,
            hash((seed, cut.index)) % 2**48,
            _teller(stream, listeners.on_token) if listeners.on_token else None,
            listeners.cancelled,
        )
        for cut, stream in zip(cuts, streams, strict=True)
    ]
    want_ctc = wish.ctc_tokens is not None
    decoded = decode_tasks(checkpoint, tasks, wish.prompt, wish.sampling, width, want_ctc, wish.alternatives)
    if listeners.on_token:
        for stream in streams:
            rest = stream.finish()
            if rest:
                listeners.on_token(rest)
    return [finished_segment(checkpoint, wish, cut, result) for cut, result in zip(cuts, decoded, strict=True)]


def _teller(stream: TextStream, on_token: Callable[[str], None]) -> Callable[[int], None]:
    def tell(token_id: int) -> None:
        stream.token_text(token_id)
        piece = stream.new_text()
        if piece:
            on_token(piece)

    return tell


def finished_segment(checkpoint: Checkpoint, wish: Wish, cut: Cut, decoded: Decoded) -> tuple[Segment, Timings]:
    """What was decoded of a cut, in words and times, and what it took."""
    start = time.perf_counter()
    generated, tokenizer = decoded.generated, checkpoint.tokenizer
    stream = TextStream(tokenizer)
    texts = [stream.token_text(token_id) for token_id in generated.ids]
    times: Sequence[tuple[float, float, float] | None] = [None] * len(texts)
    if wish.ctc_tokens and decoded.ctc_logprobs is not None:
        blank = checkpoint.model.config.ctc.blank_id
        times = token_times(
            texts, stream.text, decoded.ctc_logprobs, wish.ctc_tokens, blank, cut.samples, offset=cut.start
        )
    tokens = []
    for i, token_id in enumerate(generated.ids):
        begin, end, confidence = times[i] or (None, None, None)
        weighed = generated.alternatives[i] if generated.alternatives else ()
        others = tuple(Alternative(other, tokenizer.decode([other]), logprob) for other, logprob in weighed)
        tokens.append(Token(token_id, texts[i], generated.logprobs[i], begin, end, others, confidence))
    segment = Segment(
        text=stream.text,
        start=cut.start,
        end=cut.end,
        tokens=tuple(tokens),
        repetition_stopped=generated.stop == "repetition",
        truncated=generated.stop == "length",
    )
    seconds = dict(decoded.seconds)
    seconds["align"] = seconds.get("align", 0.0) + time.perf_counter() - start
    counts = {"steps": generated.steps, "drafted": generated.drafted, "accepted": generated.accepted}
    return segment, Timings(**seconds, total=sum(seconds.values()), tokens=len(tokens), **counts)
