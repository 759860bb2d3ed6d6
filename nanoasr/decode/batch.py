"""Recordings of one segment each -> what the network makes of them, many at a time."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from ..audio.features import features, frame_count, lfr_count
from ..checkpoint.load import Checkpoint
from .generate import Generated, Request, generate
from .prompt import Prompt
from .sampling import Sampling


@dataclass(frozen=True)
class Task:
    """One recording of at most a segment, at 16 kHz, and how it wants to be told of its tokens."""

    samples: np.ndarray
    seed: int = 0
    on_token: Callable[[int], None] | None = None
    cancelled: Callable[[], bool] | None = None


@dataclass
class Decoded:
    """What came of a task. `seconds`: what each stage cost it, its share where many were done together."""

    generated: Generated
    ctc_logprobs: np.ndarray | None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoded:
    """The front half of the network's work for one recording."""

    audio_tokens: mx.array  # [A, L]
    ctc_logprobs: mx.array | None  # [T', V]
    seconds: dict[str, float]


def decode_tasks(
    checkpoint: Checkpoint,
    tasks: Sequence[Task],
    prompt: Prompt,
    sampling: Sampling,
    width: int,
    want_ctc: bool = True,
    alternatives: bool = False,
) -> list[Decoded]:
    """Decode all tasks, `width` at a time; greedy results are those that each task gives alone."""
    order = sorted(range(len(tasks)), key=lambda i: len(tasks[i].samples))  # like lengths together: less padding
    model = checkpoint.model
    before, after = (model.llm.embed(mx.array(ids)) for ids in (prompt.prefix, prompt.suffix))
    encoded: list[Encoded] = []

    def requests() -> Iterator[Request]:
        for start in range(0, len(order), width):
            group = [tasks[i] for i in order[start : start + width]]
            for task, result in zip(group, encode(checkpoint, [task.samples for task in group], want_ctc), strict=True):
                encoded.append(result)
                x = mx.concatenate([before, result.audio_tokens, after])
                yield Request(x, task.seed, task.on_token, task.cancelled)

    results: list[Decoded | None] = [None] * len(tasks)
    end_ids = checkpoint.tokenizer.end_ids
    for place, generated in generate(model, requests(), sampling, end_ids, width, alternatives):
        source = encoded[place]
        seconds = source.seconds | {"prefill": generated.prefill_seconds, "decode": generated.decode_seconds}
        logprobs = None if source.ctc_logprobs is None else np.array(source.ctc_logprobs)
        results[order[place]] = Decoded(generated, logprobs, seconds)
    return results


def encode(checkpoint: Checkpoint, recordings: Sequence[np.ndarray], want_ctc: bool = True) -> list[Encoded]:
    """Features, encoder and adaptor (and CTC branch, if wanted) for several recordings as one padded batch."""
    model, watch = checkpoint.model, _Stopwatch(len(recordings))
    longest = max(len(samples) for samples in recordings)
    batch = np.zeros((len(recordings), longest), dtype=np.float32)
    for row, samples in zip(batch, recordings, strict=True):
        row[: len(samples)] = samples
    unequal = any(len(samples) != longest for samples in recordings)
    frames = [lfr_count(frame_count(len(samples))) for samples in recordings]
    counts = mx.array([len(samples) for samples in recordings]) if unequal else None
    lengths = mx.array(frames) if unequal else None

    x = watch.stage("features", features(mx.array(batch), counts, checkpoint.cmvn))
    encoded = watch.stage("encoder", model.encode(x, lengths))
    adapted = watch.stage("adaptor", model.adapt(encoded, lengths))
    logprobs = None
    if want_ctc and model.config.ctc:
        logprobs = watch.stage("align", model.ctc_logprobs(encoded, lengths))
    rate = model.ctc_decoder.frame_count if logprobs is not None else None
    return [
        Encoded(
            adapted[i, : model.audio_token_count(count)],
            None if logprobs is None else logprobs[i, : rate(count)],
            watch.seconds,
        )
        for i, count in enumerate(frames)
    ]


class _Stopwatch:
    """Times stages by waiting for what each computes; the time is shared out over `rows`."""

    def __init__(self, rows: int):
        self.rows = rows
        self.seconds: dict[str, float] = {}

    def stage(self, name: str, value: mx.array) -> mx.array:
        start = time.perf_counter()
        mx.eval(value)
        self.seconds[name] = (time.perf_counter() - start) / self.rows
        return value
