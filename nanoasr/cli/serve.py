"""`nanoasr serve`: serve the OpenAI audio API."""

import argparse
import os
from pathlib import Path

from ..checkpoint.quantize import PRESETS as QUANTIZATIONS
from ..errors import OptionError
from .arguments import MODEL_HELP, positive
from .console import print_message

_KEY_VARIABLE = "NANOASR_API_KEY"
_LOCAL = ("127.0.0.1", "localhost", "::1")
BUNDLED_NAME = "bundled"


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "serve",
        help="a server that speaks the OpenAI audio API",
        description="""Serve the OpenAI audio API: POST /v1/audio/transcriptions, GET /v1/models, and live transcription
on the WebSocket /v1/realtime?intent=transcription; also /health, /metrics and /openapi.json.""",
        epilog="""examples:
  %(prog)s
  %(prog)s --model nano --model sensevoice --port 8080
  %(prog)s --model talks=./my-checkpoint --alias whisper-1 --host 0.0.0.0 --api-key SECRET

The access log goes to stderr, one JSON line a request, without texts.""",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1; 0.0.0.0 lets other machines in)")
    add("--port", type=int, default=8000, help="port to listen on (default 8000; 0 takes a free one)")
    add("--model", action="append", metavar="[NAME=]MODEL", help=f"{MODEL_HELP}; repeat it for several")
    add("--alias", action="append", default=[], metavar="NAME", help="another name of the first model, as whisper-1")
    add("--quantize", choices=QUANTIZATIONS, help="quantize weights")
    add("--dtype", choices=("float32", "bfloat16"), help="compute dtype (default bfloat16; CPU float32)")
    add("--allow-load", action="store_true", help="load presets and hub ids that requests name")
    add("--api-key", metavar="KEY", help=f"require this key (default: ${_KEY_VARIABLE} if set)")
    add("--cors", action="append", default=[], metavar="ORIGIN", help="let pages of this origin call the API")
    add("--max-minutes", type=positive, default=60, metavar="M", help="longest recording or session (default 60)")
    add("--max-upload-mb", type=positive, default=200, metavar="MB", help="largest file (default 200)")


def run(args: argparse.Namespace) -> int:
    """Serve until the process is stopped."""
    import numpy as np

    from .. import backend
    from ..recognizer import load
    from ..serve import create_app
    from ..serve.server import bind, run

    sources = dict(map(named_model, args.model or [BUNDLED_NAME]))
    listening = bind(args.host, args.port)  # fail before minutes of loading
    models = {name: load(source, quantize=args.quantize, dtype=args.dtype) for name, source in sources.items()}
    if not backend.on_cpu:  # a GPU compiles kernels for many seconds when they are first used
        noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
        for model in models.values():
            model.transcribe(noise, vad=False)
    key = args.api_key or os.environ.get(_KEY_VARIABLE) or None
    if not key and args.host not in _LOCAL:
        print_message(f"note: others can reach {args.host}, and no --api-key is set")
    app = create_app(
        models,
        api_key=key,
        cors=args.cors,
        max_upload_mb=args.max_upload_mb,
        max_minutes=args.max_minutes,
        allow_load=args.allow_load,
        aliases=args.alias,
    )
    host = f"[{args.host}]" if ":" in args.host else args.host
    print(f"serving {', '.join(models)} at http://{host}:{listening.getsockname()[1]}/v1", flush=True)
    run(app, listening)
    return 0


def named_model(text: str) -> tuple[str, str | None]:
    """Parse `NAME=MODEL` or `MODEL` -> (name, source). A folder's default name is its last part."""
    name, equals, source = text.partition("=")
    if not equals or os.path.isdir(text):
        source, name = text, text
        if os.path.isdir(os.path.expanduser(text)):
            name = Path(os.path.expanduser(text)).resolve().name
    if not name or not source:
        raise OptionError(f"--model {text}: use NAME=MODEL or MODEL")
    return name, None if source == BUNDLED_NAME else source
