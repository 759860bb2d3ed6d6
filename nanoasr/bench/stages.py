"""Measure every stage of the network, whole transcriptions, and other packages on the same weights."""

import time
from collections.abc import Callable, Sequence
from importlib import metadata

import mlx.core as mx
import numpy as np

from .. import backend
from ..audio.features import features
from ..audio.files import SAMPLE_RATE
from ..audio.vad import VadOptions, find_segments
from ..decode.generate import generate
from ..decode.prompt import build_prompt
from ..decode.request import Request
from ..decode.sampling import Sampling
from ..errors import NanoASRError, OptionError
from ..families.base import DecodeOptions, SegmentJob
from ..recognizer import Recognizer
from ..results.timings import Timings
from .drafts import give_drafts
from .peers import check_family, check_installed, contenders
from .report import Contest, Flow, Report, Row
from .subject import Plan, Subject, synthetic_speech
from .timing import Work, seconds_of, seconds_until_read, take_turns

Log = Callable[[str], None]
Stage = Callable[[], mx.array]


class Transcription:
    """The transcription of recordings as work to time, and what the last time counted."""

    def __init__(self, asr: Recognizer, sources: Sequence[np.ndarray], batch: int, plan: Plan, vad: bool = False):
        self._asr, self._sources = asr, sources
        draft = None if plan.draft is None else "auto"
        self._options = {"batch_size": batch, "sampling": Sampling(max_tokens=plan.tokens), "vad": vad, "draft": draft}
        self.timings, self._segments = Timings(), 0

    def __call__(self) -> float:
        start = time.perf_counter()
        transcripts = list(self._asr.transcribe_batch(self._sources, **self._options))
        seconds = time.perf_counter() - start
        for transcript in transcripts:
            if isinstance(transcript, NanoASRError):
                raise transcript
        self._segments = sum(len(transcript.segments) for transcript in transcripts)
        self.timings = sum((transcript.timings for transcript in transcripts), Timings())
        return seconds

    @property
    def tokens_a_pass(self) -> float | None:
        """Tokens by decoder passes, of which the prefill of each segment is one: 1 without drafts. None in one pass."""
        if self._asr.family != "nano":
            return None
        return self.timings.tokens / max(1, self.timings.steps + self._segments)


def bench(plan: Plan, subject: Subject, log: Log = lambda line: None) -> Report:
    """Measure everything; `log` is told what comes next. Takes minutes at full size on a CPU."""
    asr = prepare(plan, subject, log)
    rows: list[Row] = []
    for seconds in plan.seconds:
        for batch in plan.batches:
            log(f"stages, {batch} × {seconds:g} s")
            rows += _measure_stages(asr, synthetic_speech(seconds), batch, plan)
    flows = []
    for vad in (False, True):
        log(f"many recordings, VAD {'on' if vad else 'off'}")
        flows.append(_measure_flow(asr, vad, plan))
    contests, notes = _compete(asr, subject, plan, log) if plan.against else ([], [])
    return make_report(asr, plan, rows, flows, contests, notes)


def prepare(plan: Plan, subject: Subject, log: Log) -> Recognizer:
    """Load what is measured, after checking that the other package is installed."""
    if plan.against:
        check_installed(plan.against)
    log("loading")
    asr = subject.recognizer()
    if plan.against:
        check_family(plan.against, asr.family)
    if plan.draft and asr.family != "nano":
        raise OptionError(f"--draft concerns nano checkpoints; this is {asr.family}")
    if isinstance(plan.draft, float):
        give_drafts(asr.model_family, plan.draft)
    return asr


def make_report(
    asr: Recognizer,
    plan: Plan,
    rows: Sequence[Row],
    flows: Sequence[Flow],
    contests: Sequence[Contest],
    notes: Sequence[str],
) -> Report:
    """Add facts about the machine and the network to the figures."""
    return Report(
        model=str(asr.checkpoint.layout.folder),
        precision=asr.checkpoint.precision,
        device=backend.device_name(),
        blas=backend.blas_path if backend.on_cpu else None,
        gflops=backend.measure_gflops(),
        mlx=metadata.version("mlx"),
        tokens=plan.tokens if asr.family == "nano" else None,
        draft=plan.draft,
        rows=tuple(rows),
        flows=tuple(flows),
        contests=tuple(contests),
        peak_memory=backend.peak_memory() if backend.on_cpu else max(row.memory for row in rows),
        notes=tuple(notes),
    )


def stage_works(asr: Recognizer, samples: np.ndarray, batch: int, plan: Plan) -> dict[str, Work]:
    """Return the work of each stage on `batch` copies of a recording.

    The decoding step is one token without drafts; the transcription uses drafts where the plan has some. Families that
    decode in one pass have features, encoder and transcription.
    """
    cmvn = asr.checkpoint.cmvn

    def inputs() -> tuple[mx.array, mx.array]:
        x = mx.array(np.stack([samples] * batch))
        frames = features(x, cmvn=cmvn)
        mx.eval(x, frames)
        return x, frames

    x, frames = backend.run(inputs)
    if asr.family == "nano":
        stages, step = _nano_works(asr, frames, plan)
    else:
        jobs = [SegmentJob(samples, DecodeOptions())] * batch
        stages, step = {"encoder": lambda: asr.model_family.run_encoder(jobs, frames, None)}, {}
    stages = {"features": lambda: features(x, cmvn=cmvn)} | stages
    works: dict[str, Work] = {
        name: lambda work=work: backend.run(seconds_until_read, work) for name, work in stages.items()
    }
    return works | step | {"transcription": Transcription(asr, [samples] * batch, batch, plan)}


def _nano_works(asr: Recognizer, frames: mx.array, plan: Plan) -> tuple[dict[str, Stage], dict[str, Work]]:
    """Return the stages after the features, and the decoding step, which times itself."""
    model, batch = asr.checkpoint.model, len(frames)
    prompt = build_prompt(asr.checkpoint.tokenizer)
    sampling = Sampling(max_tokens=plan.tokens)

    def inputs() -> list[mx.array]:
        encoded = model.encode(frames)
        audio = model.adapt(encoded)[:, : model.audio_token_count(frames.shape[1])]
        before, after = (
            mx.broadcast_to(model.llm.embed(mx.array(ids)), (batch, len(ids), audio.shape[2]))
            for ids in (prompt.prefix, prompt.suffix)
        )
        made = [encoded, mx.concatenate([before, audio, after], axis=1)]
        mx.eval(made)
        return made

    encoded, embedded = backend.run(inputs)

    def step() -> float:
        requests = [Request(row, sampling) for row in embedded]
        results = [result for _, result in generate(model, requests, None, batch)]
        return sum(result.decode_seconds for result in results) / max(1, results[0].steps)

    def prefill() -> mx.array:
        return model.llm.logits(model.llm(embedded, model.llm.new_cache())[:, -1])

    stages: dict[str, Stage] = {
        "encoder": lambda: model.encode(frames),
        "adaptor": lambda: model.adapt(encoded),
        "prefill": prefill,
    }
    if model.config.ctc:
        stages["CTC branch"] = lambda: model.ctc_logits(encoded)
    return stages, {"decoding step": lambda: backend.run(step)}


def _measure_stages(asr: Recognizer, samples: np.ndarray, batch: int, plan: Plan) -> list[Row]:
    works = stage_works(asr, samples, batch, plan)
    if batch == 1:
        works = {"VAD": lambda: seconds_of(lambda: find_segments(samples, VadOptions())), **works}
    seconds, rows = len(samples) / SAMPLE_RATE, []
    for stage, work in works.items():
        mx.reset_peak_memory()
        [measured] = take_turns({stage: work}, plan.repeats).values()
        rate = work.tokens_a_pass if isinstance(work, Transcription) else None
        rows.append(Row(stage, seconds, batch, measured, mx.get_peak_memory(), rate))
    return rows


def _measure_flow(asr: Recognizer, vad: bool, plan: Plan) -> Flow:
    recordings, batch = plan.recordings or (4 if backend.on_cpu else 64), max(plan.batches)
    sources = [synthetic_speech(plan.seconds[0])] * recordings
    work = Transcription(asr, sources, batch, plan, vad)
    [measured] = take_turns({"": work}, plan.repeats).values()
    total = work.timings
    seconds = plan.seconds[0]
    return Flow(vad, recordings, seconds, batch, total.tokens, measured, total.vad, work.tokens_a_pass)


def _compete(asr: Recognizer, subject: Subject, plan: Plan, log: Log) -> tuple[list[Contest], list[str]]:
    samples, contests = synthetic_speech(plan.seconds[0]), []
    ours = stage_works(asr, samples, 1, plan)
    with contenders(plan.against, asr.checkpoint, subject, samples, plan.tokens) as peers:
        for stage in peers[0].works:
            log(f"{stage} against {plan.against}")
            works = {"": ours[stage], **{peer.name: peer.works[stage] for peer in peers}}
            own, *others = take_turns(works, plan.repeats).values()
            contests += [Contest(peer.name, stage, own, time) for peer, time in zip(peers, others, strict=True)]
        return contests, [note for peer in peers for note in peer.notes()]
