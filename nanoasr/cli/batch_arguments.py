"""The arguments of `nanoasr batch`, apart from what it does: that imports the recognizer, and no help text needs it."""

import argparse
from pathlib import Path

from .arguments import EXIT_CODES, add_model, add_processing, add_speech, count, positive


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "batch",
        help="many recordings to JSON lines or Parquet, also on a Ray cluster",
        description="""Transcribe many recordings into DIR/part-*.jsonl, one row each: source, text, segments, language,
duration, error; and DIR/summary.json. The same command continues a stopped run.""",
        epilog=f"""examples:
  %(prog)s talks/ --recursive --out texts
  %(prog)s test.jsonl --out texts --format parquet --model nano
  %(prog)s s3://bucket/calls --out texts --engine ray --address auto --workers 8 --gpus-per-worker 1

A manifest (.jsonl, .csv, .tsv, .parquet) has a row for each recording: audio or audio_filepath, and if known text,
duration and offset in seconds. With an offset, only `duration` seconds from there on are transcribed.
{EXIT_CODES}, 130 interrupted""",
    )
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("files", nargs="+", metavar="INPUT", help="file, folder, pattern, manifest, or URI such as s3://bucket/folder")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    add("--format", choices=("jsonl", "parquet"), default="jsonl", help="of the part files (default jsonl)")
    add("--recursive", action="store_true", help="search subfolders too")
    add("--retry-errors", action="store_true", help="try recordings that failed in earlier runs again")
    add_model(parser)
    add_speech(parser.add_argument_group("speech"))
    work = add_processing(parser, "chosen by device")
    work.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="this process, or Ray (default local)"
    )

    ray = parser.add_argument_group("Ray")
    ray.add_argument("--address", help="cluster to connect to: auto, or HOST:PORT (default: one of this machine's own)")
    ray.add_argument("--workers", type=count, metavar="N", help="how many processes (default: one a GPU, or 4 CPUs)")
    ray.add_argument(
        "--gpus-per-worker", type=_gpus, metavar="X", help="such as 1, 0.5 or 0 (default: 1 if there are GPUs)"
    )
    ray.add_argument(
        "--split-minutes", type=positive, default=10, metavar="M", help="share longer recordings out (default 10)"
    )


def _run(args: argparse.Namespace) -> int:
    from .batch import run

    return run(args)


def _gpus(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (0 <= value <= 1 or (value <= 64 and value.is_integer())):
        raise argparse.ArgumentTypeError(f"{text}: must be a number from 0 to 1, or a whole number")
    return value
