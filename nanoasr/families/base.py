"""What a recognizer family is: the one interface that the pipeline, live sessions and the server know.

A family turns segments of speech into decoded segments. `Batch` is where segments are decoded together: families that
decode token by token let segments join and leave between passes; families that decode in one pass use `OnePassBatch`.
To add a family, write a class with the members of `Family` and name it in `families/__init__.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..audio.features import SAMPLE_RATE
from ..checkpoint.load import Checkpoint
from ..decode.prompt import Language
from ..decode.sampling import Sampling
from ..model.sanm import Encoder
from ..results.notebook import arrays_html
from ..results.transcript import Segment, Timings


@dataclass(frozen=True)
class DecodeOptions:
    """How to decode every segment of a recording; families ignore what they have no use for.

    language      an ISO 639-1 code that the family knows, None to detect it
    hotwords      words to listen for
    itn           write numbers and dates in figures
    sampling      how tokens are chosen
    timestamps    align tokens with the audio
    alternatives  keep the likeliest other tokens at every step
    drafts        check drafts of the text, which never change greedy text
    """

    language: str | None = None
    hotwords: tuple[str, ...] = ()
    itn: bool = True
    sampling: Sampling = Sampling()  # noqa: RUF009 (frozen)
    timestamps: bool = True
    alternatives: bool = False
    drafts: bool = True


@dataclass(frozen=True, eq=False)
class SegmentJob:
    """One segment of speech to decode.

    samples     16 kHz mono
    start       where it begins in its recording, in seconds
    filterbank  of `samples` [T, 80], if it is known already
    draft       token ids that the text may have, and `others`: texts that may share passages with it
    on_text     called on the worker thread with each new piece of text
    cancelled   called on the worker thread now and then; True ends decoding with the text so far
    """

    samples: np.ndarray
    options: DecodeOptions
    start: float = 0.0
    seed: int = 0
    filterbank: mx.array | None = None
    draft: Sequence[int] = ()
    others: Sequence[Sequence[int]] = ()
    on_text: Callable[[str], None] | None = None
    cancelled: Callable[[], bool] | None = None

    @property
    def end(self) -> float:
        return (round(self.start * SAMPLE_RATE) + len(self.samples)) / SAMPLE_RATE


@dataclass(frozen=True)
class DecodedSegment:
    """What came of a job: `language` where the family detects it."""

    segment: Segment
    timings: Timings
    cancelled: bool = False
    language: str | None = None


# A finished job: its segment, or a function that makes it on the thread that asked for it, since the worker thread has
# others to decode; or what went wrong.
Outcome = DecodedSegment | Callable[[], DecodedSegment] | Exception


def settle(outcome: Outcome) -> DecodedSegment:
    """Return the segment of a finished job, made now if need be, or raise what went wrong."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome() if callable(outcome) else outcome


class Batch(Protocol):
    """Segments that are decoded together; for the worker thread."""

    def __len__(self) -> int:
        """Count the segments that are being decoded."""

    def admit(self, jobs: Sequence[SegmentJob]) -> None:
        """Add segments; an exception concerns these alone."""

    def step(self) -> list[tuple[SegmentJob, Outcome]]:
        """Advance all segments by one pass and return those that are done."""


@dataclass(frozen=True)
class Inspection:
    """One recording at every stage that all families have; arrays are evaluated and may be used on any thread."""

    samples: mx.array  # [N]
    filterbank: mx.array  # [T, 80]
    features: mx.array  # [T', 560], after CMVN where there is one
    encoded: mx.array  # [T', D]
    ctc_logprobs: mx.array | None  # [T', V]

    def _repr_html_(self) -> str:
        arrays = ((field.name, getattr(self, field.name)) for field in fields(self))
        return arrays_html({name: array.shape for name, array in arrays if array is not None})


class Family(Protocol):
    """A loaded recognizer of one kind."""

    name: str
    checkpoint: Checkpoint
    languages: tuple[Language, ...]
    aligner: str | None  # what times come from: "CTC" or "CIF"
    encoder: Encoder

    def new_batch(self) -> Batch:
        """Make an empty batch."""

    def inspect(self, samples: np.ndarray, options: DecodeOptions) -> Inspection:
        """Return every stage for one segment; call on the worker thread."""

    def encoder_input(self, x: Inspection) -> mx.array:
        """Return the encoder's input [T', 560] for an inspected segment."""

    def parts(self) -> dict[str, list[nn.Module]]:
        """Return the network's modules by part, for figures."""

    def text(self, ids: Sequence[int]) -> str:
        """Decode token ids to text."""


class OnePassBatch:
    """A batch for families that decode whole segments in one pass: `encode(jobs)`, then `decode(jobs, encoded)`."""

    def __init__(self, family):
        self._family = family
        self._jobs: list[SegmentJob] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def admit(self, jobs: Sequence[SegmentJob]) -> None:
        self._jobs += jobs

    def step(self) -> list[tuple[SegmentJob, Outcome]]:
        jobs, self._jobs = self._jobs, []
        if not jobs:
            return []
        return list(zip(jobs, self._family.decode(jobs, self._family.encode(jobs)), strict=True))
