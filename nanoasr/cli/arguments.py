"""Arguments that several commands share, and the types of their values."""

import argparse
import math

from ..checkpoint.quantize import PRESETS as QUANTIZATIONS
from ..checkpoint.sources import PRESETS

EXIT_CODES = "exit status: 0 all done, 1 some inputs failed (each is named on stderr), 2 wrong usage or could not start"
MODEL_HELP = f"folder, hub id or preset ({', '.join(PRESETS)})"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that keeps line breaks in help texts and accepts no abbreviations."""

    def __init__(self, **options: object):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)


def add_model(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add --model, --quantize and --dtype."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", help=f"{MODEL_HELP} (default: the bundled checkpoint)")
    group.add_argument("--quantize", choices=QUANTIZATIONS, help="quantize weights (a CPU still computes in float32)")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="compute dtype (default bfloat16; CPU float32)")
    return group


def add_speech(parser: argparse._ActionsContainer) -> None:
    """Add --language, --hotwords, --no-itn and --speakers."""
    add = parser.add_argument
    add("--language", help="code or name of the language (en, zh, ja, …; default: detected)")
    add("--hotwords", action="append", default=[], metavar="A,B", help="words to expect, comma-separated")
    add("--no-itn", dest="itn", action="store_false", help="keep numbers and dates in words instead of figures")
    add(
        "--speakers",
        nargs="?",
        type=_speakers,
        const=True,
        default=False,
        metavar="N",
        help='label speakers ("S1", "S2", …); N: how many there are (default: found)',
    )


def add_processing(parser: argparse.ArgumentParser, default_batch: str) -> argparse._ArgumentGroup:
    """Add --batch-size, --no-timestamps, --no-vad and --max-minutes."""
    group = parser.add_argument_group("processing")
    add = group.add_argument
    add("--batch-size", type=count, metavar="N", help=f"segments per batch (default {default_batch})")
    add("--no-timestamps", dest="timestamps", action="store_false", help="no word times; slightly faster")
    add("--no-vad", dest="vad", action="store_false", help="no speech detection: cut at quiet places")
    add("--max-minutes", type=positive, metavar="M", help="reject longer recordings")
    return group


def count(text: str) -> int:
    """Parse an integer of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of 1 or more")
    return int(text)


def _speakers(text: str) -> int:
    """Parse a number of speakers."""
    if not text.isdecimal() or not 1 <= int(text) <= 50:
        hint = "must be a number from 1 to 50; to find the number, put --speakers after the files"
        raise argparse.ArgumentTypeError(f"{text}: {hint}")
    return int(text)


def counts(text: str) -> tuple[int, ...]:
    """Parse a comma-separated list of integers of 1 or more."""
    return tuple(count(part.strip()) for part in text.split(","))


def positive(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number above 0")
    return value


def durations(text: str) -> tuple[float, ...]:
    """Parse a comma-separated list of durations from 0.1 s to an hour."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (0.0,)
    if not all(0.1 <= value <= 3600 for value in values):
        raise argparse.ArgumentTypeError(f"{text}: must be seconds of 0.1 or more, comma-separated")
    return values
