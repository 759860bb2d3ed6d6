"""How long a live session's update takes: half a second more of an open segment, until its text can be read.

The segment had been heard and read before, so there are its frames and a hypothesis. The other package, which knows
nothing of what was before, transcribes it all anew, with as many tokens.
"""

import time
from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np

from .. import backend
from ..audio.files import SAMPLE_RATE
from ..decode.sampling import Sampling
from ..errors import OptionError
from ..families.base import DecodedSegment, DecodeOptions
from ..live.hypotheses import IncrementalDecoder, OpenSegment
from ..recognizer import Recognizer
from .report import Contest, Report, Row
from .stages import Plan, Subject, Work, made_up_speech, make_report, prepare, take_turns

MORE = 0.5  # seconds that the segment grows by
_WRONG = 2  # tokens at the hypothesis's end: what is said last is understood last


def bench_live(plan: Plan, subject: Subject, say: Callable[[str], None] = lambda line: None) -> Report:
    """Measure an update of an open segment of each length; of the plan, batches and recordings do not matter."""
    if plan.tokens <= _WRONG:
        raise OptionError(f"--tokens {plan.tokens}: a hypothesis of more than {_WRONG} is needed")
    asr = prepare(plan, subject, say)
    rows: list[Row] = []
    contests: list[Contest] = []
    notes: list[str] = []
    for seconds in plan.seconds:
        say(f"updates of {seconds:g} s")
        samples = made_up_speech(seconds + MORE)
        update = _Update(asr, samples, plan.tokens)
        stage = f"{MORE:g} s more of {seconds:g} s"
        drafted, anew = f"{stage}, {plan.tokens - _WRONG} of {plan.tokens} tokens right", f"{stage}, without a draft"
        works: dict[str, Work] = {drafted: update.drafted, anew: update.anew}
        memory = {name: _memory(work) for name, work in works.items()}
        if plan.against:
            from .peers import contenders

            say(f"updates of {seconds:g} s against {plan.against}")
            with contenders(plan.against, asr.checkpoint, subject, samples, plan.tokens) as peers:
                works |= {peer.name: peer.works["transcription"] for peer in peers}
                times = take_turns(works, plan.repeats)
                contests += [Contest(peer.name, stage, times[drafted], times[peer.name]) for peer in peers]
                notes += [note for peer in peers for note in peer.notes()]
        else:
            times = take_turns(works, plan.repeats)
        rows += [Row(name, seconds + MORE, 1, times[name], memory[name]) for name in (drafted, anew)]
        notes.append(f"{stage}: {update.steps} decoding steps after the prefill, without a draft {plan.tokens - 1}")
    return make_report(asr, plan, rows, (), contests, notes)


def _memory(work: Work) -> int:
    mx.reset_peak_memory()
    work()
    return mx.get_peak_memory()


class _Update:
    """One update of an open segment, as often as wanted."""

    def __init__(self, asr: Recognizer, samples: np.ndarray, tokens: int):
        self._options = DecodeOptions(sampling=Sampling(max_tokens=tokens))
        self._asr, self._samples = asr, samples
        self._known = samples[: len(samples) - round(MORE * SAMPLE_RATE)]
        right = [token.id for token in self._decode(self._open_segment()).segment.tokens]
        vocabulary = asr.checkpoint.model.config.llm.vocab_size
        self._draft = right[:-_WRONG] + [(i + 1) % vocabulary for i in right[-_WRONG:]]
        self.steps = self._decode(self._open_segment(self._draft)).timings.steps

    def drafted(self) -> float:
        """Given the last hypothesis and the frames."""
        return self._timed(self._draft)

    def anew(self) -> float:
        """Given the frames alone."""
        return self._timed(())

    def _timed(self, draft: Sequence[int]) -> float:
        segment = self._open_segment(draft)
        start = time.perf_counter()
        self._decode(segment)
        return time.perf_counter() - start

    def _open_segment(self, draft: Sequence[int] = ()) -> OpenSegment:
        segment = OpenSegment(0, 1)
        backend.run(segment.extend_filterbank, self._known)
        segment.ids = list(draft)
        return segment

    def _decode(self, segment: OpenSegment) -> DecodedSegment:
        decoder = IncrementalDecoder(self._asr.scheduler, self._options, lambda: False)  # remembers nothing
        return decoder.decode_open(segment, self._samples, 0)
