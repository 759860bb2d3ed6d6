"""Options of a live session, and the updates it returns."""

from dataclasses import dataclass, field
from numbers import Integral, Real

from ..audio.vad import VadOptions
from ..results.segments import Segment
from ..typed import check_fields
from .agreement import Revision

_RULES = (
    ("interval", Real, lambda x: 0.1 <= x <= 10, "a number from 0.1 to 10 (seconds)"),
    ("agreement", Integral, lambda x: 1 <= x <= 10, "a whole number from 1 to 10"),
    ("hold", Real, lambda x: 0 <= x <= 5, "a number from 0 to 5 (seconds)"),
    ("confidence", Real, lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    ("realtime", bool, lambda x: True, "True or False"),
    ("vad", VadOptions, lambda x: True, "VadOptions(…)"),
)


@dataclass(frozen=True)
class LiveOptions:
    """Options of a live session.

    interval    seconds of audio between two hypotheses about an open segment; longer once it exceeds eight intervals,
                when a hypothesis is made for each eighth of new audio
    agreement   consecutive hypotheses that must contain a word before it is committed
    hold        a word is committed this many seconds after its end at the earliest: it may continue
    confidence  least probability of every token of a committed word; words after a less certain one wait
    realtime    skip hypotheses that would come too late to be seen: for microphones. Otherwise all are made, and the
                same audio gives the same updates however it is chunked
    vad         where segments begin and end
    """

    interval: float = 0.5
    agreement: int = 2
    hold: float = 0.4
    confidence: float = 0.85
    realtime: bool = False
    vad: VadOptions = field(default_factory=VadOptions)

    def __post_init__(self) -> None:
        check_fields(self, _RULES)


@dataclass(frozen=True)
class Latency:
    """The cost of a session so far, and the delay of its text; times in seconds.

    audio        received so far
    work         spent on it
    update       from the arrival of the audio to this update
    first_text   audio from the start of a segment to its first text, for the last segment that has text
    commit       audio from the end of each word committed by this update until now, where its end is known
    passes       hypotheses made; `skipped` counts those left out
    drafted      draft tokens verified; `accepted` counts those that were kept
    steps        decoder passes after each prefill; without drafts they would be as many as `tokens`
    """

    audio: float = 0.0
    work: float = 0.0
    update: float = 0.0
    first_text: float | None = None
    commit: tuple[float, ...] = ()
    passes: int = 0
    skipped: int = 0
    drafted: int = 0
    accepted: int = 0
    steps: int = 0
    tokens: int = 0

    def __str__(self) -> str:
        saved = 1 - self.steps / self.tokens if self.tokens else 0.0
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.work:.1f} s of work, {self.passes} hypotheses{skipped}, drafts saved {saved:.0%} of the steps"


@dataclass(frozen=True)
class Update:
    """What changed. The text to display is that of all segments so far, then `committed`, then `tentative`.

    committed   text of the open segment that stays until the segment ends
    tentative   text of the open segment after that, which may change
    segments    segments that ended since the last update, with their final text
    revisions   where final text differs from the committed text
    start       where the open segment begins, in seconds; None while nobody speaks
    speaker     of the open segment so far, with `speakers`; its final label may differ
    """

    committed: str
    tentative: str
    segments: tuple[Segment, ...]
    revisions: tuple[Revision, ...]
    start: float | None
    latency: Latency
    speaker: str | None = None
