"""The API as an ASGI app."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import __version__
from ..recognizer import Recognizer
from . import realtime, transcriptions
from .access import AccessLog, record_of
from .auth import RequireKey
from .errors import APIError, handle_api_error, handle_http_exception
from .models import Models
from .openapi import document
from .service import Service

_PATHS = ("/v1", "/health", "/metrics", "/openapi.json")


def create_app(
    models: Mapping[str, Recognizer],
    *,
    api_key: str | None = None,
    cors: Sequence[str] = (),
    max_upload_mb: float = 200,
    max_minutes: float = 60,
    allow_load: bool = False,
    aliases: Sequence[str] = (),
) -> Starlette:
    """Make an app that serves the OpenAI audio API with loaded recognizers.

    models         recognizers by the names that requests use; the first is the default
    api_key        what clients must send as `Authorization: Bearer KEY`; None lets everybody in
    cors           origins whose pages may call the API from a browser
    max_upload_mb  the largest file, and `max_minutes` the longest recording or realtime session
    allow_load     load presets and hub ids that requests name
    aliases        other names of the default model, such as "whisper-1"
    """
    service = Service(
        Models(models, aliases=aliases, allow_load=allow_load),
        int(max_upload_mb * 2**20),
        max_minutes * 60,
        tuple(cors),
    )
    middleware = [Middleware(AccessLog, metrics=service.metrics, max_bytes=service.max_bytes)]
    if cors:
        middleware.append(
            Middleware(CORSMiddleware, allow_origins=list(cors), allow_methods=["*"], allow_headers=["*"])
        )
    middleware.append(Middleware(RequireKey, key=api_key))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    app = Starlette(
        routes=[
            Route("/health", _health),
            Route("/metrics", _metrics),
            Route("/openapi.json", _openapi),
            Route("/v1/models", _list_models),
            Route("/v1/models/{id:path}", _get_model),
            Route(transcriptions.ROUTE, transcriptions.Transcriptions(service), methods=["POST"]),
            WebSocketRoute(realtime.ROUTE, realtime.realtime),
        ],
        middleware=middleware,
        exception_handlers={APIError: handle_api_error, HTTPException: handle_http_exception},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def beside(page: ASGIApp, api: ASGIApp) -> ASGIApp:
    """Combine two apps: the API gets its own paths, the page (Gradio's, say) all the rest."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        ours = path in _PATHS or path.startswith("/v1/")
        await (api if ours else page)(scope, receive, send)

    return app


def _service(request: Request, route: str) -> Service:
    record_of(request.scope).route = route
    return request.app.state.service


async def _health(request: Request) -> JSONResponse:
    draining = _service(request, "/health").work.draining
    return JSONResponse(
        {"status": "shutting_down" if draining else "ok", "version": __version__}, 503 if draining else 200
    )


async def _metrics(request: Request) -> PlainTextResponse:
    return PlainTextResponse(_service(request, "/metrics").metrics.text(), media_type="text/plain; version=0.0.4")


async def _openapi(request: Request) -> JSONResponse:
    _service(request, "/openapi.json")
    return JSONResponse(document())


async def _list_models(request: Request) -> JSONResponse:
    models = _service(request, "/v1/models").models
    return JSONResponse({"object": "list", "data": [models.describe(name) for name in models.names]})


async def _get_model(request: Request) -> JSONResponse:
    return JSONResponse(_service(request, "/v1/models/{id}").models.describe(request.path_params["id"]))
