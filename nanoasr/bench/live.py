"""Measure an update of a live session: from half a second of new audio in an open segment to its text.

A session keeps the frames and the last hypothesis of the segment. Another package, which keeps nothing, transcribes the
whole segment, to as many tokens.
"""

from collections.abc import Sequence
from dataclasses import replace

import mlx.core as mx
import numpy as np

from .. import backend
from ..audio.files import SAMPLE_RATE
from ..decode.sampling import Sampling
from ..errors import OptionError
from ..families.base import DecodedSegment, DecodeOptions
from ..live.hypotheses import IncrementalDecoder, OpenSegment
from ..recognizer import Recognizer
from .peers import contenders
from .report import Contest, Report, Row
from .stages import Log, make_report, prepare
from .subject import Plan, Subject, synthetic_speech
from .timing import Work, seconds_of, take_turns

_MORE = 0.5  # seconds that the segment grows by
_WRONG = 2  # tokens at the end of the draft: the newest words change most often


def bench_live(plan: Plan, subject: Subject, log: Log = lambda line: None) -> Report:
    """Measure an update of an open segment of each length; the plan's batches and recordings are not used."""
    if plan.tokens <= _WRONG:
        raise OptionError(f"--tokens {plan.tokens}: must be more than {_WRONG}")
    asr = prepare(plan, subject, log)
    if asr.family != "nano":
        raise OptionError(f"--live measures nano checkpoints; this is {asr.family}")
    rows: list[Row] = []
    contests: list[Contest] = []
    notes: list[str] = []
    for seconds in plan.seconds:
        log(f"updates of {seconds:g} s")
        samples = synthetic_speech(seconds + _MORE)
        update = _Update(asr, samples, plan.tokens)
        stage = f"{_MORE:g} s more of {seconds:g} s"
        drafted = f"{stage}, {plan.tokens - _WRONG} of {plan.tokens} tokens right"
        undrafted = f"{stage}, without a draft"
        works: dict[str, Work] = {drafted: update.drafted, undrafted: update.undrafted}
        memory = {name: _memory(work) for name, work in works.items()}
        if plan.against:
            log(f"updates of {seconds:g} s against {plan.against}")
            with contenders(plan.against, asr.checkpoint, subject, samples, plan.tokens) as peers:
                works |= {peer.name: peer.works["transcription"] for peer in peers}
                times = take_turns(works, plan.repeats)
                contests += [Contest(peer.name, stage, times[drafted], times[peer.name]) for peer in peers]
                notes += [note for peer in peers for note in peer.notes()]
        else:
            times = take_turns(works, plan.repeats)
        rows += [Row(name, seconds + _MORE, 1, times[name], memory[name]) for name in (drafted, undrafted)]
        notes.append(f"{stage}: {update.steps} decoding steps after the prefill, without a draft {plan.tokens - 1}")
    return make_report(asr, plan, rows, (), contests, notes)


def _memory(work: Work) -> int:
    mx.reset_peak_memory()
    work()
    return mx.get_peak_memory()


class _Update:
    """One update of an open segment, repeatable."""

    def __init__(self, asr: Recognizer, samples: np.ndarray, tokens: int):
        self._options = DecodeOptions(sampling=Sampling(max_tokens=tokens))
        self._asr, self._samples = asr, samples
        self._known = samples[: len(samples) - round(_MORE * SAMPLE_RATE)]
        right = [token.id for token in self._decode(self._open_segment(), drafts=False).segment.tokens]
        vocabulary = asr.checkpoint.model.config.llm.vocab_size
        self._draft = right[:-_WRONG] + [(i + 1) % vocabulary for i in right[-_WRONG:]]
        self.steps = self._decode(self._open_segment(self._draft)).timings.steps

    def drafted(self) -> float:
        """Time it with the last hypothesis as a draft."""
        segment = self._open_segment(self._draft)
        return seconds_of(lambda: self._decode(segment))

    def undrafted(self) -> float:
        """Time it without a draft."""
        segment = self._open_segment()
        return seconds_of(lambda: self._decode(segment, drafts=False))

    def _open_segment(self, draft: Sequence[int] = ()) -> OpenSegment:
        segment = OpenSegment(0, 1)
        backend.run(segment.extend_filterbank, self._known)
        segment.ids = list(draft)
        return segment

    def _decode(self, segment: OpenSegment, drafts: bool = True) -> DecodedSegment:
        options = replace(self._options, drafts=drafts)
        decoder = IncrementalDecoder(self._asr.scheduler, options, lambda: False)  # a new one has no memory
        return decoder.decode_open(segment, self._samples, 0)
