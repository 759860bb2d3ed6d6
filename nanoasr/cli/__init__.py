"""The command line."""

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, as `run.main` does. Ctrl-C while that is imported ends the process with 130, too."""
    try:
        from .run import main
    except KeyboardInterrupt:
        print("nanoasr: interrupted", file=sys.stderr, flush=True)
        os._exit(130)
    return main(argv)
