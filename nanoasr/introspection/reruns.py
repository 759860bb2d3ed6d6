"""Decoding an inspected segment again: pass by pass with its draft, or with a part of its sound silenced."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..audio.features import FRAME_SHIFT, MEL_BINS, SAMPLE_RATE
from ..decode.draft import LENGTHS, DraftPolicy
from ..decode.generate import generate
from ..decode.request import Pass, Request
from ..errors import OptionError
from ..families.base import DecodeOptions, Family, Inspection, SegmentJob, settle
from ..families.nano import NanoFamily, NanoInspection
from ..results.segments import Segment

_FLOOR = float(np.log(np.finfo(np.float32).eps))  # of the filterbank: digital silence


@dataclass(frozen=True)
class Patch:
    """A box in the filterbank: seconds from `start` to `end`, mel bins from `low` to `high`, which is included."""

    start: float
    end: float
    low: int
    high: int

    def __post_init__(self) -> None:
        if not (0 <= self.start < self.end < math.inf and 0 <= self.low <= self.high < MEL_BINS):
            raise OptionError(f"{self}: give 0 <= start < end, in seconds, and mel bins 0 <= low <= high < {MEL_BINS}")


def silence(family: Family, x: Inspection, patch: Patch) -> Segment:
    """Decode an inspected segment with the filterbank at its floor in a patch. Work for the worker thread."""
    bank, rate = np.array(x.filterbank), SAMPLE_RATE / FRAME_SHIFT
    bank[int(patch.start * rate) : round(patch.end * rate), patch.low : patch.high + 1] = _FLOOR
    batch = family.new_batch()
    batch.admit([SegmentJob(np.array(x.samples), DecodeOptions(timestamps=False), filterbank=mx.array(bank))])
    while True:
        for _, outcome in batch.step():
            return settle(outcome).segment


class _EveryPass(DraftPolicy):
    """Checks guesses of the same length in every pass, whatever that costs, so that each run gives the same passes."""

    def best_length(self, chances: Sequence[float], rows: int) -> int:
        return LENGTHS[2]


def draft_passes(family: NanoFamily, x: NanoInspection) -> tuple[list[int], Sequence[Pass]]:
    """Decode an inspected segment with what its CTC branch wrote as the draft, checked in every pass; return the ids of
    the text and the decoder's passes. Work for the worker thread."""
    best = None if x.ctc_logprobs is None else np.array(mx.argmax(x.ctc_logprobs, axis=-1))
    draft = family.ctc_text(best)
    request = Request(x.embed(family.model.llm), draft=draft, others=[draft])
    [(_, made)] = generate(family.model, [request], family.tokenizer.end_ids, policy=_EveryPass())
    return made.ids, made.passes
