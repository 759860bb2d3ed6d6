"""A decoded segment of speech, and what a recognizer may know about it besides its text."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .words import Token, Word, split_words


@dataclass(frozen=True, slots=True)
class Tags:
    """Emotion and sound events, where the recognizer detects them (SenseVoice does)."""

    emotion: str | None = None
    events: tuple[str, ...] = ()

    @classmethod
    def join(cls, all_tags: Iterable["Tags"]) -> "Tags":
        """Sum up the tags of segments: the most frequent emotion, and every event once, in order."""
        all_tags = list(all_tags)
        emotions = Counter(tags.emotion for tags in all_tags if tags.emotion)
        events = dict.fromkeys(event for tags in all_tags for event in tags.events)
        return cls(emotions.most_common(1)[0][0] if emotions else None, tuple(events))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One result of a beam search: its text, the log-probability of all its tokens, and the score it is ranked by."""

    text: str
    logprob: float
    score: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech that was decoded in one go; times in seconds of the recording."""

    text: str
    start: float
    end: float
    tokens: tuple[Token, ...] = ()
    repetition_stopped: bool = False
    """Decoding was stopped because the model repeated itself."""
    truncated: bool = False
    """Decoding reached `max_tokens`: there may be more speech than text."""
    revised: bool | None = None
    """Live only: True if the final text differs from the committed text."""
    speaker: str | None = None
    """Label of the speaker, such as "S1"; None where speakers were not told apart."""
    tags: Tags = field(default_factory=Tags)
    nbest: tuple[Candidate, ...] = ()
    """The results of a beam search, best first; empty without one."""

    @property
    def avg_logprob(self) -> float | None:
        """Mean log-probability of the tokens; None without tokens."""
        return sum(token.logprob for token in self.tokens) / len(self.tokens) if self.tokens else None

    @property
    def words(self) -> tuple[Word, ...]:
        """The words with the times of their tokens; times are None where tokens have none or spell another text."""
        return tuple(
            Word(piece.text.strip(), piece.start, piece.end, piece.confidence, self.speaker)
            for piece in split_words(self.text, self.tokens)
        )
