"""The command line: `python -m nanoasr transcribe talk.mp3`. What a command needs is imported when it runs."""

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from importlib import metadata

from tqdm import tqdm

from .. import __version__, backend
from ..checkpoint.sources import BUNDLED, PRESETS
from ..errors import NanoASRError, OptionError
from .files import STDIN, Output, complain, find_recordings, output_names, transcribe_files
from .parser import SAMPLING, make_parser

_LONGEST_HOTWORDS_FILE = 100_000  # characters; far more than may be in it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command -> the exit status: 0 all done, 1 some recordings failed, 2 could not start.

    Ctrl-C ends the process with 130, a reader of its output that went away with 141.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # whatever the locale says, transcripts are UTF-8
            stream.reconfigure(encoding="utf-8", errors="replace")
    if not (sys.stderr and sys.stderr.isatty()):
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    if args.command == "transcribe" and not any(len(word) > 1 and word[0] == "-" for word in rest):
        args.files += rest  # files may stand among the options
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _COMMANDS[args.command](args)
    except NanoASRError as error:
        complain(str(error))
    except BrokenPipeError:
        _leave_now(141)
    except OSError as error:
        complain(f"{error.filename or 'output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        complain("interrupted")
        _leave_now(130)
    return 2


def _leave_now(status: int) -> None:
    """End without waiting for the worker thread, which may have minutes of decoding before it."""
    try:
        sys.stderr.flush()
        if status == 130:
            sys.stdout.flush()
    finally:
        os._exit(status)


# transcribe


def _transcribe(args: argparse.Namespace) -> int:
    output, options = _output(args), _options(args)
    paths, problems = find_recordings(args.files, args.recursive)
    for problem in problems:
        complain(problem)
    names = output_names(paths)
    if args.skip_existing:
        paths = [path for path in paths if path == STDIN or not output.has(names[path])]
    failed = 0
    if paths:
        from ..recognizer import load

        asr = load(args.model, quantize=args.quantize, dtype=args.dtype, audio_tokens=args.audio_tokens)
        card = asr.checkpoint.layout.card if sys.stderr and sys.stderr.isatty() else None
        for note in filter(None, (backend.blas_warning(), card)):
            complain(f"note: {note}")
        failed = transcribe_files(asr, paths, output, names, options)
    return 1 if failed or problems else 0


def _output(args: argparse.Namespace) -> Output:
    if args.out is None and len(args.format) > 1:
        raise OptionError("--format names several: say with --out DIR where their files go")
    if args.skip_existing and args.out is None:
        raise OptionError("--skip-existing looks for files in --out DIR: name one")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise OptionError(f"--out {args.out}: is a file; name a folder")
    if STDIN in args.files and (sys.stdin is None or sys.stdin.isatty()):
        raise OptionError("- reads a recording from standard input: redirect a file to it, or a pipe")
    return Output(args.format, args.out, args.verbose)


def _options(args: argparse.Namespace) -> dict:
    """The arguments of `transcribe_batch`; OptionError for those that cannot be."""
    from ..decode.prompt import clean_hotwords, split_hotwords
    from ..decode.sampling import Sampling

    hotwords = [word for entry in args.hotwords for word in split_hotwords(entry)]
    if args.hotwords_file:
        try:
            with args.hotwords_file.open(encoding="utf-8-sig") as file:
                hotwords += file.read(_LONGEST_HOTWORDS_FILE).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"--hotwords-file {args.hotwords_file}: cannot be read as UTF-8 text ({error})") from None
    if args.max_minutes is not None and not args.max_minutes > 0:
        raise OptionError(f"--max-minutes {args.max_minutes:g}: must be above 0")
    knobs = {name: value for name in SAMPLING if (value := getattr(args, name)) is not None}
    return {
        "batch_size": args.batch_size or (4 if backend.on_cpu else 16),
        "language": args.language,
        "hotwords": clean_hotwords(hotwords),
        "itn": args.itn,
        "sampling": Sampling(**knobs),
        "timestamps": args.timestamps,
        "vad": args.vad,
        "max_seconds": args.max_minutes * 60 if args.max_minutes else None,
    }


# live


def _live(args: argparse.Namespace) -> int:
    from ..decode.prompt import split_hotwords
    from ..live.session import LiveOptions, Update
    from ..recognizer import load
    from .live import Screen, check_target, from_file, from_microphone, listen

    if args.realtime and not args.file:
        raise OptionError("--realtime plays a --file at its own pace: name one")
    check_target(args.save)
    options = LiveOptions(interval=args.interval, realtime=args.realtime or not args.file)
    asr = load(args.model, quantize=args.quantize, dtype=args.dtype)
    hotwords = [word for entry in args.hotwords for word in split_hotwords(entry)]
    late: list[float] = []
    screen = Screen(sys.stdout)

    def tell(update: Update) -> None:
        screen.show(update)
        late.extend(update.latency.commit)

    blocks = from_file(args.file, args.realtime) if args.file else from_microphone(args.device)
    with asr.stream(
        language=args.language, hotwords=hotwords, itn=args.itn, options=options, on_update=tell
    ) as session:
        transcript = listen(session, blocks)
    if args.save:
        transcript.save(args.save)
    if args.verbose:
        complain(f"{transcript.duration:.1f} s heard; {session.latency}")
        if late:
            complain(
                f"words were committed {sorted(late)[len(late) // 2]:.2f} s after their end (median of {len(late)})"
            )
    return 0


# convert, info, train, bench


def _convert(args: argparse.Namespace) -> int:
    from ..checkpoint.convert import convert

    stopped = threading.Event()
    with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining}", disable=None, leave=False) as bar:

        def progress(share: float) -> None:
            if stopped.is_set():
                raise KeyboardInterrupt
            bar.update(round(100 * share) - bar.n)

        try:
            folder = convert(args.source, args.out_dir, args.quantize, args.dtype, args.overwrite, progress)
        except KeyboardInterrupt:
            stopped.set()
            backend.run(lambda: None)  # what was half written is deleted by then
            raise
        except NanoASRError as error:
            raise type(error)(str(error).replace("pass overwrite=True", "add --overwrite")) from error
    print(folder)
    return 0


def _info(args: argparse.Namespace) -> int:
    packages = "mlx mlx-metal mlx-cpu mlx-cuda-12 mlx-cuda-13 mkl numpy av soxr tokenizers huggingface_hub gradio"
    print(f"nanoasr     {__version__}, Python {sys.version.split()[0]}, {_versions(packages.split())}")
    if args.model is None and not BUNDLED.is_dir():
        print(f"checkpoint  none is bundled with this copy; --model names one ({', '.join(PRESETS)}, or a folder)")
        print(f"device      {backend.device_name()}")
        if backend.blas_warning():
            print(f"note        {backend.blas_warning()}")
    else:
        from ..recognizer import load

        print(load(args.model).info())
    by = f", by {backend.blas_path}" if backend.on_cpu and backend.blas_path else ""
    print(f"speed       {backend.measure_gflops():.0f} GFLOP/s in float32 products{by}")
    return 0


def _versions(packages: Sequence[str]) -> str:
    found = []
    for name in packages:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _train(args: argparse.Namespace) -> int:
    from ..train.config import read_config
    from ..train.loop import train

    outcome = train(read_config(args.config), args.stop_after * 60 if args.stop_after else None)
    for name, score in outcome.scores.items():
        print(f"{name}: {score} ({score.recordings} recordings, {score.words} words)")
    print(f"{outcome.steps} steps; checkpoint in {outcome.checkpoint}")
    return 0


def _bench(args: argparse.Namespace) -> int:
    from ..bench.live import bench_live
    from ..bench.stages import Plan, Subject, bench

    tokens = args.tokens or (40 if args.live else 60)
    plan = Plan(args.seconds, args.batch, tokens, args.repeats, args.recordings, args.against)
    subject = Subject(args.model, args.random, args.quantize, args.dtype)
    for path in filter(None, (args.json, args.plot)):
        path.touch()  # better to fail now than after all the work
    shown = sys.stderr is not None and sys.stderr.isatty()
    measure = bench_live if args.live else bench
    report = measure(plan, subject, (lambda line: print(line, file=sys.stderr)) if shown else (lambda line: None))
    print(report)
    if args.json:
        args.json.write_text(report.to_json(), encoding="utf-8")
    if args.plot:
        report.plot(args.plot)
    return 0


_COMMANDS = {
    "transcribe": _transcribe,
    "live": _live,
    "convert": _convert,
    "bench": _bench,
    "info": _info,
    "train": _train,
}
