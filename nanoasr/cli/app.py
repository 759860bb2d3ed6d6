"""`nanoasr app`: serve the browser app."""

import argparse

from ..checkpoint.quantize import PRESETS as QUANTIZATIONS
from ..errors import NanoASRError
from .arguments import MODEL_HELP, positive


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
    add("--allow-host", action="append", dest="allow_hosts", default=[], metavar="NAME",
        help="a name under which a proxy serves the page, such as asr.example.org; may be repeated")  # fmt: skip
    add("--api", action="store_true", help="also serve the OpenAI audio API, at /v1, with the model of the page")
    add("--max-minutes", type=positive, default=60, metavar="M", help="longest recording (default 60)")
    add("--max-upload-mb", type=positive, default=200, metavar="MB", help="largest file (default 200)")


def run(args: argparse.Namespace) -> int:
    """Serve until the process is stopped."""
    from ..ui.app import serve

    try:
        serve(
            args.model, args.quantize, host=args.host, port=args.port, share=args.share, auth=args.auth,
            allow_hosts=args.allow_hosts, max_minutes=args.max_minutes, max_upload_mb=args.max_upload_mb,
            api=args.api,
        )  # fmt: skip
    except OSError as error:
        address = f"{args.host}:{args.port}"
        raise NanoASRError(f"cannot serve on {address}: choose another --port or --host ({error})") from None
    return 0


def _credentials(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError("must be USER:PASSWORD")
    return user, password
