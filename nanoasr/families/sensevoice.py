"""SenseVoice: CTC in one pass. What was heard besides words comes as marks such as `<|en|>`, `<|HAPPY|>`, `<|BGM|>`."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..audio.features import features, filterbank
from ..decode.prompt import LANGUAGES, Language
from ..model.ctc import log_softmax
from ..model.sensevoice import LANGUAGE_IDS, QUERIES, query_ids
from ..results.segments import Tags
from .base import DecodedSegment, DecodeOptions, Inspection, SegmentJob
from .one_pass import EncodedBatch, OnePassFamily, Spelled

_FRAME, _SHIFT = 60, 30  # milliseconds; a frame begins half of one before its centre
_AT_ONCE = 2048  # frames whose scores are in memory together: a row of them is as long as the vocabulary
_LANGUAGE_FRAME, _EMOTION_FRAME = 0, 1
_EMOTIONS = frozenset("HAPPY SAD ANGRY NEUTRAL FEARFUL DISGUSTED SURPRISED OTHER EMO_UNKNOWN EMO_UNK".split())
_NO_EVENTS = frozenset({"withitn", "woitn", "Event_UNK", *LANGUAGE_IDS})


@dataclass(frozen=True)
class SenseVoiceInspection(Inspection):
    """`encoded` and `ctc_logprobs` begin with the four query frames: [T' + 4, …]."""

    query_ids: mx.array  # [4]: language, emotion, event, text normalization


@dataclass(frozen=True)
class Run:
    """Frames from `start` to before `end` with the same likeliest id, and the best one with its log-probability."""

    id: int
    start: int
    end: int
    best: int
    logprob: float


class SenseVoiceFamily(OnePassFamily):
    """Implements `Family` for SenseVoiceSmall checkpoints."""

    name, aligner = "sensevoice", "CTC"
    languages: tuple[Language, ...] = tuple(language for language in LANGUAGES if language.code in LANGUAGE_IDS)

    def encoder_input(self, x: SenseVoiceInspection) -> mx.array:
        return mx.concatenate([self.model.embed(x.query_ids).astype(mx.float32), x.features])

    def parts(self) -> dict[str, list[nn.Module]]:
        return {"encoder": [self.model.encoder], "queries": [self.model.embed], "ctc": [self.model.ctc]}

    def text(self, ids: Sequence[int]) -> str:
        return self.vocabulary.decode(ids)

    def queries(self, options: DecodeOptions) -> list[int]:
        """Return the query ids for these options."""
        return query_ids(options.language or "auto", options.itn)

    def run_encoder(self, jobs: Sequence[SegmentJob], x: mx.array, lengths: mx.array | None) -> mx.array:
        return self.model.encode(x, mx.array([self.queries(job.options) for job in jobs]), lengths)

    def decode_batch(self, jobs: Sequence[SegmentJob], batch: EncodedBatch) -> list[DecodedSegment]:
        best, logprobs = self._likeliest(batch.encoded)
        batch.watch.stage("decode", [])
        runs = [
            [*collapse(best[i, : count + QUERIES], logprobs[i], self.model.config.blank_id)]
            for i, count in enumerate(batch.frames)
        ]
        return [self._segment(job, runs[i], batch, i) for i, job in enumerate(jobs)]

    def _likeliest(self, encoded: mx.array) -> tuple[np.ndarray, np.ndarray]:
        """Return the likeliest id of each frame [B, T] and its log-probability."""
        rows = max(1, _AT_ONCE // encoded.shape[1])
        ids, logprobs = [], []
        for start in range(0, len(encoded), rows):
            logits = self.model.ctc(encoded[start : start + rows]).astype(mx.float32)
            best = mx.argmax(logits, axis=-1), logits.max(axis=-1) - mx.logsumexp(logits, axis=-1)
            mx.eval(best)
            ids.append(np.array(best[0]))
            logprobs.append(np.array(best[1]))
        return np.concatenate(ids), np.concatenate(logprobs)

    def _segment(self, job: SegmentJob, runs: Sequence[Run], batch: EncodedBatch, row: int) -> DecodedSegment:
        marks = [(run.start, self.vocabulary.marks[run.id]) for run in runs if run.id in self.vocabulary.marks]
        runs = [run for run in runs if run.id not in self.vocabulary.marks]
        rows = self._alternatives_of(batch.encoded[row], runs) if job.options.alternatives else [None] * len(runs)
        texts = self.vocabulary.texts([run.id for run in runs])
        spelled = [
            Spelled(run.id, text, run.logprob, frame_times(run) if job.options.timestamps else None, logprobs)
            for run, text, logprobs in zip(runs, texts, rows, strict=True)
        ]
        heard = next((mark for frame, mark in marks if frame == _LANGUAGE_FRAME and mark in LANGUAGE_IDS), None)
        language = job.options.language if heard in (None, "nospeech") else heard
        return self.result(job, spelled, batch.watch.seconds, language, read_tags(marks))

    def _alternatives_of(self, encoded: mx.array, runs: Sequence[Run]) -> np.ndarray:
        frames = mx.array([run.best for run in runs], mx.int32)
        return np.array(log_softmax(self.model.ctc(encoded[frames])))

    def inspect(self, samples: np.ndarray, options: DecodeOptions) -> SenseVoiceInspection:
        queries, wave = mx.array(self.queries(options)), mx.array(samples)
        x = features(wave, cmvn=self.checkpoint.cmvn)
        encoded = self.model.encode(x[None], queries)
        found = SenseVoiceInspection(
            samples=wave,
            filterbank=filterbank(wave),
            features=x,
            encoded=encoded[0],
            ctc_logprobs=self.model.ctc_logprobs(encoded)[0],
            query_ids=queries,
        )
        mx.eval(list(vars(found).values()))
        return found


def collapse(ids: np.ndarray, logprobs: np.ndarray, blank: int) -> Iterator[Run]:
    """Yield the runs of equal ids in frames [T], without blanks."""
    edges = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)]
    for start, end in itertools.pairwise(edges):
        if end > start and ids[start] != blank:
            best = start + int(logprobs[start:end].argmax())
            yield Run(int(ids[start]), start, end, best, float(logprobs[best]))


def frame_times(run: Run) -> tuple[float, float] | None:
    """Return a run's start and end in seconds, as FunASR does; None for the query frames.

    FunASR aligns the text again and finds these frames: those in which a unit is likeliest are its best alignment.
    """
    if run.end <= QUERIES:
        return None
    start, end = max(run.start, QUERIES) - QUERIES, run.end - QUERIES
    return max(start * _FRAME - _SHIFT, 0) / 1000, (end * _FRAME - _SHIFT) / 1000


def read_tags(marks: Sequence[tuple[int, str]]) -> Tags:
    """Sort marks, given with their frames, into the emotion (its own frame's, or else the first) and the events."""
    emotions = [(frame != _EMOTION_FRAME, mark) for frame, mark in marks if mark in _EMOTIONS]
    events = [mark for _, mark in marks if mark not in _EMOTIONS and mark not in _NO_EVENTS]
    return Tags(min(emotions, key=lambda found: found[0], default=(True, None))[1], tuple(dict.fromkeys(events)))
