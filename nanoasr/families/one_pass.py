"""What families share that decode a whole segment in one pass."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..checkpoint.load import Checkpoint
from ..model.sanm import Encoder
from ..results.segments import Segment, Tags
from ..results.timings import Timings
from ..results.words import Alternative, Token, one_line
from .base import DecodedSegment, Inspection, OnePassBatch, SegmentJob
from .batching import Stopwatch, batch_features, similar_lengths

_ALTERNATIVES = 5


@dataclass(frozen=True)
class EncodedBatch:
    """A padded batch [B, T, D] after the encoder; `frames` are each row's own, `lengths` the same where they differ."""

    jobs: list[int]  # positions among those that were passed to `encode`
    encoded: mx.array
    frames: list[int]
    lengths: mx.array | None
    watch: Stopwatch


@dataclass(frozen=True)
class Spelled:
    """A token of a segment: its id, text, log-probability and, where it is known, time in seconds of the segment."""

    id: int
    text: str
    logprob: float
    time: tuple[float, float] | None = None
    logprobs: np.ndarray | None = None  # [V], where alternatives are asked for


class OnePassFamily(ABC):
    """Encodes segments in padded batches and decodes each batch with `decode_batch`, which subclasses have."""

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint, self.model, self.vocabulary = checkpoint, checkpoint.model, checkpoint.tokenizer

    @property
    def encoder(self) -> Encoder:
        return self.model.encoder

    def encoder_input(self, x: Inspection) -> mx.array:
        return x.features

    def new_batch(self) -> OnePassBatch:
        return OnePassBatch(self)

    def encode(self, jobs: Sequence[SegmentJob]) -> list[EncodedBatch]:
        """Run features and encoder over jobs of similar length together; jobs that were cancelled are left out."""
        going = [i for i, job in enumerate(jobs) if not (job.cancelled and job.cancelled())]
        found = []
        for group in similar_lengths([jobs[i] for i in going]):
            rows = [going[i] for i in group]
            watch = Stopwatch(len(rows))
            x, frames, lengths = batch_features([jobs[i] for i in rows], self.checkpoint.cmvn)
            watch.stage("features", x)
            encoded = watch.stage("encoder", self.run_encoder([jobs[i] for i in rows], x, lengths))
            found.append(EncodedBatch(rows, encoded, frames, lengths, watch))
        return found

    def decode(self, jobs: Sequence[SegmentJob], batches: Sequence[EncodedBatch]) -> list[DecodedSegment]:
        """Decode what `encode` gave, in the order of the jobs."""
        results = [DecodedSegment(Segment("", job.start, job.end), Timings(), cancelled=True) for job in jobs]
        for batch in batches:
            found = self.decode_batch([jobs[i] for i in batch.jobs], batch)
            for i, result in zip(batch.jobs, found, strict=True):
                results[i] = result
                if jobs[i].on_text and result.segment.text:
                    jobs[i].on_text(result.segment.text)
        return results

    @abstractmethod
    def run_encoder(self, jobs: Sequence[SegmentJob], x: mx.array, lengths: mx.array | None) -> mx.array:
        """Encode features [B, T', 560]."""

    @abstractmethod
    def decode_batch(self, jobs: Sequence[SegmentJob], batch: EncodedBatch) -> list[DecodedSegment]:
        """Decode one padded batch."""

    def result(
        self,
        job: SegmentJob,
        spelled: Sequence[Spelled],
        seconds: dict[str, float],
        language: str | None = None,
        tags: Tags | None = None,
    ) -> DecodedSegment:
        """Build the decoded segment from its tokens."""
        tokens = []
        for token in spelled:
            start, end = token.time or (None, None)
            tokens.append(
                Token(
                    token.id,
                    token.text,
                    token.logprob,
                    None if start is None else job.start + start,
                    None if end is None else min(job.start + end, job.end),
                    self._alternatives(token.logprobs),
                    None if start is None else math.exp(token.logprob),
                )
            )
        text = one_line("".join(token.text for token in spelled))
        segment = Segment(text, job.start, job.end, tuple(tokens) if text else (), tags=tags or Tags())
        timings = Timings(**seconds, total=sum(seconds.values()), tokens=len(tokens))
        return DecodedSegment(segment, timings, language=language)

    def _alternatives(self, logprobs: np.ndarray | None) -> tuple[Alternative, ...]:
        if logprobs is None:
            return ()
        best = np.argsort(-logprobs)[:_ALTERNATIVES].tolist()
        return tuple(Alternative(i, self.vocabulary.token(i), float(logprobs[i])) for i in best)
