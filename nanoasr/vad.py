"""Where speech is: a live voice-activity detector (Silero), and segments cut at its pauses.

Silero was chosen for coming in a wheel of 1 MB that needs nothing else; it hears 32 ms at a time.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from .detector import FRAME, Detector, RemoteDetector
from .errors import OptionError

RATE = 16000
SILENCE = 1e-4  # a peak below -80 dBFS


@dataclass(frozen=True)
class VadOptions:
    """How speech is told from the rest; times in seconds.

    threshold    probability from which a frame is speech; it stays speech until 0.15 below
    min_speech   what is shorter is a click, not speech
    min_silence  a pause of this length ends a segment
    pad          kept before and after what was heard, since words begin and end softly
    max_segment  longer speech is cut at its quietest place in the second half; 30 at most
    """

    threshold: float = 0.5
    min_speech: float = 0.1
    min_silence: float = 0.6
    pad: float = 0.2
    max_segment: float = 15.0

    def __post_init__(self) -> None:
        for name, fits, wanted in (
            ("threshold", 0.15 < self.threshold < 1, "above 0.15 and below 1"),
            ("min_speech", self.min_speech >= 0, "0 or more"),
            ("min_silence", self.min_silence > 0, "above 0"),
            ("pad", 0 <= self.pad <= self.min_silence / 2, "from 0 to half of min_silence"),
            ("max_segment", 2 <= self.max_segment <= 30, "from 2 to 30: the model loops on longer ones"),
        ):
            if not fits:
                raise OptionError(f"{name}={getattr(self, name)!r}: must be {wanted}")


@dataclass(frozen=True)
class Span:
    """A segment of a recording, in samples. `cut`: it was ended for its length, and speech goes on after it."""

    start: int
    end: int
    cut: bool = False


def is_silent(samples: np.ndarray) -> bool:
    """Whether there is nothing at all to hear."""
    return not len(samples) or float(np.abs(samples).max()) < SILENCE


def has_speech(samples: np.ndarray, options: VadOptions, detector: Detector | RemoteDetector | None = None) -> bool:
    """Whether anybody speaks; stops listening as soon as somebody does."""
    if is_silent(samples):
        return False
    segmenter = Segmenter(options, detector)
    for start in range(0, len(samples), RATE // 2):
        if segmenter.push(samples[start : start + RATE // 2]) or segmenter.speaking:
            return True
    return bool(segmenter.finish())


def find_segments(samples: np.ndarray, options: VadOptions | None = None) -> list[Span]:
    """The segments of a whole recording."""
    segmenter = Segmenter(options or VadOptions())
    return segmenter.push(samples) + segmenter.finish()


def quiet_place(samples: np.ndarray, start: int) -> int:
    """The middle of the quietest tenth of a second from `start` on."""
    window = RATE // 10
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples[start:], dtype=np.float64))])
    return start + int(np.argmin(energy[window:] - energy[:-window])) + window // 2


@dataclass(frozen=True)
class _Frame:
    end: int  # sample
    speech: float  # probability
    level: float  # dB


class Segmenter:
    """Takes audio as it comes and gives segments as they end; how it was chunked makes no difference.

    Segments are in order and never overlap; one that was cut touches the next. Memory does not grow.
    """

    def __init__(self, options: VadOptions | None = None, detector: Detector | RemoteDetector | None = None):
        self.options = options or VadOptions()
        self.position = 0  # samples heard
        self.start: int | None = None  # of the open segment
        self.probabilities: deque[float] = deque(maxlen=1000)  # of the last 32 s, for those who look
        self._detector = detector or Detector()
        self._rest = np.zeros(0, np.float32)
        self._frames: list[_Frame] = []  # of the open segment
        self._speech_end = 0
        self._free_from = 0  # the end of the last segment

    @property
    def speaking(self) -> bool:
        """Whether a segment is open and long enough to be speech."""
        return self.start is not None and self._spoken() >= self.options.min_speech

    @property
    def needed_from(self) -> int:
        """The first sample that a segment still to come may begin with."""
        if self.start is not None:
            return self.start
        return max(self._free_from, self.position - len(self._rest) - self._samples(self.options.pad), 0)

    def push(self, samples: np.ndarray) -> list[Span]:
        """Hear more of the recording; the segments that ended in it come back."""
        samples = np.concatenate([self._rest, samples.astype(np.float32, copy=False)])
        self.position += len(samples) - len(self._rest)
        whole = len(samples) - len(samples) % FRAME
        self._rest = samples[whole:]
        end = self.position - len(self._rest) - whole
        ended: list[Span] = []
        frames = samples[:whole].reshape(-1, FRAME)
        for frame, probability in zip(frames, self._detector.hear(frames), strict=True):
            end += FRAME
            self._hear(frame, probability, end, ended)
        return ended

    def finish(self) -> list[Span]:
        """The recording is over: the last segment, if one is open."""
        ended: list[Span] = []
        if len(self._rest):
            frame = np.zeros(FRAME, np.float32)
            frame[: len(self._rest)] = self._rest
            self._rest = self._rest[:0]
            self._hear(frame, self._detector.hear(frame[None])[0], self.position, ended)
        if self.start is not None:
            self._close(ended)
        return ended

    def _hear(self, frame: np.ndarray, probability: float, end: int, ended: list[Span]) -> None:
        options = self.options
        power = float(np.dot(frame, frame)) / FRAME
        self.probabilities.append(probability)
        if self.start is None and probability >= options.threshold and power >= SILENCE**2:
            self.start = max(self._free_from, end - FRAME - self._samples(options.pad), 0)
        if self.start is None:
            return
        self._frames.append(_Frame(end, probability, 10 * np.log10(power + 1e-10)))
        if probability >= options.threshold - 0.15:
            self._speech_end = end
        elif end - self._speech_end >= self._samples(options.min_silence):
            self._close(ended)
        if self.start is not None and end - self.start > self._samples(options.max_segment - options.pad) - FRAME:
            self._cut(ended)

    def _close(self, ended: list[Span]) -> None:
        end = min(self._speech_end + self._samples(self.options.pad), self.position)
        # what follows a cut is the rest of somebody's sentence, however short
        if end > self.start and (self._spoken() >= self.options.min_speech or self.start == self._free_from > 0):
            ended.append(Span(self.start, end))
            self._free_from = end
        self.start, self._frames = None, []

    def _cut(self, ended: list[Span]) -> None:
        frames = self._frames
        middle = self.start + self._samples(self.options.max_segment / 2)
        speech = np.convolve([frame.speech for frame in frames], np.ones(5) / 5, "same")
        level = np.convolve([frame.level for frame in frames], np.ones(3) / 3, "same")
        # quiet counts with the probability: within a sentence Silero rarely wavers, but a breath is 20 dB down
        score = speech + (level - level.max()) / 40
        late = [i for i, frame in enumerate(frames[:-2]) if frame.end >= middle]
        place = min(late, key=lambda i: score[i])
        end = frames[place].end - FRAME // 2
        ended.append(Span(self.start, end, cut=True))
        self.start = self._free_from = end
        self._frames = [frame for frame in frames[place:] if frame.end > end]
        if self._speech_end <= end:
            self.start, self._frames = None, []

    def _spoken(self) -> float:
        return sum(frame.speech >= self.options.threshold for frame in self._frames) * FRAME / RATE

    @staticmethod
    def _samples(seconds: float) -> int:
        return int(seconds * RATE)
