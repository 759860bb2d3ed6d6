"""The access log, request metrics, and a plain 500 for unexpected errors."""

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ClientGone, server_error
from .metrics import Metrics

log = logging.getLogger("nanoasr.serve")
access_log = logging.getLogger("nanoasr.serve.access")
CLIENT_GONE = 499  # as nginx logs it; never sent
_DRAINED, _DRAIN_SECONDS = 4, 10.0  # how much of a refused body is read, in largest uploads, and how long


@dataclass
class Record:
    """The logged fields of a request, set by endpoints. Never any text of a transcript or prompt."""

    route: str = "other"
    model: str | None = None
    audio_seconds: float | None = None
    status: int = 0


def record_of(scope: Scope) -> Record:
    """Return the record of a request."""
    return scope.setdefault("nanoasr.record", Record())


class AccessLog:
    """Middleware: one JSON line and one count for each request or WebSocket session."""

    def __init__(self, app: ASGIApp, metrics: Metrics, max_bytes: int):
        self.app, self.metrics = app, metrics
        self._most_drained = _DRAINED * max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request and log it."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        record, began, started, body_read = record_of(scope), time.perf_counter(), False, False

        async def received() -> Message:
            nonlocal body_read
            message = await receive()
            body_read = body_read or not message.get("more_body", False)
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                refused = message["type"] == "http.response.start" and message["status"] >= 400
                if refused and message["status"] != 408 and not body_read:
                    await _drain(scope, receive, self._most_drained)
                started, record.status = True, message["status"]
            elif message["type"] == "websocket.accept":
                started, record.status = True, 101
            await send(message)

        try:
            await self.app(scope, received, watched)
        except (ClientGone, ClientDisconnect):
            record.status = CLIENT_GONE
        except Exception:
            log.exception("error while serving %s", record.route)
            if not started and scope["type"] == "http":
                await server_error().response()(scope, receive, watched)
            record.status = 500
        finally:
            seconds = time.perf_counter() - began
            self.metrics.count_request(record.route, record.status, seconds)
            access_log.info(json.dumps(_line(scope, record, seconds)))


async def _drain(scope: Scope, receive: Receive, most: int) -> None:
    """Read and forget the rest of a refused body: most clients read an answer only after they have sent everything."""
    headers = Headers(scope=scope)
    length = headers.get("content-length", "")
    if "expect" in headers or (length.isdecimal() and int(length) > most):
        return

    async def read() -> None:
        left, more = most, True
        while more and left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            more = message.get("more_body", False)

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read(), _DRAIN_SECONDS)


def _line(scope: Scope, record: Record, seconds: float) -> dict:
    client = scope.get("client")
    found = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "client": client[0] if client else None,
        "method": scope.get("method", "WEBSOCKET"),
        "route": record.route,
        "status": record.status,
        "ms": round(1000 * seconds, 1),
        "model": record.model,
        "audio_seconds": record.audio_seconds and round(record.audio_seconds, 2),
    }
    return {name: value for name, value in found.items() if value is not None}
