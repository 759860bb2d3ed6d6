"""The page as a server: Gradio behind the safety middleware, with its own folder for uploads and downloads."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before Gradio is imported: nothing is sent anywhere,
os.environ.setdefault("GRADIO_RUN_HISTORY", "False")  # and nobody's recordings are listed
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")  # statistics of each request, which nobody reads, would be
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000000")  # summed up again with every request

import gradio as gr
import gradio.http_server
import gradio.processing_utils
import safehttpx  # what Gradio fetches with
import uvicorn
from fastapi.exceptions import RequestValidationError
from gradio.route_utils import FnIndexInferError
from gradio.routes import App, ORJSONResponse
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from ..serve import beside
from ..serve.server import BACKLOG
from . import log, style
from .safety import Limits, Safety
from .storage import Storage

_UPLOAD = "/gradio_api/upload"
_POSTS = tuple(f"/gradio_api/{name}" for name in ("upload", "queue/join", "call/", "run/", "api/", "cancel", "reset"))
_FOLDER_OF_UPLOADS = 20  # times the largest upload


def run(
    build: Callable[[], gr.Blocks],
    *,
    max_upload_mb: float,
    hosts: list[str] | None,
    on_start: Callable[[], object] = lambda: None,
    api: Starlette | None = None,
    **options: object,
) -> None:
    """Build the page and serve it until SIGINT or SIGTERM. `options` are those of Gradio's `launch`.

    hosts   names under which browsers may address the server; None accepts all
    api     served beside the page, at its own paths
    build   called once the folder for uploads exists, which Gradio's components look up when they are made
    """
    limit = int(max_upload_mb * 2**20)
    storage = Storage(_FOLDER_OF_UPLOADS * limit)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        os.environ["GRADIO_TEMP_DIR"] = str(storage.folder)
        refuse_web_addresses()
        gradio.http_server.Server = _Server
        # ffprobe, where there is one, would be given every recording, the examples of each start too (1 s)
        gradio.processing_utils.ffmpeg_installed = lambda: False
        page = build()
        app = GuardedApp(hosts, Limits(upload=4 * limit + 2**20), storage.room, api)
        page.launch(
            _app=app,
            prevent_thread_lock=True,
            max_file_size=limit,
            max_threads=96,
            enable_monitoring=False,
            state_session_capacity=100,  # Gradio keeps each visitor's page, figures included
            footer_links=["api", "settings"],
            **style.looks(),
            **options,
        )
        log.configure()
        threading.Thread(target=_warm_up, args=(on_start,), name="nanoasr-warm-up", daemon=True).start()
        page.block_thread()
    finally:
        if api:
            api.state.service.close()
        storage.close()


def _warm_up(work: Callable[[], object]) -> None:
    work()
    gc.collect()
    gc.freeze()  # a million objects of libraries stay for good: looking through them again stops everyone for long


class _Server(gradio.http_server.Server):
    """Gradio's server, with fewer connections waiting: those of clients that only connect delay all others."""

    def __init__(self, config: uvicorn.Config, **reloading: object):
        config.backlog = BACKLOG
        super().__init__(config, **reloading)


class GuardedApp(App):
    """Gradio's application with the safety middleware around all of its own."""

    def __init__(self, hosts: list[str] | None, limits: Limits, room: Callable[[], int], api: Starlette | None = None):
        super().__init__(default_response_class=ORJSONResponse)
        self.add_exception_handler(RequestValidationError, _refuse_form)
        for error in (FnIndexInferError, KeyError):  # of a name or a number that no endpoint has
            self.add_exception_handler(error, _refuse_endpoint)
        self._api = api
        self._safety = {"hosts": hosts, "limits": limits, "room": room}

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap the middleware that Gradio adds."""
        page = Safety(
            super().build_middleware_stack(),
            authorized=self._is_logged_in,
            posts=_POSTS,
            uploads=(_UPLOAD,),
            login="/login",
            **self._safety,
        )
        return beside(page, self._api) if self._api else page

    def _is_logged_in(self, headers: dict[str, str]) -> bool:
        if self.auth is None:
            return True
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        names = (f"access-token-{self.cookie_id}", f"access-token-unsecure-{self.cookie_id}")
        return any(name in cookies and cookies[name].value in self.tokens for name in names)


async def _refuse_form(*_: object) -> JSONResponse:
    """Answer a request of the wrong form without quoting it: FastAPI fails to quote NaN and bytes."""
    return JSONResponse({"detail": "The request does not have the form that this path expects."}, 422)


async def _refuse_endpoint(*_: object) -> JSONResponse:
    return JSONResponse({"detail": "There is no such endpoint."}, 404)


def refuse_web_addresses() -> None:
    """Make Gradio fetch nothing from other servers.

    It would download any http address that a program sends in place of an uploaded file, however large, and serve
    any under `/file=`: from this machine and with its address.
    """
    safehttpx.get = safehttpx.async_validate_url = _refuse


async def _refuse(*_: object, **__: object) -> None:
    raise gr.Error("Web addresses are not read here: download the file and upload it.", print_exception=False)
