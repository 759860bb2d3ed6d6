"""`python -m nanoasr.train CONFIG`: the same as `python -m nanoasr train CONFIG`."""

import argparse
import sys
from collections.abc import Sequence

from ..errors import NanoASRError
from .config import read_config
from .loop import train


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as a configuration file says; the exit code is 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="nanoasr train", description="Train or fine-tune as a YAML file says.")
    parser.add_argument("config", help="settings; nanoasr/train/config.py says what there is")
    parser.add_argument("--stop-after", type=float, metavar="SECONDS", help="stop then; the same command goes on")
    options = parser.parse_args(arguments)
    try:
        outcome = train(read_config(options.config), options.stop_after)
    except NanoASRError as error:
        print(f"nanoasr train: {error}", file=sys.stderr)
        return 1
    for name, score in outcome.scores.items():
        print(f"{name}: {score} ({score.recordings} recordings, {score.words} words)")
    print(f"{outcome.steps} steps; checkpoint in {outcome.checkpoint}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
