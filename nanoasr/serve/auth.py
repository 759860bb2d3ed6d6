"""API key authentication of every route but /health, WebSocket included."""

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from .errors import APIError

_OPEN_PATHS = ("/health",)
_KEY_PROTOCOL = "openai-insecure-api-key."  # how browsers, which cannot set headers, send a key to a WebSocket


class RequireKey:
    """Middleware that answers 401 unless the request carries the key."""

    def __init__(self, app: ASGIApp, key: str | None):
        self.app = app
        self._digest = _digest(key) if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or refuse it before anything of it is read."""
        if scope["type"] == "lifespan" or self._digest is None or scope["path"] in _OPEN_PATHS:
            return await self.app(scope, receive, send)
        # Digests of equal length are compared, all of them, so that timing reveals nothing about the key.
        matches = [hmac.compare_digest(_digest(key), self._digest) for key in _keys(scope)]
        if any(matches):
            return await self.app(scope, receive, send)
        refusal = APIError(
            401,
            "Incorrect API key provided." if matches else "No API key provided: send Authorization: Bearer KEY.",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        ).response()
        if scope["type"] == "websocket":
            return await WebSocket(scope, receive, send).send_denial_response(refusal)
        return await refusal(scope, receive, send)


def _keys(scope: Scope) -> Iterable[str]:
    scheme, _, value = Headers(scope=scope).get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield value.strip()
    if scope["type"] == "websocket":
        for protocol in scope.get("subprotocols", ()):
            if protocol.startswith(_KEY_PROTOCOL):
                yield protocol.removeprefix(_KEY_PROTOCOL)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
