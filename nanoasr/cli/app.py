"""`nanoasr app`: serve the browser app."""

import argparse
import os

from ..checkpoint.quantize import PRESETS as QUANTIZATIONS
from ..errors import NanoASRError
from .arguments import MODEL_HELP, positive
from .console import print_message

_GRADIO_SETTINGS = {  # Gradio reads them when it is imported
    "GRADIO_ANALYTICS_ENABLED": "False",  # send nothing anywhere
    "GRADIO_RUN_HISTORY": "False",  # keep no list of visitors' recordings
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",  # keep no statistics of requests, which are summed up at every request
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
}
_LOCAL = ("127.0.0.1", "localhost", "::1")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "app",
        help="the browser app",
        description="Serve the browser app and print its address. `python app.py` in a clone does the same.",
        epilog="examples:\n  %(prog)s\n  %(prog)s --model nano --quantize llm-8bit --port 8080",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--model", help=f"{MODEL_HELP} (default: the bundled checkpoint)")
    add("--quantize", choices=QUANTIZATIONS, help="quantize weights")
    add("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1; 0.0.0.0 lets other machines in)")
    add("--port", type=int, default=7860, help="port to listen on (default 7860)")
    add("--share", action="store_true", help="also serve at a public address through Gradio's servers")
    add("--auth", type=_credentials, metavar="USER:PASSWORD", help="require this login")
    add("--max-minutes", type=positive, default=60, metavar="M", help="longest recording (default 60)")
    add("--max-upload-mb", type=positive, default=200, metavar="MB", help="largest file (default 200)")


def run(args: argparse.Namespace) -> int:
    """Serve until the process is stopped."""
    for name, value in _GRADIO_SETTINGS.items():
        os.environ.setdefault(name, value)
    from ..ui.models import SharedModel

    shared = SharedModel()
    shared.load_in_background(args.model, args.quantize, print_message)
    from ..ui.page import build_page, launch  # importing Gradio takes seconds: the model loads meanwhile

    private = args.host in _LOCAL and not args.share
    page = build_page(shared, max_minutes=args.max_minutes, can_load=private or bool(args.auth))
    try:
        launch(
            page,
            shared,
            max_upload_mb=args.max_upload_mb,
            server_name=args.host,
            server_port=args.port,
            share=args.share,
            auth=args.auth,
        )
    except OSError as error:
        shared.wait()  # Python must not exit in the middle of a load
        address = f"{args.host}:{args.port}"
        raise NanoASRError(f"cannot serve on {address}: choose another --port or --host ({error})") from None
    return 0


def _credentials(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError("must be USER:PASSWORD")
    return user, password
