"""Paraformer: CIF decides how many tokens there are and when, then one pass of the decoder writes all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..audio.features import features, filterbank
from ..decode.cif_times import cif_times
from ..decode.prompt import LANGUAGES, Language
from ..decode.spelling import UNWRITTEN, spell
from ..model.cif import Firing
from .base import DecodedSegment, DecodeOptions, Inspection, SegmentJob
from .one_pass import EncodedBatch, OnePassFamily, Spelled

_FRAME = 0.06  # seconds
_BLANK_START_END = (0, 1, 2)


@dataclass(frozen=True)
class ParaformerInspection(Inspection):
    """What integrate-and-fire and the decoder make of the encoded frames; `ctc_logprobs` is None."""

    alphas: mx.array  # [T' + 1]: the weight of each frame, and of the tail step
    peaks: mx.array  # [T' + 1]: their running sum, 1 or more where a token fires
    acoustic: mx.array  # [N, D]: what each token is read from
    logprobs: mx.array  # [N, V]
    up_alphas: mx.array | None = None  # [3 T']: the weights that times come from, where the checkpoint has them
    up_peaks: mx.array | None = None  # [3 T']


class ParaformerFamily(OnePassFamily):
    """Implements `Family` for Paraformer, BiCifParaformer and SeacoParaformer checkpoints."""

    name, aligner = "paraformer", "CIF"

    @property
    def languages(self) -> tuple[Language, ...]:
        """Those that the tokens can write; nothing in the network depends on the choice."""
        chinese = any("\u4e00" <= token <= "\u9fff" for token in self.vocabulary.tokens)
        return tuple(language for language in LANGUAGES if language.code in (("zh", "en") if chinese else ("en",)))

    def parts(self) -> dict[str, list[nn.Module]]:
        model = self.model
        parts = {"encoder": [model.encoder], "predictor": [model.predictor], "decoder": [model.decoder]}
        seaco = [model.bias_encoder, model.seaco_decoder, model.hotword_output_layer] if model.config.seaco else []
        return parts | ({"hotwords": seaco} if seaco else {})

    def text(self, ids: Sequence[int]) -> str:
        return "".join(spell([self.vocabulary.token(i) for i in ids if i not in _BLANK_START_END])).strip()

    def run_encoder(self, jobs: Sequence[SegmentJob], x: mx.array, lengths: mx.array | None) -> mx.array:
        return self.model.encode(x, lengths)

    def decode_batch(self, jobs: Sequence[SegmentJob], batch: EncodedBatch) -> list[DecodedSegment]:
        alphas, firing, acoustic = self.model.integrate(batch.encoded, batch.lengths)
        if not acoustic.shape[1]:
            return [self.result(job, [], batch.watch.seconds) for job in jobs]
        rows: list[mx.array | None] = [None] * len(jobs)
        for hotwords in {job.options.hotwords for job in jobs}:
            same = [i for i, job in enumerate(jobs) if job.options.hotwords == hotwords]
            logprobs = self._logprobs(batch, acoustic, firing, same, hotwords)
            for i, row in zip(same, logprobs, strict=True):
                rows[i] = row
        logprobs = mx.stack(rows)
        best = mx.argmax(logprobs, axis=-1), logprobs.max(axis=-1)
        ids, chosen = map(np.array, batch.watch.stage("decode", best))
        times: list[list[tuple[float, float] | None]] = [[None] * len(ids[0])] * len(jobs)
        if any(job.options.timestamps for job in jobs):
            times = self._times(batch, np.array(alphas), firing, ids)
            batch.watch.stage("align", [])
        results = []
        for i, job in enumerate(jobs):
            count = firing.counts[i]
            tokens = [self.vocabulary.token(token_id) for token_id in ids[i, :count].tolist()]
            all_logprobs = np.array(logprobs[i]) if job.options.alternatives else [None] * count
            spelled = [
                Spelled(int(ids[i, k]), text, float(chosen[i, k]), times[i][k], all_logprobs[k])
                for k, text in enumerate(spell(tokens))
                if tokens[k] not in UNWRITTEN and ids[i, k] not in _BLANK_START_END
            ]
            results.append(self.result(job, spelled, batch.watch.seconds, self._language(job.options)))
        return results

    def _language(self, options: DecodeOptions) -> str | None:
        return options.language or (self.languages[0].code if len(self.languages) == 1 else None)

    def _logprobs(
        self, batch: EncodedBatch, acoustic: mx.array, firing: Firing, rows: list[int], hotwords: tuple[str, ...]
    ) -> mx.array:
        """Run the decoder for some rows of a batch, which have the same hotwords."""
        counts, pick = mx.array(firing.counts[rows]), mx.array(rows)
        lengths = None if batch.lengths is None else batch.lengths[pick]
        return self.model.decode(batch.encoded[pick], lengths, acoustic[pick], counts, self._hotword_ids(hotwords))

    def _hotword_ids(self, hotwords: Sequence[str]) -> list[list[int]]:
        if not self.model.config.seaco:  # only SeACo-Paraformer can listen for them
            return []
        return [ids for ids in map(self.vocabulary.hotword_ids, hotwords) if ids]

    def _times(
        self, batch: EncodedBatch, alphas: np.ndarray, firing: Firing, ids: np.ndarray
    ) -> list[list[tuple[float, float] | None]]:
        """Find the time of each token [B][N]; as in FunASR, blank, start and end tokens are left out first."""
        upsampled = self.model.config.upsampled
        rate = upsampled.upsample_times if upsampled else 1
        peaks = firing.peaks
        if upsampled:
            alphas, peaks = self.model.upsampled(batch.encoded, batch.lengths, firing.counts)
        found: list[list[tuple[float, float] | None]] = []
        for i, frames in enumerate(batch.frames):
            steps = frames * rate if upsampled else frames + 1
            timed = [k for k in range(firing.counts[i]) if ids[i, k] not in _BLANK_START_END]
            times = cif_times(alphas[i, :steps], peaks[i, :steps], len(timed), _FRAME / rate) if timed else []
            row: list[tuple[float, float] | None] = [None] * ids.shape[1]
            for k, time in zip(timed, times, strict=False):
                row[k] = time
            found.append(row)
        return found

    def inspect(self, samples: np.ndarray, options: DecodeOptions) -> ParaformerInspection:
        wave = mx.array(samples)
        x = features(wave, cmvn=self.checkpoint.cmvn)
        encoded = self.model.encode(x[None])
        alphas, firing, acoustic = self.model.integrate(encoded)
        logprobs = mx.zeros((1, 0, self.model.config.vocab_size))
        if acoustic.shape[1]:
            logprobs = self.model.decode(encoded, None, acoustic, None, self._hotword_ids(options.hotwords))
        up = self.model.upsampled(encoded, None, firing.counts) if self.model.config.upsampled else None
        found = ParaformerInspection(
            samples=wave,
            filterbank=filterbank(wave),
            features=x,
            encoded=encoded[0],
            ctc_logprobs=None,
            alphas=alphas[0],
            peaks=mx.array(firing.peaks[0]),
            acoustic=acoustic[0],
            logprobs=logprobs[0],
            up_alphas=mx.array(up[0][0]) if up else None,
            up_peaks=mx.array(up[1][0]) if up else None,
        )
        mx.eval([value for value in vars(found).values() if value is not None])
        return found
