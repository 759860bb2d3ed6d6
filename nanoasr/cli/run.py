"""The entry point of `nanoasr` and `python -m nanoasr`. Each command imports what it needs when it runs."""

import os
import signal
import sys
from collections.abc import Sequence

from ..errors import NanoASRError
from .console import print_message
from .parser import make_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 all done, 1 some inputs failed, 2 wrong usage or could not start.

    Ctrl-C ends the process with 130, a closed output pipe with 141.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # set by nanoasr/__init__.py for the time of the imports
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # transcripts are UTF-8 in every locale
            stream.reconfigure(encoding="utf-8", errors="replace")
    if not (sys.stderr and sys.stderr.isatty()):
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    if args.command in ("transcribe", "batch") and not any(len(word) > 1 and word[0] == "-" for word in rest):
        args.files += rest  # files may stand between options
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return args.run(args)
    except NanoASRError as error:
        print_message(str(error))
    except BrokenPipeError:
        _exit_now(141)
    except OSError as error:
        print_message(f"{error.filename or 'output'}: {error.strerror or error}")
    except MemoryError:
        print_message("out of memory")
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        print_message(f"{error}: out of memory, or too many processes")
    except KeyboardInterrupt:
        print_message("interrupted")
        _exit_now(130)
    return 2


def _exit_now(status: int) -> None:
    """End without waiting for the worker thread, which may have minutes of decoding queued."""
    try:
        sys.stderr.flush()
        if status == 130:
            sys.stdout.flush()
    finally:
        os._exit(status)
