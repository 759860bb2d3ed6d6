"""`nanoasr train`: train or fine-tune from a YAML file."""

import argparse
from pathlib import Path

from .arguments import positive
from .console import printable_line


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "train",
        help="train or fine-tune from a YAML file",
        description="Train as a YAML file says. The same command again continues a stopped run; Ctrl-C saves first.",
        epilog="""examples:
  %(prog)s assets/speech/digits/finetune.yaml
  %(prog)s fine-tune.yaml --stop-after 30

The first file is a small example. nanoasr/train/config.py describes every setting; all but a few have defaults. The
folder named by `out` gets the checkpoint, curve.html with the training curve, and the state to continue from.""",
    )
    parser.set_defaults(run=run)
    parser.add_argument("config", metavar="CONFIG", type=Path, help="YAML file; paths in it are relative to it")
    parser.add_argument("--stop-after", type=positive, metavar="MINUTES", help="save and stop after this time")


def run(args: argparse.Namespace) -> int:
    """Train, and print the scores of the validation sets."""
    from ..train.config import read_config
    from ..train.loop import train

    outcome = train(read_config(args.config), args.stop_after * 60 if args.stop_after else None)
    for name, score in outcome.scores.items():
        print(f"{printable_line(name)}: {score} ({score.recordings} recordings, {score.words} words)")
    print(f"{outcome.steps} steps; checkpoint in {outcome.checkpoint}")
    return 0
