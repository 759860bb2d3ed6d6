"""What can be said on the command line, and the help for it."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from ..checkpoint.sources import PRESETS
from ..results.transcript import FORMATS

QUANTIZE = ("llm-8bit", "llm-4bit", "all-8bit", "all-4bit")
_EXIT_CODES = "exit status: 0 all done, 1 some recordings failed (each is named on stderr), 2 could not start"

SAMPLING = {
    "temperature": (float, "0 always takes the likeliest token (default); above 0 draws, the flatter the higher"),
    "top_k": (int, "draw from the K likeliest tokens only"),
    "top_p": (float, "draw from the likeliest that together hold this probability"),
    "min_p": (float, "draw from those at least this share as likely as the likeliest"),
    "repetition_penalty": (float, "above 1 makes what was just said less likely"),
    "repetition_window": (int, "how many tokens back the penalty looks"),
    "no_repeat_ngram": (int, "never write the same N tokens in a row twice"),
    "max_tokens": (int, "the most tokens for one segment (default 512)"),
    "seed": (int, "the same seed draws the same text"),
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `command` of what it gives is the command's name."""
    prog = "python -m nanoasr" if Path(sys.argv[0]).name == "__main__.py" else "nanoasr"
    parser = _Parser(
        prog=prog,
        description="Fun-ASR-Nano speech recognition in MLX.",
        epilog=f"""examples:
  %(prog)s transcribe talk.mp3                  the text, by the small checkpoint that ships
  %(prog)s transcribe talk.mp3 --model nano     by the real one, fetched from the hub the first time
  %(prog)s live --save meeting.srt              what a microphone hears

`%(prog)s COMMAND --help` tells the rest; `python app.py` is the same in a browser.
{_EXIT_CODES}""",
    )
    parser.add_argument("--version", action="version", version=f"nanoasr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for add in (_add_transcribe, _add_live, _add_convert, _add_bench, _add_info, _add_train):
        add(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: object):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)


def _add_transcribe(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "transcribe",
        help="recordings to text or subtitles",
        description="Transcribe recordings of any kind and length, to standard output or into files.",
        epilog=f"""examples:
  %(prog)s talk.mp3
  %(prog)s talks/ --recursive --out texts --format srt,json --skip-existing
  %(prog)s '*.m4a' --model nano --language en --hotwords MLX,Qwen3 --out texts
  curl -s https://example.org/talk.ogg | %(prog)s - > talk.txt

Files that exist are replaced, each in one step, unless --skip-existing. Recordings of the same name get their
folders' names in front: a/x.wav and b/x.wav become a-x.txt and b-x.txt. Several recordings as json on standard
output are one line each. Ctrl-C keeps what is finished.
{_EXIT_CODES}, 130 interrupted""",
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="file, folder, pattern such as '*.mp3', or - for standard input")
    add("--recursive", action="store_true", help="look in folders of folders too")
    kinds = ", ".join([*FORMATS, "all"])
    add("--format", type=_formats, default=("txt",), help=f"{kinds}; several with commas (default txt)")
    add("--out", type=Path, metavar="DIR", help="write DIR/NAME.FORMAT instead of printing")
    add("--skip-existing", action="store_true", help="leave out recordings whose files are all in DIR")
    add("--verbose", action="store_true", help="say on stderr how long each stage took, and what is doubtful")
    add = _add_model(parser)
    add("--audio-tokens", choices=("low", "full"), help="how many tokens the LLM hears; the checkpoint's own if unset")

    speech = parser.add_argument_group("what is said")
    add = speech.add_argument
    add("--language", help="a code (en, zh, ja …) or a name; left to the model if unset")
    add("--hotwords", action="append", default=[], metavar="A,B", help="words to listen for")
    add("--hotwords-file", type=Path, metavar="FILE", help="a text file of them, one a line")
    add("--no-itn", dest="itn", action="store_false", help="numbers and dates in words, not figures")
    add("--no-timestamps", dest="timestamps", action="store_false", help="no times for words: a little faster")

    work = parser.add_argument_group("how the work is done")
    add = work.add_argument
    add("--batch-size", type=_count, metavar="N", help="segments decoded together (default 16, on a CPU 4)")
    add("--no-vad", dest="vad", action="store_false", help="do not look for speech: cut at quiet places, keep all")
    add("--max-minutes", type=float, metavar="M", help="refuse longer recordings")

    group = parser.add_argument_group("how tokens are chosen")
    for name, (kind, text) in SAMPLING.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__[0].upper(), help=text)


def _add_live(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "live",
        help="text while somebody speaks",
        description="""Write down what a microphone hears, or a file, while it is spoken.

On a terminal the sentence being spoken is painted anew as it grows: what stands is plain, what may change is dim. In
a pipe every finished segment is a line. Ctrl-C ends, and what was heard until then is kept.""",
        epilog="""examples:
  %(prog)s
  %(prog)s --save meeting.srt --language en
  %(prog)s --file talk.wav --realtime

The microphone needs the sounddevice package: pip install sounddevice.""",
    )
    add = parser.add_argument
    add("--file", type=Path, metavar="FILE", help="a recording instead of the microphone")
    add("--realtime", action="store_true", help="play the file at its own pace, as if it were spoken now")
    add("--device", metavar="NAME", help="which microphone: its number or a part of its name")
    add("--save", type=Path, metavar="FILE", help=f"write the transcript at the end: .{', .'.join(FORMATS)}")
    add("--interval", type=float, default=0.5, metavar="S", help="seconds between two looks at it (default 0.5)")
    add("--verbose", action="store_true", help="say at the end, on stderr, what it cost and how late the text came")
    add("--language", help="a code (en, zh, ja …) or a name; left to the model if unset")
    add("--hotwords", action="append", default=[], metavar="A,B", help="words to listen for")
    add("--no-itn", dest="itn", action="store_false", help="numbers and dates in words, not figures")
    _add_model(parser)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="any checkpoint to one safetensors folder, smaller if wished",
        description="Write a checkpoint of any layout as one safetensors folder that nanoasr and mlx-audio read.",
        epilog="""examples:
  %(prog)s nano nano-4bit --quantize all-4bit
  %(prog)s ./Fun-ASR-Nano-2512 nano-bf16 --dtype bfloat16""",
    )
    parser.add_argument("source", metavar="SOURCE", help=f"a folder, a hub id, or a preset ({', '.join(PRESETS)})")
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="a new folder; it appears when all is written")
    parser.add_argument("--quantize", choices=QUANTIZE, help="store these parts in few bits")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of what is not quantized; as stored if unset")
    parser.add_argument("--overwrite", action="store_true", help="replace a checkpoint that OUT_DIR holds")


def _add_bench(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "bench",
        help="how long each stage takes, here and against others",
        description="Time every stage of the network and whole transcriptions: medians, ranges, peak memory.",
        epilog="""examples:
  %(prog)s --model nano --seconds 5,10,15 --batch 1,8,32
  %(prog)s --random --against mlx-audio --json bench.json --plot bench.html
  %(prog)s --live --random --against mlx-audio

What takes over 10 s needs no warming up, and is repeated for a minute at most. Loops and end tokens do not end a
text here: every text has as many tokens as --tokens says.""",
    )
    _add_model(parser)
    add = parser.add_argument
    add("--random", action="store_true", help="the full-size network with random weights: no checkpoint needed")
    add("--live", action="store_true", help="time an update of a live session instead: half a second more of --seconds")
    add("--seconds", type=_numbers, default=(10.0,), metavar="S,…", help="of each recording (default 10)")
    add("--batch", type=_counts, default=(1, 8), metavar="N,…", help="recordings at a time (default 1,8)")
    add("--tokens", type=_count, metavar="N", help="in each text (default 60, with --live 40)")
    add("--repeats", type=_count, default=7, metavar="N", help="of each measurement (default 7)")
    add("--recordings", type=_count, metavar="N", help="in the test of throughput (default 64, on a CPU 4)")
    add("--against", choices=("mlx-audio", "transformers"), help="the same weights in that package, turn by turn")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--plot", type=Path, metavar="FILE.html", help="write a chart there")


def _add_info(commands: argparse._SubParsersAction) -> None:
    text = "Print the device, its measured speed, versions, and what a checkpoint holds."
    parser = commands.add_parser(
        "info",
        help="device, versions, what a checkpoint holds",
        description=text,
        epilog="example:\n  %(prog)s --model nano",
    )
    parser.add_argument("--model", help=f"a folder, a hub id, or a preset ({', '.join(PRESETS)})")


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train",
        help="train or fine-tune from a config file",
        description="Train as a YAML file says. The same command again goes on where it stopped; Ctrl-C saves first.",
        epilog="""examples:
  %(prog)s assets/speech/digits/finetune.yaml
  %(prog)s fine-tune.yaml --stop-after 30

The first is a small file to begin from. nanoasr/train/config.py says what every setting means; what is left out has
a default. The folder named as `out` gets the checkpoint, curve.html with its course, and what a later start goes on
from.""",
    )
    parser.add_argument("config", metavar="CONFIG", type=Path, help="the YAML file; its paths are relative to it")
    parser.add_argument("--stop-after", type=float, metavar="MINUTES", help="save and stop after so long")


def _add_model(parser: argparse.ArgumentParser) -> Callable[..., argparse.Action]:
    names = ", ".join(PRESETS)
    add = parser.add_argument_group("the model").add_argument
    add("--model", help=f"a folder, a hub id, or a preset ({names}); the bundled one if unset")
    add("--quantize", choices=QUANTIZE, help="store these parts in few bits (a CPU still computes in float32)")
    add("--dtype", choices=("float32", "bfloat16"), help="to compute in (default bfloat16; a CPU always in float32)")
    return add


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    unknown = [name for name in names if name not in (*FORMATS, "all")]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or text!r}: use {', '.join(FORMATS)} or all")
    return tuple(FORMATS) if "all" in names else names


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of 1 or more")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part.strip()) for part in text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (0.0,)
    if not all(0.1 <= value <= 3600 for value in values):
        raise argparse.ArgumentTypeError(f"{text}: must be seconds of 0.1 or more, with commas between them")
    return values
