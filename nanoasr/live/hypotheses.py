"""What the network makes of a segment that somebody is still speaking: each hypothesis is the next one's draft."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..audio.features import FRAME_SHIFT, filterbank, frame_count, lfr, normalized
from ..audio.files import SAMPLE_RATE
from ..audio.reader import Cut
from ..checkpoint.load import Checkpoint
from ..decode.batch import Decoded, encode
from ..decode.draft import generate_drafted
from ..decode.generate import Generated, Request
from ..pipeline import Wish, finished_segment, seed_for
from ..results.transcript import Segment, Timings
from .agreement import Agreement

_REMEMBERED = 20  # hypotheses whose parts may come again: a small model wavers between two readings
_SHARE = 8  # a hypothesis is made when the eighth part of a segment is new: from 4 s on, less often than asked for


class OpenSegment:
    """A segment that is not over, and what is known of it."""

    def __init__(self, start: int, agreement: int):
        self.start = self.guessed_at = start  # sample; when the last hypothesis was made
        self.ids: list[int] = []  # the last hypothesis, the next one's draft
        self.text = Agreement(agreement)
        self._bank: mx.array | None = None  # of the frames heard so far: each is computed once

    def is_due(self, now: int) -> bool:
        """Whether a share of it is new that makes another hypothesis worth its price: all of it is read anew."""
        return (now - self.guessed_at) * _SHARE >= now - self.start

    def hear(self, samples: np.ndarray) -> mx.array:
        """The filterbank of the segment, given all of it; call on the worker thread."""
        known = 0 if self._bank is None else self._bank.shape[0]
        if frame_count(len(samples)) > known:
            new = filterbank(mx.array(samples[known * FRAME_SHIFT :]))
            self._bank = new if self._bank is None else mx.concatenate([self._bank, new])
            mx.eval(self._bank)
        return self._bank


@dataclass(frozen=True)
class Hypothesis:
    """A segment as it reads now, and what it took: `made` counts the tokens that a draft gave."""

    segment: Segment
    timings: Timings
    made: Generated


class Guesser:
    """Turns sound into hypotheses, on the worker thread. They are None when `cancelled` turns true meanwhile."""

    def __init__(self, checkpoint: Checkpoint, wish: Wish, cancelled: Callable[[], bool]):
        self._checkpoint, self._wish, self._cancelled = checkpoint, wish, cancelled
        self._seed = seed_for(wish)
        self._before: deque[list[int]] = deque(maxlen=_REMEMBERED)  # hypotheses, the newest first

    def guess(self, segment: OpenSegment, samples: np.ndarray, index: int) -> Hypothesis | None:
        """A new hypothesis about an open segment, given all its samples: only what is new of them is computed anew
        where that gives the same. `index` counts segments."""
        if self._cancelled():
            return None
        model, start = self._checkpoint.model, time.perf_counter()
        x = normalized(lfr(segment.hear(samples)), self._checkpoint.cmvn)
        encoded = model.encode(x[None])
        tokens = model.adapt(encoded)[0, : model.audio_token_count(x.shape[0])]
        ctc = model.ctc_logprobs(encoded)[0] if self._wish.ctc_tokens and model.config.ctc else None
        mx.eval(tokens, ctc)
        seconds = {"encoder": time.perf_counter() - start}
        found = self._decode(samples, segment.start, index, tokens, ctc, segment.ids, seconds)
        if found is not None:
            segment.ids = found.made.ids
        return found

    def finish(self, samples: np.ndarray, start: int, index: int, draft: Sequence[int]) -> Hypothesis | None:
        """The last word about a segment that is over: what `transcribe` gives for its samples."""
        if self._cancelled():
            return None
        [source] = encode(self._checkpoint, [samples], self._wish.ctc_tokens is not None)
        return self._decode(samples, start, index, source.audio_tokens, source.ctc_logprobs, draft, source.seconds)

    def _decode(
        self,
        samples: np.ndarray,
        start: int,
        index: int,
        audio_tokens: mx.array,
        ctc: mx.array | None,
        draft: Sequence[int],
        seconds: dict[str, float],
    ) -> Hypothesis | None:
        embed, prompt = self._checkpoint.model.llm.embed, self._wish.prompt
        x = mx.concatenate([embed(mx.array(prompt.prefix)), audio_tokens, embed(mx.array(prompt.suffix))])
        request = Request(x, hash((self._seed, index)) % 2**48, cancelled=self._cancelled)
        end_ids = self._checkpoint.tokenizer.end_ids
        logprobs = None if ctc is None else np.array(ctc)
        heard = self._spelled(logprobs)
        draft = [*draft, *heard[len(draft) :]]  # the branch is quick to write what was said since
        others = [heard, *self._before]
        made = generate_drafted(self._checkpoint.model, request, self._wish.sampling, end_ids, draft, others)
        if made.stop == "cancelled":
            return None
        self._before.appendleft(made.ids)
        seconds = seconds | {"prefill": made.prefill_seconds, "decode": made.decode_seconds}
        cut = Cut(index, start / SAMPLE_RATE, (start + len(samples)) / SAMPLE_RATE, samples)
        decoded = Decoded(made, logprobs, seconds)
        return Hypothesis(*finished_segment(self._checkpoint, self._wish, cut, decoded), made)

    def _spelled(self, ctc_logprobs: np.ndarray | None) -> list[int]:
        """What the CTC branch alone would write, in the text decoder's ids."""
        if ctc_logprobs is None or not self._wish.ctc_tokens or not self._wish.sampling.greedy:
            return []
        ids = self._wish.ctc_tokens.greedy_ids(ctc_logprobs, self._checkpoint.model.config.ctc.blank_id)
        return self._checkpoint.tokenizer.encode(self._wish.ctc_tokens.decode(ids))
