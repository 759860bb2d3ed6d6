"""Hypotheses about a segment that is still being spoken: each is the draft of the next."""

from collections import deque
from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np

from .. import backend
from ..audio.features import FRAME_SHIFT, filterbank, frame_count
from ..audio.files import SAMPLE_RATE
from ..families.base import DecodedSegment, DecodeOptions, SegmentJob
from ..pipeline import new_seed, segment_seed
from ..scheduler import Scheduler
from .agreement import Agreement

_REMEMBERED = 20  # earlier hypotheses that may recur: a small model wavers between two readings


class OpenSegment:
    """A segment that has not ended, and what is known of it."""

    def __init__(self, start: int, agreement: int):
        self.start = self.decoded_at = start  # samples; when the last hypothesis was made
        self.ids: list[int] = []  # the last hypothesis
        self.speaker, self.speaker_known_at = None, start  # a provisional label
        self.text = Agreement(agreement)
        self._filterbank: mx.array | None = None

    def is_due(self, now: int) -> bool:
        """Return True once at least 1/8 of the audio is new; re-encoding costs the whole segment."""
        return (now - self.decoded_at) * 8 >= now - self.start

    def extend_filterbank(self, samples: np.ndarray) -> mx.array:
        """Return the filterbank of all samples so far; each frame is computed once. Call on the worker thread."""
        known = 0 if self._filterbank is None else self._filterbank.shape[0]
        if frame_count(len(samples)) > known:
            new = filterbank(mx.array(samples[known * FRAME_SHIFT :]))
            self._filterbank = new if self._filterbank is None else mx.concatenate([self._filterbank, new])
            mx.eval(self._filterbank)
        return self._filterbank


class IncrementalDecoder:
    """Decodes segments with earlier hypotheses as drafts. Results are None once `cancelled` is true."""

    def __init__(self, scheduler: Scheduler, options: DecodeOptions, cancelled: Callable[[], bool]):
        self._scheduler, self._options, self._cancelled = scheduler, options, cancelled
        self._seed = new_seed(options.sampling)
        self._before: deque[list[int]] = deque(maxlen=_REMEMBERED)  # newest first

    def decode_open(self, segment: OpenSegment, samples: np.ndarray, index: int) -> DecodedSegment | None:
        """Make a new hypothesis about an open segment, given all its samples. `index` counts segments."""
        if self._cancelled():
            return None
        bank = backend.run(segment.extend_filterbank, samples)
        found = self._decode(samples, segment.start, index, segment.ids, bank)
        if found is not None:
            segment.ids = [token.id for token in found.segment.tokens]
        return found

    def decode_final(self, samples: np.ndarray, start: int, index: int, draft: Sequence[int]) -> DecodedSegment | None:
        """Decode a segment that has ended, to what `transcribe` gives for its samples."""
        return self._decode(samples, start, index, draft)

    def _decode(
        self, samples: np.ndarray, start: int, index: int, draft: Sequence[int], bank: mx.array | None = None
    ) -> DecodedSegment | None:
        if self._cancelled():
            return None
        job = SegmentJob(
            samples=samples,
            options=self._options,
            start=start / SAMPLE_RATE,
            seed=segment_seed(self._seed, index),
            filterbank=bank,
            draft=draft,
            others=tuple(self._before),
            cancelled=self._cancelled,
        )
        found = self._scheduler.result(self._scheduler.submit(job))
        if found.cancelled:
            return None
        self._before.appendleft([token.id for token in found.segment.tokens])
        return found
