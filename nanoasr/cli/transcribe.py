"""`nanoasr transcribe`: transcribe recordings to standard output or into files."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from .. import backend
from ..errors import NanoASRError, OptionError, printable
from ..results.transcript import FORMATS, Timings, Transcript, write_all
from .arguments import EXIT_CODES, add_model, add_processing, add_speech
from .console import decode_name, print_message, printable_line
from .recordings import STDIN, find_recordings, output_names

if TYPE_CHECKING:
    from ..recognizer import Recognizer

_MAX_HOTWORDS_FILE = 100_000  # characters
_SAMPLING = {
    "temperature": (float, "0 takes the most probable token (default); above 0 samples"),
    "top_k": (int, "sample from the K most probable tokens"),
    "top_p": (float, "sample from the most probable tokens that together have this probability"),
    "min_p": (float, "sample from tokens with at least this share of the highest probability"),
    "repetition_penalty": (float, "above 1 makes recent tokens less probable"),
    "repetition_window": (int, "number of recent tokens that the penalty applies to"),
    "no_repeat_ngram": (int, "never repeat a sequence of N tokens"),
    "beams": (int, "search for the likeliest text with N hypotheses"),
    "length_penalty": (float, "of beam search: above 0 favours longer texts"),
    "max_tokens": (int, "maximum tokens per segment (default 512)"),
    "seed": (int, "random seed"),
}


@dataclass(frozen=True)
class Output:
    """Where transcripts go: into `folder`, or to standard output, in one format only."""

    formats: tuple[str, ...] = ("txt",)
    folder: Path | None = None
    verbose: bool = False

    def has(self, name: str) -> bool:
        """Return True if every file of this name exists."""
        return self.folder is not None and all((self.folder / f"{name}.{form}").is_file() for form in self.formats)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "transcribe",
        help="recordings to text or subtitles",
        description="Transcribe recordings of any format and length to standard output or into files.",
        epilog=f"""examples:
  %(prog)s talk.mp3
  %(prog)s interview.wav --speakers 2
  %(prog)s talks/ --recursive --out texts --format srt,json --skip-existing
  %(prog)s '*.m4a' --model nano --language en --hotwords MLX,Qwen3 --out texts
  curl -s https://example.org/talk.ogg | %(prog)s - > talk.txt

Existing files are replaced atomically, or kept with --skip-existing. Recordings of the same name get their folders'
names in front: a/x.wav and b/x.wav become a-x.txt and b-x.txt. Several recordings as json on standard output are one
line each. Ctrl-C keeps what is finished.
{EXIT_CODES}, 130 interrupted""",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="file, folder, pattern such as '*.mp3', or - for standard input")
    add("--recursive", action="store_true", help="search subfolders too")
    formats = ", ".join([*FORMATS, "all"])
    add("--format", type=_formats, default=("txt",), help=f"{formats}; several comma-separated (default txt)")
    add("--out", type=Path, metavar="DIR", help="write DIR/NAME.FORMAT instead of printing")
    add("--skip-existing", action="store_true", help="skip recordings whose files all exist in DIR")
    add("--verbose", action="store_true", help="print timings and doubtful segments on stderr")
    model = add_model(parser)
    model.add_argument(
        "--audio-tokens", choices=("low", "full"), help="rate of audio tokens (default: the checkpoint's)"
    )

    speech = parser.add_argument_group("speech")
    add_speech(speech)
    speech.add_argument("--hotwords-file", type=Path, metavar="FILE", help="text file with one hotword a line")
    add_processing(parser, "16, on a CPU 4")

    sampling = parser.add_argument_group("sampling")
    for name, (kind, text) in _SAMPLING.items():
        sampling.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__[0].upper(), help=text)


def run(args: argparse.Namespace) -> int:
    """Transcribe all recordings and return the exit status."""
    output, options = _output(args), _options(args)
    paths, problems = find_recordings(args.files, args.recursive)
    for problem in problems:
        print_message(problem)
    names = output_names(paths)
    if args.skip_existing:
        paths = [path for path in paths if path == STDIN or not output.has(names[path])]
    failed = 0
    if paths:
        from ..recognizer import load

        asr = load(args.model, quantize=args.quantize, dtype=args.dtype, audio_tokens=args.audio_tokens)
        card = asr.checkpoint.layout.card if sys.stderr and sys.stderr.isatty() else None
        for note in filter(None, (backend.blas_warning(), *asr.checkpoint.notes, card)):
            print_message(f"note: {note}")
        failed = transcribe_files(asr, paths, output, names, options)
    return 1 if failed or problems else 0


def transcribe_files(
    asr: "Recognizer", paths: Sequence[str], output: Output, names: dict[str, str], options: dict
) -> int:
    """Transcribe `paths` with `options` of `Recognizer.transcribe_batch` and deliver each result as it comes.

    Returns how many failed; each is reported on stderr.
    """
    failed, total = 0, Timings()
    sources = [sys.stdin.buffer if path == STDIN else path for path in paths]
    with _Progress(paths) as progress:
        results = asr.transcribe_batch(sources, on_progress=progress.advance, **options)
        for path, result in zip(paths, results, strict=True):
            progress.finish(path, result)
            if isinstance(result, Transcript):
                result = replace(result, name=decode_name(result.name))
                problem = _deliver(result, output, names[path], several=len(paths) > 1)
                total += result.timings
                if output.verbose:
                    _report(path, result)
            else:
                problem = str(result).removeprefix(f"{printable(Path(path).name)}: ").removeprefix("<stdin>: ")
            if problem:
                failed += 1
                print_message(f"{path}: {problem}")
    if output.verbose and len(paths) > 1:
        print(f"\nall {len(paths)} recordings\n{total}", file=sys.stderr)
    return failed


def _output(args: argparse.Namespace) -> Output:
    if args.out is None and len(args.format) > 1:
        raise OptionError("--format with several formats needs --out DIR")
    if args.skip_existing and args.out is None:
        raise OptionError("--skip-existing needs --out DIR")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise OptionError(f"--out {args.out}: is a file, not a folder")
    if STDIN in args.files and (sys.stdin is None or sys.stdin.isatty()):
        raise OptionError("- reads a recording from standard input: redirect a file or a pipe to it")
    return Output(args.format, args.out, args.verbose)


def _options(args: argparse.Namespace) -> dict:
    """Build the arguments of `transcribe_batch`."""
    from ..decode.prompt import clean_hotwords, split_hotwords
    from ..decode.sampling import Sampling

    hotwords = [word for entry in args.hotwords for word in split_hotwords(entry)]
    if args.hotwords_file:
        try:
            with args.hotwords_file.open(encoding="utf-8-sig") as file:
                hotwords += file.read(_MAX_HOTWORDS_FILE).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"--hotwords-file {args.hotwords_file}: cannot be read as UTF-8 text ({error})") from None
    settings = {name: value for name in _SAMPLING if (value := getattr(args, name)) is not None}
    return {
        "batch_size": args.batch_size or (4 if backend.on_cpu else 16),
        "language": args.language,
        "hotwords": clean_hotwords(hotwords),
        "itn": args.itn,
        "sampling": Sampling(**settings),
        "timestamps": args.timestamps,
        "speakers": args.speakers,
        "vad": args.vad,
        "max_seconds": args.max_minutes * 60 if args.max_minutes else None,
    }


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    unknown = [name for name in names if name not in (*FORMATS, "all")]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or text!r}: use {', '.join(FORMATS)} or all")
    return tuple(FORMATS) if "all" in names else names


def _deliver(transcript: Transcript, output: Output, name: str, several: bool) -> str | None:
    """Write or print a transcript. Returns an error message if it cannot be written."""
    if output.folder:
        try:
            write_all(transcript, output.folder, name, output.formats)
        except OSError as error:
            return f"its transcript cannot be written ({error.strerror or error})"
        return None
    [form] = output.formats
    # several JSON documents are printed as JSON lines
    text = transcript.to_json(indent=None) if form == "json" and several else FORMATS[form](transcript)
    with tqdm.external_write_mode(file=sys.stdout):
        print(text, end="", flush=True)
    return None


def _report(path: str, transcript: Transcript) -> None:
    with tqdm.external_write_mode(file=sys.stderr):
        print(f"\n{printable_line(path)}\n{transcript.timings}", file=sys.stderr)
    for segment in transcript.segments:
        if segment.repetition_stopped:
            print_message(f"note: {path}: the segment at {segment.start:.1f} s repeated itself and was cut short")
        if segment.truncated:
            print_message(f"note: {path}: the segment at {segment.start:.1f} s was cut off at --max-tokens")


class _Progress:
    """A progress bar over the seconds of all recordings, shown on a terminal only."""

    def __init__(self, paths: Sequence[str]):
        shown = sys.stderr is not None and sys.stderr.isatty()
        self.lengths = {path: _stated_seconds(path) if shown else 0.0 for path in paths}
        self.finished, self.files, self.seconds = 0, len(paths), 0.0
        form = "{desc} {percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} s [{elapsed}<{remaining}]"
        total = max(1.0, sum(self.lengths.values()))
        self.bar = tqdm(total=total, desc=self._count(), bar_format=form, disable=not shown, leave=False)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def advance(self, seconds: float) -> None:
        """Move to `seconds` after the finished recordings."""
        self._move(min(self.seconds + seconds, self.bar.total))

    def finish(self, path: str, result: Transcript | NanoASRError) -> None:
        """Replace the length that the file stated by the one found."""
        found = result.duration if isinstance(result, Transcript) else 0.0
        self.bar.total = max(1.0, self.bar.total + found - self.lengths[path])
        self.finished, self.seconds = self.finished + 1, self.seconds + found
        self._move(self.seconds)
        self.bar.set_description_str(self._count())

    def _move(self, seconds: float) -> None:
        self.bar.update(max(0.0, seconds - self.bar.n))

    def _count(self) -> str:
        return f"{self.finished}/{self.files} recordings"


def _stated_seconds(path: str) -> float:
    """Return the duration in a file's header; 0 if it states none, or if it is a pipe, which cannot be opened twice."""
    import av

    from ..audio.ffmpeg import CONTAINERS

    if path == STDIN or not os.path.isfile(path):
        return 0.0
    limits = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
    try:
        with open(path, "rb") as file, av.open(file, "r", container_options=limits) as container:
            return max(0.0, (container.duration or 0) / av.time_base)
    except Exception:  # a damaged file is reported when it is transcribed
        return 0.0
