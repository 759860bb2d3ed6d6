"""Run several settings on the same recordings, and compare text, error rates, speed, memory and random variation."""

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from operator import attrgetter

from ..audio.vad import VadOptions
from ..decode.sampling import Sampling
from ..errors import CheckpointError, NanoASRError, OptionError
from ..recognizer import GREEDY, Recognizer, load
from ..results.scoring import error_rates
from ..results.transcript import Segment, Transcript
from .info import Info

_FIELDS = (
    "recording setting.name setting.sampling.temperature setting.sampling.top_k setting.sampling.top_p "
    "setting.checkpoint setting.quantize setting.max_segment setting.language setting.hotwords setting.itn repeat seed "
    "text reference wer cer logprob seconds audio_seconds real_time_factor tokens source precision model_megabytes "
    "peak_memory error"
).split()
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")  # what a spreadsheet may take for a formula


@dataclass(frozen=True)
class Setting:
    """Options of one run; defaults are those of `transcribe`.

    checkpoint   None for the loaded one, else a source as for `nanoasr.load`: a folder, a hub id, "bundled", …
    quantize     None for the weights as they are, else a preset such as "llm-4bit"
    max_segment  longest segment in seconds, 2 to 30
    """

    name: str
    sampling: Sampling = GREEDY
    quantize: str | None = None
    max_segment: float = 15.0
    language: str | None = None
    hotwords: tuple[str, ...] = ()
    itn: bool = True
    checkpoint: str | None = None


@dataclass(frozen=True)
class Result:
    """One run of one setting on one recording. `error` says why there is no text."""

    recording: str
    setting: Setting
    repeat: int  # from 1
    seed: int | None  # None without random sampling
    text: str = ""
    reference: str | None = None
    wer: float | None = None
    cer: float | None = None
    logprob: float | None = None  # mean over the tokens
    seconds: float | None = None  # of work
    audio_seconds: float | None = None
    tokens: int = 0
    source: str | None = None  # folder of the checkpoint
    precision: str | None = None  # of its weights, as text
    model_megabytes: float | None = None
    peak_memory: int | None = None  # bytes; of the whole process on a CPU
    error: str | None = None
    segments: tuple[Segment, ...] = ()  # of a beam search, with its hypotheses

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work per second of audio."""
        return self.seconds / self.audio_seconds if self.seconds and self.audio_seconds else None


@dataclass(frozen=True)
class Spread:
    """Mean, minimum and maximum over the repeats."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """Results of one setting: each figure is over all recordings together, with its spread over the repeats."""

    setting: Setting
    repeats: int
    failed: int
    wer: Spread | None
    cer: Spread | None
    logprob: Spread | None
    real_time_factor: Spread | None
    model_megabytes: float | None
    precision: str | None = None


def compare(
    asr: Recognizer,
    recordings: Sequence,
    settings: Sequence[Setting],
    references: Sequence[str | None] | None = None,
    repeats: int = 1,
    on_result: Callable[[Result], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    max_seconds: float | None = None,
    on_load: Callable[[Setting, float], None] | None = None,
) -> list[Result]:
    """Transcribe every recording with every setting. A run that fails gives a Result with its `error`.

    recordings   as for `transcribe`, but no open files, since each is read several times
    references   what is said in each, for error rates; None (or "") where that is unknown
    repeats      runs of each setting with random sampling, with consecutive seeds from the setting's own or 1
    on_result    called after each run; models other than `asr` are loaded one at a time, so settings that share one
                 run together
    cancelled    polled now and then; True returns the results so far
    max_seconds  refuse longer recordings
    on_load      called while a model loads, with the first setting that needs it and the fraction loaded
    """
    references = list(references) if references is not None else [None] * len(recordings)
    if len(references) != len(recordings):
        raise OptionError(f"{len(recordings)} recordings but {len(references)} references: give one for each")
    if not isinstance(repeats, Integral) or isinstance(repeats, bool) or repeats < 1:
        raise OptionError(f"repeats={repeats!r:.80}: must be a whole number, 1 or more")
    if wrong := [setting for setting in settings if not isinstance(setting, Setting)]:
        raise OptionError(f"settings has {wrong[0]!r:.80} in it: give Setting(…)")
    if len({setting.name for setting in settings}) != len(settings):
        raise OptionError("two settings have the same name: name each differently")
    stopped = cancelled or (lambda: False)
    found: dict[tuple[int, int, int], Result] = {}
    for model in dict.fromkeys(map(_model, settings)):
        if stopped():
            break
        sharing = [j for j, setting in enumerate(settings) if _model(setting) == model]
        loaded = _loaded(asr, settings[sharing[0]], on_load)
        _warm_up(loaded, recordings, max_seconds)
        for j in sharing:
            setting = settings[j]
            seeds = _seeds(setting, repeats)
            for i, (recording, reference) in enumerate(zip(recordings, references, strict=True)):
                for k, seed in enumerate(seeds):
                    blank = Result(_name(recording, i), setting, k + 1, seed, reference=reference or None)
                    result = _run(loaded, recording, blank, stopped, max_seconds)
                    if stopped():
                        return [found[place] for place in sorted(found)]
                    found[i, j, k] = result
                    if on_result:
                        on_result(result)
        del loaded  # before the next is read
    return [found[place] for place in sorted(found)]


def summarize(results: Iterable[Result]) -> list[Summary]:
    """Return one Summary for each setting, in the order of their first results."""
    by_setting: dict[Setting, list[Result]] = {}
    for result in results:
        by_setting.setdefault(result.setting, []).append(result)
    return [_summary(setting, runs) for setting, runs in by_setting.items()]


def to_csv(results: Iterable[Result]) -> str:
    """Return a CSV table of results. An apostrophe precedes what a spreadsheet could take for a formula."""
    out = io.StringIO()
    writer = csv.writer(out)  # its line end, \r\n, makes it quote both
    writer.writerow("setting" if field == "setting.name" else field.rsplit(".", 1)[-1] for field in _FIELDS)
    for result in results:
        writer.writerow(_cell(attrgetter(field)(result)) for field in _FIELDS)
    return out.getvalue()


def _model(setting: Setting) -> tuple[str | None, str | None]:
    return setting.checkpoint, setting.quantize


def _loaded(
    asr: Recognizer, setting: Setting, on_load: Callable[[Setting, float], None] | None
) -> Recognizer | NanoASRError:
    if not (setting.checkpoint or setting.quantize):
        return asr
    layout, options = asr.checkpoint.layout, {}
    if not setting.checkpoint and asr.family == "nano":  # only the quantization differs
        options["audio_tokens"] = layout.config.audio_tokens
    if on_load:
        on_load(setting, 0.0)
        options["on_progress"] = lambda share: on_load(setting, share)
    try:
        return load(setting.checkpoint or layout.folder, quantize=setting.quantize, **options)
    except NanoASRError as error:
        return error
    except Exception as error:  # one broken checkpoint must not end the other settings
        return CheckpointError(f"{setting.checkpoint}: could not be loaded ({type(error).__name__}: {error})")


def _warm_up(loaded: Recognizer | NanoASRError, recordings: Sequence, max_seconds: float | None) -> None:
    """Run a model once untimed: its first run is slower than the rest."""
    done = []
    try:
        if isinstance(loaded, Recognizer) and len(recordings):
            loaded.transcribe(
                recordings[0], sampling=Sampling(max_tokens=4), timestamps=False, max_seconds=max_seconds,
                on_segment=done.append, cancelled=lambda: bool(done),
            )  # fmt: skip
    except NanoASRError:
        pass  # the run itself will report it


def _seeds(setting: Setting, repeats: int) -> list[int | None]:
    if setting.sampling.greedy:
        return [None]
    first = 1 if setting.sampling.seed is None else setting.sampling.seed
    return list(range(first, first + repeats))


def _run(loaded: Recognizer | NanoASRError, recording: object, blank: Result, stopped, max_seconds) -> Result:
    setting = blank.setting
    try:
        if isinstance(loaded, NanoASRError):
            raise loaded
        sampling = setting.sampling if blank.seed is None else replace(setting.sampling, seed=blank.seed)
        found = loaded.transcribe(
            recording, language=setting.language, hotwords=setting.hotwords, itn=setting.itn, sampling=sampling,
            timestamps=False, vad=VadOptions(max_segment=setting.max_segment), max_seconds=max_seconds,
            cancelled=stopped,
        )  # fmt: skip
    except NanoASRError as error:
        return replace(blank, error=str(error))
    return _measured(blank, found, loaded.info())


def _measured(blank: Result, found: Transcript, info: Info) -> Result:
    logprobs = [token.logprob for token in found.tokens]
    wer, cer = error_rates([(blank.reference, found.text)])
    return replace(
        blank, recording=found.name or blank.recording, text=found.text, wer=wer, cer=cer,
        logprob=sum(logprobs) / len(logprobs) if logprobs else None, seconds=found.timings.total,
        audio_seconds=found.duration, tokens=len(logprobs), source=info.source, precision=info.precision,
        model_megabytes=sum(info.megabytes.values()), peak_memory=found.timings.peak_memory,
        segments=found.segments if blank.setting.sampling.beams > 1 else (),
    )  # fmt: skip


def _summary(setting: Setting, runs: list[Result]) -> Summary:
    good = [run for run in runs if run.error is None]
    repeats = [[run for run in good if run.repeat == k] for k in sorted({run.repeat for run in good})]
    rates = [error_rates([(run.reference, run.text) for run in same]) for same in repeats]
    return Summary(
        setting, len(repeats), len(runs) - len(good),
        _spread(wer for wer, _ in rates), _spread(cer for _, cer in rates),
        _spread(map(_logprob, repeats)), _spread(map(_speed, repeats)),
        good[0].model_megabytes if good else None, good[0].precision if good else None,
    )  # fmt: skip


def _logprob(runs: list[Result]) -> float | None:
    known = [(run.logprob * run.tokens, run.tokens) for run in runs if run.logprob is not None]
    return sum(total for total, _ in known) / sum(count for _, count in known) if known else None


def _speed(runs: list[Result]) -> float | None:
    heard = sum(run.audio_seconds or 0 for run in runs)
    return sum(run.seconds or 0 for run in runs) / heard if heard else None


def _spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread(sum(known) / len(known), min(known), max(known)) if known else None


def _name(recording: object, i: int) -> str:
    return os.path.basename(recording) if isinstance(recording, str | os.PathLike) else f"recording {i + 1}"


def _cell(value: object) -> object:
    value = ", ".join(value) if isinstance(value, tuple) else value
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
