"""How long each stage takes on this machine: of a checkpoint, or of the full-size network with random weights.

Work counts as done when its result has been read back, since a GPU computes while Python goes on. Texts end after
so many tokens here and nowhere else: neither an end token nor a loop stops them.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .. import backend
from ..audio.features import features
from ..audio.files import SAMPLE_RATE
from ..audio.vad import VadOptions, find_segments
from ..checkpoint.layouts import Layout
from ..checkpoint.load import DTYPES, Checkpoint, check_dtype, load_checkpoint
from ..checkpoint.quantize import Quantization, parse_quantization
from ..decode.generate import generate
from ..decode.prompt import build_prompt
from ..decode.request import Request
from ..decode.sampling import Sampling
from ..errors import NanoASRError, OptionError
from ..model.config import ModelConfig
from ..model.nano import Nano
from ..model.qwen3 import Cache
from ..recognizer import Recognizer
from .report import Contest, Flow, Report, Row, Time

Work = Callable[[], float]  # does something once -> the seconds that it took
_QUICK = 1.0  # seconds
_SLOW = 10.0  # seconds; what takes longer needs no warming up
_PATIENCE = 60.0  # seconds; after so long a measurement is not repeated any more


@dataclass(frozen=True)
class Plan:
    """What to measure: every stage for each length and number of recordings, then `recordings` of them at once."""

    seconds: tuple[float, ...] = (10.0,)
    batches: tuple[int, ...] = (1, 8)
    tokens: int = 60
    repeats: int = 7
    recordings: int | None = None  # None: 64, on a CPU 4
    against: str | None = None  # "mlx-audio" or "transformers"


@dataclass(frozen=True)
class Subject:
    """Which network: a checkpoint, or with `random` the full size (or another) with random weights."""

    source: str | None = None
    random: bool = False
    quantize: str | None = None
    dtype: str | None = None
    config: ModelConfig = field(default_factory=ModelConfig)  # of a random one

    def load(self) -> Checkpoint:
        """Load or make it, without end tokens; call on the worker thread."""
        if not self.random:
            checkpoint = load_checkpoint(self.source, self.quantize, self.dtype)
            return replace(checkpoint, tokenizer=_Endless(checkpoint.tokenizer))
        if self.source is not None:
            raise OptionError("--model names a network and --random makes one: use either")
        return _random_checkpoint(self.config, parse_quantization(self.quantize), self.dtype)


def bench(plan: Plan, subject: Subject, say: Callable[[str], None] = lambda line: None) -> Report:
    """Measure everything; `say` is told what comes next. This takes minutes at full size on a CPU."""
    asr = prepare(plan, subject, say)
    rows: list[Row] = []
    for seconds in plan.seconds:
        for batch in plan.batches:
            say(f"stages, {batch} × {seconds:g} s")
            rows += _measure_stages(asr, made_up_speech(seconds), batch, plan)
    flows = []
    for vad in (False, True):
        say(f"many recordings, VAD {'on' if vad else 'off'}")
        flows.append(_measure_flow(asr, vad, plan))
    contests, notes = _compete(asr, subject, plan, say) if plan.against else ([], [])
    return make_report(asr, plan, rows, flows, contests, notes)


def prepare(plan: Plan, subject: Subject, say: Callable[[str], None]) -> Recognizer:
    """Load what is to be measured, once it is sure that the other package is there."""
    if plan.against:
        from .peers import check_installed

        check_installed(plan.against)
    say("loading")
    return Recognizer(backend.run(subject.load))


def make_report(
    asr: Recognizer,
    plan: Plan,
    rows: Sequence[Row],
    flows: Sequence[Flow],
    contests: Sequence[Contest],
    notes: Sequence[str],
) -> Report:
    """The figures, with what there is to say of the machine and the network."""
    return Report(
        model=str(asr.checkpoint.layout.folder),
        precision=asr.checkpoint.precision,
        device=backend.device_name(),
        blas=backend.blas_path if backend.on_cpu else None,
        gflops=backend.measure_gflops(),
        mlx=metadata.version("mlx"),
        tokens=plan.tokens,
        rows=tuple(rows),
        flows=tuple(flows),
        contests=tuple(contests),
        peak_memory=backend.peak_memory() if backend.on_cpu else max(row.memory for row in rows),
        notes=tuple(notes),
    )


def clock(work: Callable[[], mx.array]) -> float:
    """Seconds until what `work` gives can be read; call on the worker thread."""
    mx.synchronize()
    start = time.perf_counter()
    result = work()
    mx.eval(result)
    result[(0,) * result.ndim].item()
    return time.perf_counter() - start


def take_turns(works: Mapping[str, Work], repeats: int) -> dict[str, Time]:
    """Do all works one after the other, again and again, so that a busy moment of the machine strikes all alike.

    A quick work is done twice at each turn, and the second counts: the one before it may have emptied MLX's store
    of buffers (mlx-audio does, after every text), and whoever came next would pay for it.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    spent = dict.fromkeys(works, 0.0)

    def do(name: str) -> None:
        start = time.perf_counter()
        times[name].append(works[name]())
        spent[name] += time.perf_counter() - start

    for name in works:
        do(name)
        if spent[name] < 1:
            do(name)
        if spent[name] < _SLOW:
            times[name].clear()
    quick = {name for name in works if spent[name] < _QUICK} if len(works) > 1 else set()
    while unfinished := [name for name in works if len(times[name]) < (repeats if spent[name] < _PATIENCE else 1)]:
        for name in unfinished:
            if name in quick:
                works[name]()
            do(name)
    return {name: Time.of(seconds) for name, seconds in times.items()}


def stage_works(asr: Recognizer, samples: np.ndarray, batch: int, tokens: int) -> dict[str, Work]:
    """What can be timed of a recognizer, stage by stage, on `batch` copies of a recording."""
    model, cmvn = asr.checkpoint.model, asr.checkpoint.cmvn
    prompt = build_prompt(asr.checkpoint.tokenizer)
    sampling = Sampling(max_tokens=tokens)

    def inputs() -> list[mx.array]:
        x = mx.array(np.stack([samples] * batch))
        heard = features(x, cmvn=cmvn)
        encoded = model.encode(heard)
        audio = model.adapt(encoded)[:, : model.audio_token_count(heard.shape[1])]
        before, after = (
            mx.broadcast_to(model.llm.embed(mx.array(ids)), (batch, len(ids), audio.shape[2]))
            for ids in (prompt.prefix, prompt.suffix)
        )
        made = [x, heard, encoded, mx.concatenate([before, audio, after], axis=1)]
        mx.eval(made)
        return made

    x, heard, encoded, embedded = backend.run(inputs)

    def step() -> float:
        requests = [Request(row, sampling) for row in embedded]
        results = [result for _, result in generate(model, requests, None, batch)]
        return sum(result.decode_seconds for result in results) / max(1, results[0].steps)

    def transcription() -> float:
        start = time.perf_counter()
        for result in asr.transcribe_batch([samples] * batch, batch_size=batch, sampling=sampling, vad=False):
            if isinstance(result, NanoASRError):
                raise result
        return time.perf_counter() - start

    def prefill() -> mx.array:
        return model.llm.logits(model.llm(embedded, Cache(model.config.llm))[:, -1])

    return {
        "features": lambda: backend.run(clock, lambda: features(x, cmvn=cmvn)),
        "encoder": lambda: backend.run(clock, lambda: model.encode(heard)),
        "adaptor": lambda: backend.run(clock, lambda: model.adapt(encoded)),
        "prefill": lambda: backend.run(clock, prefill),
        "decoding step": lambda: backend.run(step),
        "transcription": transcription,
    }


def _measure_stages(asr: Recognizer, samples: np.ndarray, batch: int, plan: Plan) -> list[Row]:
    works = stage_works(asr, samples, batch, plan.tokens)
    if batch == 1:
        works = {"VAD": lambda: _timed(lambda: find_segments(samples, VadOptions())), **works}
    seconds, rows = len(samples) / SAMPLE_RATE, []
    for stage, work in works.items():
        mx.reset_peak_memory()
        [measured] = take_turns({stage: work}, plan.repeats).values()
        rows.append(Row(stage, seconds, batch, measured, mx.get_peak_memory()))
    return rows


def _measure_flow(asr: Recognizer, vad: bool, plan: Plan) -> Flow:
    samples, batch = made_up_speech(plan.seconds[0]), max(plan.batches)
    recordings = plan.recordings or (4 if backend.on_cpu else 64)
    sampling, results = Sampling(max_tokens=plan.tokens), []

    def work() -> float:
        results.clear()
        sources = [samples] * recordings
        return _timed(
            lambda: results.extend(asr.transcribe_batch(sources, batch_size=batch, sampling=sampling, vad=vad))
        )

    [measured] = take_turns({"": work}, plan.repeats).values()
    tokens = sum(len(transcript.tokens) for transcript in results)
    vad_seconds = sum(transcript.timings.vad for transcript in results)
    return Flow(vad, recordings, plan.seconds[0], batch, tokens, measured, vad_seconds)


def _compete(
    asr: Recognizer, subject: Subject, plan: Plan, say: Callable[[str], None]
) -> tuple[list[Contest], list[str]]:
    from .peers import contenders

    samples, contests = made_up_speech(plan.seconds[0]), []
    ours = stage_works(asr, samples, 1, plan.tokens)
    with contenders(plan.against, asr.checkpoint, subject, samples, plan.tokens) as peers:
        for stage in peers[0].works:
            say(f"{stage} against {plan.against}")
            works = {"": ours[stage], **{peer.name: peer.works[stage] for peer in peers}}
            own, *others = take_turns(works, plan.repeats).values()
            contests += [Contest(peer.name, stage, own, time) for peer, time in zip(peers, others, strict=True)]
        return contests, [note for peer in peers for note in peer.notes()]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def made_up_speech(seconds: float) -> np.ndarray:
    """Vowels in a man's voice, five a second: made up, yet speech to a VAD."""
    t = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.4 * t) + 10 * np.sin(2 * np.pi * 2.4 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    vowels = np.array([(730, 1090, 2440), (300, 870, 2240), (270, 2290, 3010), (530, 1840, 2480), (570, 840, 2410)])
    formants = vowels[(t * 5).astype(int) * 2 % 5]
    x = np.random.default_rng(0).normal(0, 0.01, len(t))
    for k in range(1, 30):
        loud = sum(g / (1 + ((k * pitch - formants[:, i]) / (60 + 40 * i)) ** 2) for i, g in enumerate((1, 0.6, 0.3)))
        x += loud / np.sqrt(k) * np.sin(k * phase) * np.sqrt(np.abs(np.sin(np.pi * 5 * t)))
    return np.resize((0.4 * x / np.abs(x).max()).astype(np.float32), round(seconds * SAMPLE_RATE))


def _random_checkpoint(config: ModelConfig, quantization: Quantization | None, dtype: str | None) -> Checkpoint:
    check_dtype(dtype)
    used = "float32" if backend.on_cpu else dtype or "bfloat16"
    mx.random.seed(0)  # so that another process can have the same
    model = Nano(config)
    model.set_dtype(DTYPES[used])
    mx.eval(model.parameters())
    words = f"random weights in {used}"
    if quantization and not backend.on_cpu:

        def choice(path: str, module: nn.Module) -> "bool | dict[str, int]":
            matrix = isinstance(module, (nn.Linear, nn.Embedding))
            group = quantization.group_for(f"{path}.weight", module.weight.shape) if matrix else None
            return {"group_size": group, "bits": quantization.bits} if group else False

        nn.quantize(model, class_predicate=choice)
        mx.eval(model.parameters())
        words += f", some in {quantization.bits} bits"
    model.eval()
    mx.clear_cache()
    layout = Layout("random", Path("random network"), config, Path())
    return Checkpoint(layout, model, _StandIn(config.llm.vocab_size), None, used, words)


class _Endless:
    """A checkpoint's tokenizer, but no token ends a text."""

    end_ids = None

    def __init__(self, tokenizer: object):
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)


class _StandIn:
    """Does a tokenizer's work for a random network: about as many ids as Qwen3's would give, and some text."""

    end_ids = None

    def __init__(self, size: int):
        self.size = size

    def encode(self, text: str) -> list[int]:
        pieces = re.findall(r"<\|\w+\|>| ?\w+|\W", text)
        return [sum(map(ord, piece)) % self.size for piece in pieces]

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return "".join(f" {i:x}" for i in ids)

    def token(self, token_id: int) -> str:
        return f"{token_id:x}"
