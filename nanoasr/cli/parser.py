"""The parser of the whole command line."""

import argparse
import sys
from pathlib import Path

from .. import __version__
from . import app, batch_arguments, bench, convert, info, live, serve, train, transcribe
from .arguments import EXIT_CODES, Parser

_COMMANDS = (app, transcribe, live, serve, batch_arguments, info, convert, train, bench)


def make_parser() -> argparse.ArgumentParser:
    """Build the parser. Parsed arguments carry the function to call as `run`."""
    parser = Parser(
        prog="python -m nanoasr" if Path(sys.argv[0]).name == "__main__.py" else "nanoasr",
        description="Speech recognition in MLX: Fun-ASR-Nano, SenseVoice and Paraformer.",
        epilog=f"""examples:
  %(prog)s app                                  the browser app
  %(prog)s transcribe talk.mp3                  transcribe with the small bundled checkpoint
  %(prog)s transcribe talk.mp3 --model nano     transcribe with the full model, downloaded on first use
  %(prog)s live --save meeting.srt              transcribe the microphone
  %(prog)s batch talks/ --out texts             thousands of recordings, also on a Ray cluster
  %(prog)s serve                                the OpenAI audio API at http://127.0.0.1:8000/v1

`%(prog)s COMMAND --help` describes a command.
{EXIT_CODES}""",
    )
    parser.add_argument("--version", action="version", version=f"nanoasr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser
