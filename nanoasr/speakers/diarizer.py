"""Who spoke when in a recording: speech is embedded as it is read, and clustered at the end."""

from dataclasses import replace
from numbers import Integral
from pathlib import Path

import numpy as np

from ..audio import SAMPLE_RATE
from ..audio.reader import read_ahead
from ..audio.vad import Span, VadOptions, find_segments
from ..errors import OptionError
from ..results.transcript import Transcript
from .clustering import cluster, normalized
from .embeddings import BATCH, SpeakerModel, cut_windows, load_speaker_model
from .labels import label_segments
from .turns import Turn, find_turns

MOST_SPEAKERS = 50
VAD = VadOptions(threshold=0.4)  # finds faint speakers too; at 0.5 AMI's excerpts lose 4 points, at 0.3 noise is speech
_FINE_SECONDS = 120.0  # of speech at most: windows are close, as short recordings have few otherwise
# Of longer recordings: the window's samples, and the similarity of neighbours below which the voice may change, so that
# the window between them is embedded too. Shorter windows cost less, but at 1.2 s similar voices are nearly merged.
_LONG = {"ge2e": (round(1.4 * SAMPLE_RATE), 0.7)}


class Diarizer:
    """The voices of one recording. `add` its speech in order, then ask for the `turns` or `label` a transcript.

    Embeddings are kept, 3 MB for an hour of speech, and up to seven minutes of samples, 26 MB.
    """

    def __init__(self, model: SpeakerModel | None = None):
        self.model = model or load_speaker_model()
        self._spans: list[tuple[float, float]] = []
        self._seconds = 0.0  # of speech
        self._waiting: list[tuple[float, np.ndarray]] = []  # start and samples
        self._centres: list[np.ndarray] = []
        self._embedded: list[np.ndarray] = []

    def add(self, samples: np.ndarray, start: float, is_speech: bool = False) -> None:
        """Take a segment of the recording (16 kHz mono) that begins at `start` seconds.

        What is not speech in it is skipped, unless `is_speech` says that it is all speech.
        """
        samples = np.asarray(samples, np.float32)
        for span in [Span(0, len(samples))] if is_speech else find_segments(samples, VAD):
            begin, end = start + span.start / SAMPLE_RATE, start + span.end / SAMPLE_RATE
            self._seconds += end - begin
            self._spans.append((begin, end))
            self._waiting.append((begin, samples[span.start : span.end]))
        waiting = sum(len(part) for _, part in self._waiting)
        if self._seconds > _FINE_SECONDS and waiting >= 2 * self.model.step * BATCH:
            self.embed()

    def turns(self, speakers: bool | int = True) -> list[Turn]:
        """Who spoke when, in order. `speakers`: how many there are; True to find out."""
        count = speaker_count(speakers)
        self.embed()
        if not self._embedded:
            return []
        embeddings, centres = np.concatenate(self._embedded), np.concatenate(self._centres)
        labels = cluster(embeddings, self._seconds / len(embeddings), count)
        return find_turns(self._spans, centres, labels)

    def label(self, transcript: Transcript, speakers: bool | int = True) -> Transcript:
        """Return the transcript with a speaker for each segment; a segment is split where the voice changes."""
        segments = label_segments(transcript.segments, self.turns(speakers))
        return replace(transcript, segments=segments)

    def embed(self) -> None:
        """Embed what waits; of a long recording windows far apart, and where two are unlike, the one between too."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        window, step, change = self.model.window, self.model.step // 2, -1.0
        if self._seconds > _FINE_SECONDS:
            step = 2 * self.model.step
            window, change = _LONG.get(self.model.name, (window, 1.0))
        windows, centres = zip(*(cut_windows(part, window, step) for _, part in waiting), strict=True)
        embedded = self.model.embed(np.concatenate(windows))
        self._keep([start + own / SAMPLE_RATE for (start, _), own in zip(waiting, centres, strict=True)], embedded)
        between, middles = [], []
        parts = np.split(normalized(embedded), np.cumsum([len(own) for own in centres])[:-1])
        for (start, samples), own, vectors in zip(waiting, centres, parts, strict=True):
            similarity = (vectors[1:] * vectors[:-1]).sum(axis=1)
            unlike = (np.diff(own) > self.model.step) & (similarity < change)
            middle = ((own[1:] + own[:-1]) / 2)[unlike]
            first = np.round(middle - window / 2).astype(int)
            between += [samples[i : i + window] for i in first]
            middles.append(start + middle / SAMPLE_RATE)
        if between:
            self._keep(middles, self.model.embed(np.stack(between)))

    def _keep(self, centres: list[np.ndarray], embedded: np.ndarray) -> None:
        self._centres += centres
        self._embedded.append(embedded)


def diarize(
    source: "str | Path | bytes | np.ndarray | object",
    speakers: bool | int = True,
    *,
    sample_rate: int | None = None,
    model: SpeakerModel | None = None,
) -> list[Turn]:
    """Find who speaks when in a recording, as turns of "S1", "S2" … in order of appearance.

    Where two speak at once, the turn is one speaker's, as a rule the louder's. Silence and noise give no turns.

    source       a file, bytes, a file object or an array, as for `transcribe`
    speakers     how many there are; True to find out
    sample_rate  of an array (16,000 by default)
    model        from `load_speaker_model`; None for the bundled one
    """
    return _heard(source, sample_rate, speakers, model).turns(speakers)


def label(
    transcript: Transcript,
    source: "str | Path | bytes | np.ndarray | object",
    speakers: bool | int = True,
    *,
    sample_rate: int | None = None,
    model: SpeakerModel | None = None,
) -> Transcript:
    """Label the segments and words of a transcript with "S1", "S2" …, from the recording it was made of.

    Words are labelled by their times, and a segment is split where the voice changes; a segment whose words have no
    times gets the speaker who speaks most in it. The other arguments are those of `diarize`; False changes nothing.
    """
    return transcript if speakers is False else _heard(source, sample_rate, speakers, model).label(transcript, speakers)


def speaker_count(speakers: bool | int) -> int | None:
    """Return the number of speakers asked for; None for True and False. OptionError for anything else."""
    if isinstance(speakers, bool):
        return None
    if not isinstance(speakers, Integral) or not 1 <= speakers <= MOST_SPEAKERS:
        raise OptionError(f"speakers={speakers!r:.80}: use False, True or a number from 1 to {MOST_SPEAKERS}")
    return int(speakers)


def _heard(source: object, sample_rate: int | None, speakers: bool | int, model: SpeakerModel | None) -> Diarizer:
    speaker_count(speakers)  # before work begins
    diarizer = Diarizer(model)
    for recording in read_ahead([source], sample_rate, VAD, workers=1):
        for cut in recording.cuts():
            diarizer.add(cut.samples, cut.start, cut.is_speech)
        if recording.error:
            raise recording.error
    return diarizer
