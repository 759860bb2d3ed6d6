"""`nanoasr convert`: write a checkpoint of any layout as one safetensors folder."""

import argparse
import threading
from pathlib import Path

from tqdm import tqdm

from .. import backend
from ..checkpoint.quantize import PRESETS as QUANTIZATIONS
from ..errors import NanoASRError
from .arguments import MODEL_HELP


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "convert",
        help="write a checkpoint as one safetensors folder, optionally quantized",
        description="Write a checkpoint of any layout as one safetensors folder that nanoasr and mlx-audio can load.",
        epilog="""examples:
  %(prog)s nano nano-4bit --quantize all-4bit
  %(prog)s ./Fun-ASR-Nano-2512 nano-bf16 --dtype bfloat16""",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("source", metavar="SOURCE", help=MODEL_HELP)
    add("out_dir", metavar="OUT_DIR", type=Path, help="a new folder; it appears once everything is written")
    add("--quantize", choices=QUANTIZATIONS, help="quantize weights")
    add("--dtype", choices=("float32", "bfloat16"), help="dtype of unquantized weights (default: as stored)")
    add("--overwrite", action="store_true", help="replace a checkpoint in OUT_DIR")


def run(args: argparse.Namespace) -> int:
    """Convert, and print the new folder."""
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
            backend.run(lambda: None)  # returns once the worker has deleted the unfinished folder
            raise
        except NanoASRError as error:
            raise type(error)(str(error).replace("pass overwrite=True", "add --overwrite")) from error
    print(folder)
    return 0
