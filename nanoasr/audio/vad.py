"""Where speech is: a live voice-activity detector (Silero), and segments cut at its pauses.

Silero comes in a wheel of 1 MB and hears 32 ms at a time.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real

import numpy as np

from ..errors import OptionError
from .detector import FRAME, Detector, RemoteDetector

RATE = 16000
SILENCE = 1e-4  # a peak below -80 dBFS
_BLOCK = 10 * RATE
_SETTLING = 8  # frames of silence after which the detector need not hear more: 0.3 % of the samples kept then differ
_DROP = 0.15  # below the threshold: speech goes on until there


# The defaults were measured on 105 recordings (5 minutes: read, spoken and synthetic speech, single digits) with pauses
# between them, in white and pink noise at 20, 10, 5 and 0 dB. With a threshold of 0.5, 97 to 99 % of what is kept of
# the clean sound is kept of the noisy, and 99.5 % of all within 30 dB of a recording's peak; no recording is lost.
# Two minutes each of white, pink and brown noise, hum and clicks give nothing. A threshold of 0.3 keeps 9 points more
# of the pauses at 0 dB; a min_speech of 0.25 loses digits at 5 dB; a pad of 0.1 loses up to 1 % of the loud sound.
@dataclass(frozen=True)
class VadOptions:
    """How speech is told from the rest; times in seconds.

    threshold    probability from which a frame is speech; it stays speech until 0.15 below
    min_speech   what is shorter is a click, not speech
    min_silence  a pause of this length ends a segment, a shorter one never does
    pad          kept before and after what was heard, since words begin and end softly
    max_segment  longer speech is cut at its quietest place in the second half; 30 at most
    """

    threshold: float = 0.5
    min_speech: float = 0.1
    min_silence: float = 0.6
    pad: float = 0.2
    max_segment: float = 15.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, Real):
                raise OptionError(f"{name}={value!r:.80}: must be a number")
        for name, fits, wanted in (
            ("threshold", _DROP < self.threshold < 1, f"above {_DROP} and below 1"),
            ("min_speech", 0 <= self.min_speech <= 1, "from 0 to 1"),
            ("min_silence", 0 < self.min_silence <= 10, "above 0 and at most 10"),
            ("pad", 0 <= self.pad <= min(self.min_silence / 2, 0.5), "from 0 to 0.5 and at most half of min_silence"),
            ("max_segment", 2 <= self.max_segment <= 30, "from 2 to 30: the model loops on longer ones"),
        ):
            if not fits:
                raise OptionError(f"{name}={getattr(self, name)!r}: must be {wanted}")


@dataclass(frozen=True)
class Span:
    """A segment of a recording, in samples. `cut`: it was ended for its length, and the next one goes on there."""

    start: int
    end: int
    cut: bool = False


def is_silent(samples: np.ndarray) -> bool:
    """Whether there is nothing at all to hear."""
    return not len(samples) or float(np.abs(samples).max()) < SILENCE


def has_speech(samples: np.ndarray, options: VadOptions, detector: Detector | RemoteDetector | None = None) -> bool:
    """Whether anybody speaks; stops listening as soon as somebody does."""
    segmenter = Segmenter(options, detector)
    for start in range(0, len(samples), RATE // 2):
        if segmenter.push(samples[start : start + RATE // 2]) or segmenter.speaking:
            return True
    return bool(segmenter.finish())


def find_segments(audio: np.ndarray | Iterable[np.ndarray], options: VadOptions | None = None) -> list[Span]:
    """The segments of a whole recording: an array, or blocks of one, which are not kept."""
    segmenter = Segmenter(options)
    blocks = np.split(audio, range(_BLOCK, len(audio), _BLOCK)) if isinstance(audio, np.ndarray) else audio
    return [span for block in blocks for span in segmenter.push(block)] + segmenter.finish()


def quiet_place(samples: np.ndarray, start: int) -> int:
    """The middle of the quietest tenth of a second from `start` on."""
    window = RATE // 10
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples[start:], dtype=np.float64))])
    return start + int(np.argmin(energy[window:] - energy[:-window])) + window // 2


@dataclass(frozen=True)
class _Frame:
    start: int  # sample
    end: int
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
        self._silent = _SETTLING  # frames since the last that was not
        self._rest = np.zeros(0, np.float32)
        self._frames: list[_Frame] = []  # of the open segment
        self._speech_end = 0
        self._free_from = 0  # the end of the last segment
        self._goes_on = False  # whether the open segment is the rest of one that was cut

    @property
    def speaking(self) -> bool:
        """Whether a segment is open and long enough to be speech."""
        spoken = sum(frame.speech >= self.options.threshold for frame in self._frames) * FRAME
        return self.start is not None and (self._goes_on or spoken >= self.options.min_speech * RATE)

    @property
    def needed_from(self) -> int:
        """The first sample that a segment still to come may begin with."""
        if self.start is not None:
            return self.start
        return max(self._free_from, self.position - len(self._rest) - self._samples(self.options.pad), 0)

    def push(self, samples: np.ndarray) -> list[Span]:
        """Hear more of the recording; the segments that ended in it come back."""
        self.position += len(samples)
        samples = np.concatenate([self._rest, samples.astype(np.float32, copy=False)])
        whole = len(samples) - len(samples) % FRAME
        self._rest = samples[whole:].copy()
        return self._hear(samples[:whole].reshape(-1, FRAME), self.position - len(samples))

    def finish(self) -> list[Span]:
        """The recording is over: the last segment, if one is open."""
        rest, self._rest = self._rest, self._rest[:0]
        frames = np.pad(rest, (0, -len(rest) % FRAME)).reshape(-1, FRAME)
        ended = self._hear(frames, self.position - len(rest))
        if self.start is not None:
            self._close(ended)
        return ended

    def _hear(self, frames: np.ndarray, start: int) -> list[Span]:
        ended: list[Span] = []
        if not len(frames):
            return ended
        levels = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)
        for speech, level in zip(self._listen(frames), levels.tolist(), strict=True):
            end = min(start + FRAME, self.position)
            self._take(_Frame(start, end, speech, level), ended)
            start = end
        return ended

    def _listen(self, frames: np.ndarray) -> list[float]:
        """Probabilities of speech. The detector hears of a silence only what it takes to forget the speech before."""
        loud = np.abs(frames).max(axis=1) >= SILENCE
        place = np.arange(len(frames))
        silent = place - np.maximum.accumulate(np.where(loud, place, -1 - self._silent))
        self._silent = min(int(silent[-1]), _SETTLING)
        probabilities = np.zeros(len(frames))
        heard = silent <= _SETTLING
        probabilities[heard] = self._detector.hear(frames[heard])
        return (probabilities * loud).tolist()

    def _take(self, frame: _Frame, ended: list[Span]) -> None:
        options = self.options
        self.probabilities.append(frame.speech)
        if self.start is None:
            if frame.speech < options.threshold:
                return
            self.start = max(self._free_from, frame.start - self._samples(options.pad), 0)
        self._frames.append(frame)
        if frame.speech >= options.threshold - _DROP:
            self._speech_end = frame.end
        elif frame.end - self._speech_end >= self._samples(options.min_silence):
            self._close(ended)
        if self.start is not None and frame.end - self.start > self._samples(options.max_segment - options.pad) - FRAME:
            self._cut(ended)

    def _close(self, ended: list[Span]) -> None:
        if self.speaking:
            self._free_from = min(self._speech_end + self._samples(self.options.pad), self.position)
            ended.append(Span(self.start, self._free_from))
        self.start, self._frames, self._goes_on = None, [], False

    def _cut(self, ended: list[Span]) -> None:
        frames = self._frames
        middle = self.start + self._samples(self.options.max_segment / 2)
        speech = np.convolve([frame.speech for frame in frames], np.ones(5) / 5, "same")
        level = np.convolve([frame.level for frame in frames], np.ones(3) / 3, "same")
        # Quiet counts too: within a sentence Silero rarely wavers, but a breath is 20 dB down. With the probability
        # alone 30 % of the cuts fell where sound is less than 15 dB below the speech's level, so 5 %; at random, 86 %.
        score = speech + (level - level.max()) / 40
        late = [i for i, frame in enumerate(frames[:-2]) if frame.end >= middle]
        place = min(late, key=lambda i: score[i])
        end = frames[place].end - FRAME // 2
        if self._speech_end <= end:
            self._close(ended)
        else:
            ended.append(Span(self.start, end, cut=True))
            self.start = self._free_from = end
            self._frames, self._goes_on = frames[place:], True

    @staticmethod
    def _samples(seconds: float) -> int:
        return round(seconds * RATE)
