"""Fun-ASR-Nano: an encoder whose frames a language model reads, and a CTC branch for drafts and times."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .. import backend
from ..audio.features import features, filterbank
from ..checkpoint.ctc_tokens import Piece, load_ctc_tokens
from ..checkpoint.load import Checkpoint
from ..decode.align import token_times
from ..decode.beam import BeamSearch
from ..decode.generate import DecoderBatch, generate
from ..decode.prompt import LANGUAGES, NANO_LANGUAGES, Language, Prompt, build_prompt
from ..decode.request import Generated, Request
from ..decode.text import TextStream
from ..model.ctc import collapse
from ..model.qwen3 import Qwen3
from ..model.sanm import Encoder
from ..results.segments import Candidate, Segment
from ..results.timings import Timings
from ..results.words import Alternative, Token
from .base import DecodedSegment, DecodeOptions, Inspection, Outcome, SegmentJob
from .batching import Stopwatch, batch_features, similar_lengths

_CTC_ROWS = 1 if backend.on_cpu else 8


@dataclass(frozen=True)
class NanoInspection(Inspection):
    """What the language model reads, in addition."""

    adapted: mx.array  # [T'', L]
    audio_tokens: mx.array  # [A, L]: the first of `adapted`, or all
    prefix_ids: mx.array  # the prompt before the audio
    suffix_ids: mx.array  # and after it
    first_logits: mx.array  # [V]: scores of the first token of the text

    def embed(self, llm: Qwen3, ids: Sequence[int] = ()) -> mx.array:
        """Embed what the language model reads: the prompt around the audio, and the text so far."""
        after = mx.concatenate([self.suffix_ids, mx.array(ids, mx.int32)])
        return mx.concatenate([llm.embed(self.prefix_ids), self.audio_tokens, llm.embed(after)])


@dataclass(frozen=True)
class CTCFrames:
    """The CTC branch's output for one segment: small, since a row of log-probabilities is as long as the vocabulary."""

    hidden: mx.array  # [T', D]
    normalizer: mx.array | None  # [T']; None where only drafts are asked for
    best: np.ndarray  # [T']: the likeliest id of each frame


@dataclass(frozen=True)
class Encoded:
    """The front half of the network's work for one segment; `seconds` by stage."""

    audio_tokens: mx.array  # [A, L]
    ctc: CTCFrames | None
    seconds: dict[str, float]


class NanoFamily:
    """Implements `Family` for Fun-ASR-Nano checkpoints."""

    name = "nano"

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint, self.model, self.tokenizer = checkpoint, checkpoint.model, checkpoint.tokenizer
        has_ctc = self.model.config.ctc is not None
        self.ctc_tokens = load_ctc_tokens(checkpoint.layout, checkpoint.tokenizer) if has_ctc else None
        self._prompt = functools.lru_cache(64)(self._build_prompt)

    @property
    def aligner(self) -> str | None:
        return "CTC" if self.ctc_tokens else None

    @property
    def languages(self) -> tuple[Language, ...]:
        layout = self.checkpoint.layout
        if layout.languages:
            return tuple(language for language in LANGUAGES if language.prompt in layout.languages)
        # Fun-ASR-Nano and -MLT-Nano have the same config: only the repository tells them apart.
        return NANO_LANGUAGES if "fun-asr-nano" in (layout.hub_id or "").lower() else LANGUAGES

    def text(self, ids: Sequence[int]) -> str:
        stream = TextStream(self.tokenizer)
        for token_id in ids:
            stream.token_text(token_id)
        return stream.text

    @property
    def encoder(self) -> Encoder:
        return self.model.audio_encoder

    def encoder_input(self, x: Inspection) -> mx.array:
        return x.features

    def parts(self) -> dict[str, list[nn.Module]]:
        parts = {"encoder": [self.model.audio_encoder], "adaptor": [self.model.audio_adaptor], "llm": [self.model.llm]}
        return parts | ({"ctc": [self.model.ctc_decoder, self.model.ctc]} if self.model.config.ctc else {})

    def new_batch(self) -> "NanoBatch":
        return NanoBatch(self)

    def prompt(self, options: DecodeOptions) -> Prompt:
        """Return the token ids before and after the audio."""
        return self._prompt(options.language, options.hotwords, options.itn)

    def _build_prompt(self, code: str | None, hotwords: tuple[str, ...], itn: bool) -> Prompt:
        language = next((language for language in LANGUAGES if language.code == code), None)
        return build_prompt(self.tokenizer, language, hotwords, itn)

    def embed_prompt(self, prompt: Prompt, audio_tokens: mx.array) -> mx.array:
        """Embed the prompt around the audio tokens: the language model's input [N, L]."""
        before, after = (self.model.llm.embed(mx.array(ids)) for ids in (prompt.prefix, prompt.suffix))
        return mx.concatenate([before, audio_tokens, after])

    def encode(self, jobs: Sequence[SegmentJob]) -> list[Encoded]:
        """Run features, encoder, adaptor and, where it is needed, the CTC branch, for one padded batch."""
        model, watch = self.model, Stopwatch(len(jobs))
        x, frames, lengths = batch_features(jobs, self.checkpoint.cmvn)
        watch.stage("features", x)
        encoded = watch.stage("encoder", model.encode(x, lengths))
        adapted = watch.stage("adaptor", model.adapt(encoded, lengths))
        ctc: list[CTCFrames | None] = [None] * len(jobs)
        if self.ctc_tokens and any(job.options.timestamps or _drafts(job.options) for job in jobs):
            ctc = self._ctc_frames(encoded, frames, lengths, any(job.options.timestamps for job in jobs), watch)
        return [
            Encoded(adapted[i, : model.audio_token_count(count)], ctc[i], watch.seconds)
            for i, count in enumerate(frames)
        ]

    def _ctc_frames(
        self, encoded: mx.array, frames: Sequence[int], lengths: mx.array | None, times: bool, watch: Stopwatch
    ) -> list[CTCFrames]:
        hidden = watch.stage("align", self.model.ctc_hidden(encoded, lengths))
        found = []
        for start in range(0, len(frames), _CTC_ROWS):  # a few at a time: their scores are large
            rows = hidden[start : start + _CTC_ROWS]
            logits = self.model.ctc(rows)
            best = mx.argmax(logits, axis=-1)
            normalizer = mx.logsumexp(logits.astype(mx.float32), axis=-1) if times else None
            watch.stage("align", [best] if normalizer is None else [best, normalizer])
            best = np.array(best)
            for i, frame_count in enumerate(frames[start : start + _CTC_ROWS]):
                count = self.model.ctc_decoder.frame_count(frame_count)
                of_frames = None if normalizer is None else normalizer[i, :count]
                found.append(CTCFrames(rows[i, :count], of_frames, best[i, :count]))
        return found

    def ctc_text(self, best: np.ndarray | None) -> list[int]:
        """Return the CTC branch's greedy text as ids of the language model's tokenizer; `best`: ids of frames."""
        if best is None or not self.ctc_tokens:
            return []
        return self.tokenizer.encode(self.ctc_tokens.decode(collapse(best, self._blank)))

    @property
    def _blank(self) -> int:
        return self.model.config.ctc.blank_id

    def finish(self, job: SegmentJob, encoded: Encoded, made: Generated) -> Callable[[], DecodedSegment]:
        """Decode the generated ids; the function that this returns aligns the tokens and makes the segment."""
        start = time.perf_counter()
        stream = TextStream(self.tokenizer)
        texts = [stream.token_text(token_id) for token_id in made.ids]
        pieces, scores = [], None
        if job.options.timestamps and self.ctc_tokens and encoded.ctc:
            pieces = self.ctc_tokens.pieces(stream.text)
            scores = self._scores(encoded.ctc, [piece.id for piece in pieces])
        seconds = encoded.seconds | {"prefill": made.prefill_seconds, "decode": made.decode_seconds}
        seconds["align"] = seconds.get("align", 0.0) + time.perf_counter() - start
        return functools.partial(self._segment, job, made, texts, stream.text, pieces, scores, seconds)

    def _scores(self, ctc: CTCFrames, ids: list[int]) -> np.ndarray:
        columns = mx.array([self._blank, *ids])
        return np.array(self.model.ctc.columns(ctc.hidden, columns).astype(mx.float32) - ctc.normalizer[:, None])

    def _segment(
        self,
        job: SegmentJob,
        made: Generated,
        texts: list[str],
        text: str,
        pieces: list[Piece],
        scores: np.ndarray | None,
        seconds: dict[str, float],
    ) -> DecodedSegment:
        start = time.perf_counter()
        times: Sequence[tuple[float, float, float] | None] = [None] * len(texts)
        if scores is not None:
            times = token_times(texts, text, pieces, scores, job.samples, job.start)
        tokens = []
        for i, token_id in enumerate(made.ids):
            begin, end, confidence = times[i] or (None, None, None)
            others = made.alternatives[i] if made.alternatives else ()
            likeliest = tuple(Alternative(other, self.tokenizer.decode([other]), logprob) for other, logprob in others)
            tokens.append(Token(token_id, texts[i], made.logprobs[i], begin, end, likeliest, confidence))
        segment = Segment(
            text=text,
            start=job.start,
            end=job.end,
            tokens=tuple(tokens),
            repetition_stopped=made.stop == "repetition",
            truncated=made.stop == "length",
            nbest=tuple(Candidate(self.text(ids), logprob, score) for ids, logprob, score in made.candidates),
        )
        seconds = seconds | {"align": seconds["align"] + time.perf_counter() - start}
        counts = {"tokens": len(tokens), "steps": made.steps, "drafted": made.drafted, "accepted": made.accepted}
        timings = Timings(**seconds, **counts, total=sum(seconds.values()))
        return DecodedSegment(segment, timings, cancelled=made.stop == "cancelled")

    def inspect(self, samples: np.ndarray, options: DecodeOptions) -> NanoInspection:
        model, samples = self.model, mx.array(samples)
        x = features(samples, cmvn=self.checkpoint.cmvn)
        encoded = model.encode(x[None])
        adapted = model.adapt(encoded)[0]
        audio_tokens = adapted[: model.audio_token_count(x.shape[0])]
        prompt = self.prompt(options)
        embedded = self.embed_prompt(prompt, audio_tokens)
        found = NanoInspection(
            samples=samples,
            filterbank=filterbank(samples),
            features=x,
            encoded=encoded[0],
            ctc_logprobs=model.ctc_logprobs(encoded)[0] if model.config.ctc else None,
            adapted=adapted,
            audio_tokens=audio_tokens,
            prefix_ids=mx.array(prompt.prefix),
            suffix_ids=mx.array(prompt.suffix),
            first_logits=model.llm.logits(model.llm(embedded[None])[:, -1])[0],
        )
        mx.eval([value for value in vars(found).values() if value is not None])
        return found

    def decode_features(self, x: np.ndarray, options: DecodeOptions, seed: int) -> str:
        """Decode LFR features [T', 560] to text; call on the worker thread."""
        adapted = self.model.adapt(self.model.encode(mx.array(x)[None]))[0]
        embedded = self.embed_prompt(self.prompt(options), adapted[: self.model.audio_token_count(len(x))])
        [(_, made)] = generate(self.model, [Request(embedded, options.sampling, seed)], self.tokenizer.end_ids)
        return self.text(made.ids)


def _drafts(options: DecodeOptions) -> bool:
    return options.drafts and options.sampling.greedy and options.sampling.beams == 1


class NanoBatch:
    """Segments on their way through the decoder loop."""

    def __init__(self, family: NanoFamily):
        self._family = family
        self._decoder = DecoderBatch(family.model, family.tokenizer.end_ids)
        self._searches: list[tuple[tuple[SegmentJob, Encoded], BeamSearch]] = []
        self._streams: dict[int, TextStream] = {}

    def __len__(self) -> int:
        return len(self._decoder.rows) + len(self._searches)

    def admit(self, jobs: Sequence[SegmentJob]) -> None:
        """Encode some segments and prefill their prompts, drafts included."""
        for rows in similar_lengths(jobs):
            group = [jobs[i] for i in rows]
            requests = [
                self._request(job, encoded) for job, encoded in zip(group, self._family.encode(group), strict=True)
            ]
            self._decoder.admit([(key, request) for key, request in requests if request.sampling.beams == 1])
            for key, request in requests:
                if request.sampling.beams > 1:
                    search = BeamSearch(self._family.model, request, self._family.tokenizer.end_ids)
                    self._searches.append((key, search))

    def _request(self, job: SegmentJob, encoded: Encoded) -> tuple[tuple[SegmentJob, Encoded], Request]:
        family, options = self._family, job.options
        draft, others = None, []
        if _drafts(options):
            spelled = family.ctc_text(encoded.ctc and encoded.ctc.best)
            draft = [*job.draft, *spelled[len(job.draft) :]]  # CTC is quick to write what was said since
            others = [spelled, *job.others] if job.draft else job.others
        request = Request(
            embeddings=family.embed_prompt(family.prompt(options), encoded.audio_tokens),
            sampling=options.sampling,
            seed=job.seed,
            draft=draft,
            others=others,
            alternatives=options.alternatives,
            on_token=self._on_token(job) if job.on_text else None,
            cancelled=job.cancelled,
        )
        return (job, encoded if options.timestamps else replace(encoded, ctc=None)), request

    def _on_token(self, job: SegmentJob):
        stream = self._streams[id(job)] = TextStream(self._family.tokenizer)

        def on_token(token_id: int) -> None:
            stream.token_text(token_id)
            if piece := stream.new_text():
                job.on_text(piece)

        return on_token

    def step(self) -> list[tuple[SegmentJob, Outcome]]:
        done = self._decoder.step()
        for key, search in self._searches.copy():
            if search.advance():
                self._searches.remove((key, search))
                done.append((key, search.result))
        return [(job, self._finish(job, encoded, made)) for (job, encoded), made in done]

    def _finish(self, job: SegmentJob, encoded: Encoded, made: Generated) -> Outcome:
        stream = self._streams.pop(id(job), None)
        try:
            if made.error:
                raise made.error
            if stream and (rest := stream.finish()):
                job.on_text(rest)
            return self._family.finish(job, encoded, made)
        except Exception as error:
            return error
