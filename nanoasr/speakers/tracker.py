"""Speakers live: each segment is labelled when it ends, and a voice keeps its label through the session."""

import numpy as np

from ..audio import SAMPLE_RATE
from ..results.transcript import Segment
from .clustering import agglomerate, normalized
from .diarizer import MOST_SPEAKERS, speaker_count
from .embeddings import SpeakerModel, cut_windows, load_speaker_model
from .labels import label_segments
from .turns import Turn, find_turns

# Cosine similarities, measured on made-up conversations for GE2E and guessed for CAM++: windows of one segment are of
# one voice from the first on; a voice is a known one if the mean of what was heard of it is as similar as the second.
_ALIKE = {"ge2e": (0.67, 0.8), "campplus": (0.4, 0.6)}


class SpeakerTracker:
    """The voices of one live session. `hear` each segment when it ends; `guess` labels an open one provisionally.

    A label once given never changes: two voices that sounded alike at first stay one, unlike with `Diarizer`,
    which hears everything before it decides.
    """

    def __init__(self, speakers: bool | int = True, model: SpeakerModel | None = None):
        self.model = model or load_speaker_model()
        self._most = speaker_count(speakers) or MOST_SPEAKERS
        self._sums: list[np.ndarray] = []  # of the embeddings heard of each voice
        self._turns: list[Turn] = []

    def hear(self, samples: np.ndarray, start: float) -> list[Turn]:
        """Find who speaks when in a segment of speech that has ended; it begins at `start` seconds."""
        if not len(samples):
            return []
        windows, centres = cut_windows(samples, self.model.window, self.model.step)
        embeddings = normalized(self.model.embed(windows))
        labels = agglomerate(embeddings, _ALIKE[self.model.name][0])
        voices = np.zeros(labels.max() + 1, int)
        for label in np.argsort(-np.bincount(labels), kind="stable"):
            heard = embeddings[labels == label].sum(axis=0)
            # one window alone may hold the end of one voice and the beginning of another
            voices[label] = self._recognize(heard, may_be_new=(labels == label).sum() > 1)
            self._remember(voices[label], heard)
        span = (start, start + len(samples) / SAMPLE_RATE)
        turns = find_turns([span], start + centres / SAMPLE_RATE, voices[labels], named=True)
        self._turns += turns
        return turns

    def label(self, segment: Segment) -> tuple[Segment, ...]:
        """Give a segment that was heard its speaker; it is split where the voice changes."""
        return label_segments([segment], self._turns)

    def guess(self, samples: np.ndarray) -> str | None:
        """Guess the label of the voice at the end of an open segment; a new voice gets the next one."""
        if not len(samples):
            return None
        windows, _ = cut_windows(samples[-2 * self.model.window :], self.model.window, self.model.step)
        return f"S{self._recognize(self.model.embed(windows).sum(axis=0)) + 1}"

    def _recognize(self, voice: np.ndarray, may_be_new: bool = True) -> int:
        """Return the number of the most similar known voice, or the next number."""
        if not self._sums:
            return 0
        similarity = normalized(np.array(self._sums)) @ normalized(voice[None])[0]
        best = int(similarity.argmax())
        is_new = may_be_new and similarity[best] < _ALIKE[self.model.name][1] and len(self._sums) < self._most
        return len(self._sums) if is_new else best

    def _remember(self, voice: int, heard: np.ndarray) -> None:
        if voice == len(self._sums):
            self._sums.append(heard)
        else:
            self._sums[voice] = self._sums[voice] + heard
