"""The browser app: `python app.py`, then open the address that it prints."""

import argparse
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before Gradio is imported: nothing is sent anywhere,
os.environ.setdefault("GRADIO_RUN_HISTORY", "False")  # and nobody's recordings are listed
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")  # figures of each request, which nobody looks at,
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000000")  # would be summed up again at every one

_LOCAL = ("127.0.0.1", "localhost", "::1")


def main() -> None:
    options = parse_args()
    from nanoasr.ui.models import SharedModel

    shared = SharedModel()
    shared.load_in_background(options.model, options.quantize, lambda problem: print(problem, file=sys.stderr))
    from nanoasr.ui.page import build_page, launch  # while the model loads: Gradio takes seconds to import

    private = options.host in _LOCAL and not options.share
    page = build_page(shared, max_minutes=options.max_minutes, can_load=private or bool(options.auth))
    try:
        launch(
            page,
            shared,
            max_upload_mb=options.max_upload_mb,
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            auth=options.auth,
        )
    except OSError as error:
        shared.wait()  # Python must not end in the middle of a load
        sys.exit(f"cannot serve on {options.host}:{options.port}, choose another --port or --host ({error})")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", help="a folder, a hub id or a preset; without it, the checkpoint that ships")
    parser.add_argument("--quantize", choices=["llm-8bit", "llm-4bit", "all-8bit", "all-4bit"])
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--share", action="store_true", help="a public address, through Gradio's servers")
    parser.add_argument("--auth", type=credentials, metavar="USER:PASSWORD", help="ask visitors for these")
    parser.add_argument("--max-minutes", type=positive, default=60, help="longest recording")
    parser.add_argument("--max-upload-mb", type=positive, default=200, help="largest file")
    return parser.parse_args()


def credentials(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError("give it as USER:PASSWORD")
    return user, password


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number above 0")
    return value


if __name__ == "__main__":
    main()
