"""What `nanoasr batch` does: transcribe many recordings into part files, on this machine or on a Ray cluster."""

import argparse
import glob
import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

from .. import backend
from ..cluster import Input, Job, OutputFolder, Row, Settings, Summary, is_manifest, is_uri, list_uri, read_manifest
from ..cluster.job import Engine, local_engine
from ..errors import OptionError, printable
from .console import print_message
from .recordings import find_recordings, is_recording

_LOG_SECONDS = 30.0


def run(args: argparse.Namespace) -> int:
    """Transcribe what is missing in the output folder and return the exit status."""
    from ..decode.prompt import clean_hotwords, split_hotwords

    settings = Settings(
        model=os.path.abspath(args.model) if args.model and os.path.isdir(args.model) else args.model,
        quantize=args.quantize,
        dtype=args.dtype,
        language=args.language,
        hotwords=tuple(clean_hotwords([word for entry in args.hotwords for word in split_hotwords(entry)])),
        itn=args.itn,
        timestamps=args.timestamps,
        speakers=args.speakers,
        vad=args.vad,
        max_seconds=args.max_minutes * 60 if args.max_minutes else None,
        format=args.format,
    )
    engine = _engine(args, settings)
    if args.out.exists() and not args.out.is_dir():
        raise OptionError(f"--out {args.out}: is a file, not a folder")
    inputs, problems = find_inputs(args.files, args.recursive)
    for problem in problems:
        print_message(problem)
    if not inputs:
        return 1
    with OutputFolder(args.out, settings.to_dict()) as output:
        if args.retry_errors:
            output.forget_errors()
        job = Job(inputs, output)
        if len(job.missing) < len(inputs):
            print_message(f"{len(inputs) - len(job.missing)} of {len(inputs)} recordings are done already")
        with _Progress(job.missing) as progress:
            summary = job.run(engine, progress.advance)
        print_message(_describe(summary, args.out))
    return 1 if problems or summary.failed else 0


def find_inputs(arguments: list[str], recursive: bool = False) -> tuple[list[Input], list[str]]:
    """Find the recordings that the arguments name. Returns them, and a message for each problem."""
    inputs: list[Input] = []
    problems: list[str] = []
    files = []
    for argument in arguments:
        if is_manifest(argument):
            found, bad = read_manifest(argument)
            inputs += found
            problems += bad
            if not found and not bad:
                problems.append(f"{argument}: the manifest has no rows")
        elif is_uri(argument):
            found = list_uri(argument)
            folder = not glob.has_magic(argument.partition("?")[0]) and [item.source for item in found] != [argument]
            kept = [item for item in found if not folder or is_recording(item.source.partition("?")[0])]
            inputs += kept
            if not kept:
                problems.append(f"{argument}: no recordings there")
        elif argument == "-":
            raise OptionError("-: this command does not read standard input; see transcribe")
        else:
            files.append(argument)
    paths, missing = find_recordings(files, recursive)
    return inputs + list(map(Input, paths)), problems + missing


def _engine(args: argparse.Namespace, settings: Settings) -> Engine:
    if args.engine == "local":
        for name in ("address", "workers", "gpus_per_worker"):
            if getattr(args, name) is not None:
                raise OptionError(f"--{name.replace('_', '-')} needs --engine ray")
        if warning := backend.blas_warning():
            print_message(f"note: {warning}")
        return local_engine(settings, args.batch_size)
    from ..cluster.ray_engine import RayOptions, ray_engine

    options = RayOptions(args.address, args.workers, args.gpus_per_worker, args.split_minutes * 60, args.batch_size)
    return ray_engine(settings, options)


def _describe(summary: Summary, folder: Path) -> str:
    text = f"{folder}: {summary.recordings} recordings, {summary.failed} failed, {summary.hours:.2f} h"
    if summary.real_time_factor:
        text += f", {1 / summary.real_time_factor:.1f} × real time"
    if summary.wer is not None:
        text += f", word error rate {summary.wer:.1%}, character error rate {summary.cer:.1%}"
    return text


class _Progress:
    """A progress bar on a terminal, otherwise a line now and then; over hours if all durations are known."""

    def __init__(self, inputs: list[Input]):
        self.by_hours = bool(inputs) and all(item.duration for item in inputs)
        self.stated: dict[tuple, float] = {item.key: item.duration / 3600 for item in inputs} if self.by_hours else {}
        self.files, self.finished, self.hours = len(inputs), 0, 0.0
        self.start = self.logged = time.monotonic()
        self.terminal = sys.stderr is not None and sys.stderr.isatty()
        unit = "{n:.2f} of {total:.2f} h" if self.by_hours else "{n:.0f} of {total:.0f} recordings"
        form = "{desc}{percentage:3.0f}%|{bar}| " + unit + " [{elapsed}<{remaining}]"
        total = sum(item.duration / 3600 for item in inputs) if self.by_hours else len(inputs)
        self.bar = tqdm(total=max(total, 1e-9), bar_format=form, disable=not self.terminal, leave=False)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def advance(self, row: Row) -> None:
        """Count a finished recording, and report it if it failed."""
        self.finished, self.hours = self.finished + 1, self.hours + (row.duration or 0.0) / 3600
        if row.error:
            name = row.source.replace("\\", "/").rpartition("/")[2]
            print_message(f"{row.source}: {row.error.removeprefix(f'{printable(name)}: ')}")
        self.bar.update(self.stated[row.key] if self.by_hours else 1)
        if not self.terminal and time.monotonic() - self.logged >= _LOG_SECONDS:
            self.logged = time.monotonic()
            speed = 3600 * self.hours / (self.logged - self.start)
            print_message(f"{self.finished}/{self.files} recordings, {self.hours:.2f} h, {speed:.1f} × real time")
