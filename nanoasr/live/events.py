"""What a live session is asked for and what it tells: its options, its updates, and what they cost."""

from dataclasses import dataclass, field

from ..audio.vad import VadOptions
from ..errors import OptionError
from ..results.transcript import Segment
from .agreement import Revision


@dataclass(frozen=True)
class LiveOptions:
    """How a session listens.

    interval   seconds of audio between two hypotheses about an open segment; in a long one (over eight of them) as
               many as make an eighth of it
    agreement  how many hypotheses in a row must have a word before it is committed
    hold       seconds before the end of what was heard in which no word is committed: it may go on
    confidence how probable each token of a committed word must be; the first doubtful word holds up the rest
    realtime   leave out hypotheses that come too late to be seen: for microphones. Otherwise every one is made, so
               that the same audio gives the same updates whatever its chunks
    vad        where segments begin and end
    """

    interval: float = 0.5
    agreement: int = 2
    hold: float = 0.4
    confidence: float = 0.85
    realtime: bool = False
    vad: VadOptions = field(default_factory=VadOptions)

    def __post_init__(self) -> None:
        for name, fits, wanted in (
            ("interval", 0.1 <= self.interval <= 10, "from 0.1 to 10 seconds"),
            ("agreement", self.agreement in range(1, 11), "from 1 to 10"),
            ("hold", 0 <= self.hold <= 5, "from 0 to 5 seconds"),
            ("confidence", 0 <= self.confidence <= 1, "from 0 to 1"),
        ):
            if not fits:
                raise OptionError(f"{name}={getattr(self, name)!r}: must be {wanted}")


@dataclass(frozen=True)
class Latency:
    """What a session has cost so far, and how late its text comes; seconds.

    audio        heard so far
    work         spent on it, in all
    update       from the arrival of the audio to this update
    first_text   of audio between the beginning of a segment and its first text, of the last that has any
    commit       of audio between the end of each word that this update commits and now, where its end is known
    passes       hypotheses made, `skipped` those left out
    drafted      tokens guessed, `accepted` those that were right
    steps        of decoding after each prefill; decoding anew would have taken `tokens` of them
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
        skipped = f", {self.skipped} left out" if self.skipped else ""
        return f"{self.work:.1f} s of work, {self.passes} hypotheses{skipped}, drafts saved {saved:.0%} of the steps"


@dataclass(frozen=True)
class Update:
    """What is new. Shown text is: the segments so far, then `committed`, then `tentative`.

    committed   of the open segment: stands while it is open
    tentative   of the open segment, after that: may change
    segments    finished since the last update, with their final text
    revisions   where that differs from what had been committed
    start       where the open segment begins, in seconds; None while nobody speaks
    """

    committed: str
    tentative: str
    segments: tuple[Segment, ...]
    revisions: tuple[Revision, ...]
    start: float | None
    latency: Latency
