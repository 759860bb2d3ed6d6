"""The app from start to stop, without importing Gradio before the model loads."""

import gc
import sys
import threading
from collections.abc import Sequence

_LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    model: str | None = None,
    quantize: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    auth: tuple[str, str] | None = None,
    allow_hosts: Sequence[str] = (),
    max_minutes: float = 60,
    max_upload_mb: float = 200,
    api: bool = False,
) -> None:
    """Serve the browser app until SIGINT or SIGTERM; an OSError means that it could not listen on host and port.

    allow_hosts names the hosts under which a proxy serves the page, for example asr.example.org.
    """
    gc.disable()  # until the page is served: a fifth of the time that imports take
    from .api import make_api
    from .log import escape_controls
    from .models import Access, SharedModel

    shared = SharedModel()
    limits = {"max_minutes": max_minutes, "max_upload_mb": max_upload_mb}
    beside = make_api(shared, needs_key=auth is not None, **limits) if api else None
    shared.load_in_background(model, quantize, lambda problem: print(escape_controls(problem), file=sys.stderr))
    from .page import build_page  # importing Gradio takes seconds: the model loads meanwhile
    from .server import run
    from .shown import FirstExample

    example = FirstExample(shared)
    threading.Thread(target=example.prepare, name="nanoasr-example", daemon=True).start()

    def on_start() -> None:
        gc.enable()
        example.ready.wait()

    local = host in _LOCAL and not share
    access = Access.NAMED if auth else Access.ANY if local and not allow_hosts else Access.NONE
    # Without a login, a page of another site could address this machine by a name of its own (DNS rebinding).
    hosts = [*_LOCAL, *allow_hosts] if allow_hosts or (local and not auth) else None
    try:
        run(
            lambda: build_page(shared, example, max_minutes=max_minutes, access=access),
            max_upload_mb=max_upload_mb,
            hosts=hosts,
            on_start=on_start,
            api=beside,
            server_name=host,
            server_port=port,
            share=share,
            auth=auth,
        )
    finally:
        gc.enable()  # where it could not start
        shared.wait()  # Python must not exit while a model is being loaded
