"""HTTP safety as one ASGI middleware: who may ask, from where, how much, and how often. Knows nothing of Gradio."""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

Scope, Receive, Send = dict[str, Any], Callable, Callable
_LOGIN_BODY = 4096  # bytes
_DISCARD_BYTES, _DISCARD_SECONDS = 8 << 20, 2.0  # of the rest of a refused request


@dataclass(frozen=True)
class Limits:
    """What one request, and all requests together, may take."""

    body: int = 2 << 20  # bytes of a request that is not an upload
    bodies: int = 64 << 20  # bytes of all such bodies that are being read
    structure: int = 50_000  # brackets, braces and commas of a JSON body: parsed, each costs about 60 bytes
    upload: int = 1 << 30  # bytes of an upload
    uploads: int = 16  # at once
    stall: float = 30.0  # seconds without a byte of the body
    concurrent: int = 512  # requests in progress, event streams included
    failed_logins: int = 10  # a minute from one address


class Refusal(Exception):
    """An answer given in the application's place."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Safety:
    """ASGI middleware that refuses what no client of the application would send.

    hosts       names that the Host header may have (guards against DNS rebinding); None accepts all. With an Origin
                header, its host must be the Host header's or in `hosts`
    authorized  decides from the request's headers whether it may send a body; asked before the body is read
    posts       prefixes of the paths that accept bodies; None accepts all
    uploads     paths whose bodies are streamed, up to `limits.upload`; other bodies are read here, up to `limits.body`
    login       path whose failed requests (status 4xx) are counted per client address; needs no authorization
    room        bytes that uploads may still take on the disk
    """

    def __init__(
        self,
        app: Callable,
        *,
        hosts: Collection[str] | None = None,
        authorized: Callable[[dict[str, str]], bool] = lambda headers: True,
        posts: tuple[str, ...] | None = None,
        uploads: Collection[str] = (),
        login: str | None = None,
        room: Callable[[], int] | None = None,
        limits: Limits = Limits(),
    ):
        self.app, self.limits, self.room = app, limits, room
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._authorized, self._posts, self._uploads, self._login = authorized, posts, uploads, login
        self._failures: dict[str, deque[float]] = {}
        self._in_progress = self._reading = self._uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer, is_upload = _Answer(send), scope["path"].rstrip("/") in self._uploads
        self._in_progress += 1
        self._uploading += is_upload
        try:
            receive = await self._admitted(scope, receive, answer)
            if self._is_login(scope):
                answer.on_status = lambda status: self._count_login(scope, status)
            await self.app(scope, receive, answer)
        except Refusal as refusal:
            await answer.refuse(scope, refusal, receive)
        except Exception:
            if not answer.closed:  # what the application raises once its client is gone or refused is no news
                raise
        finally:
            self._in_progress -= 1
            self._uploading -= is_upload

    async def _admitted(self, scope: Scope, receive: Receive, answer: "_Answer") -> Receive:
        """Check a request; return the `receive` that its application is given."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        upload = scope["path"].rstrip("/") in self._uploads
        if self._in_progress > self.limits.concurrent or (upload and self._uploading > self.limits.uploads):
            raise Refusal(503, "The server is busy: try again in a moment.")
        self._check_source(headers)
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return receive
        path, is_login = scope["path"].rstrip("/"), self._is_login(scope)
        if not is_login and not self._authorized(headers):
            raise Refusal(401, "Log in first.")
        if self._posts is not None and not is_login and not path.startswith(self._posts):
            raise Refusal(404, "Nothing accepts this request here.")
        if is_login and self._locked(scope):
            raise Refusal(429, "Too many failed logins: wait a minute.")
        limit = self.limits.upload if upload else _LOGIN_BODY if is_login else self.limits.body
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > limit:
            raise Refusal(413, f"The request is larger than the maximum allowed size of {limit} bytes.")
        if upload:
            return self._streamed(receive, answer, int(length))
        return _replayed(await self._read(receive, limit, "json" in headers.get("content-type", "json")), receive)

    def _check_source(self, headers: dict[str, str]) -> None:
        host, origin = headers.get("host", "").lower(), headers.get("origin", "").lower()
        if self._hosts is not None and _name(host) not in self._hosts:
            raise Refusal(403, "This server is not known by the name in the address: start it with --allow-host NAME.")
        from_elsewhere = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
        origin_host = origin.partition("://")[2]
        allowed = origin_host == host or _name(origin_host) in (self._hosts or ())
        if not allowed if origin else from_elsewhere:
            raise Refusal(403, "Requests from other sites are refused: see --allow-host.")

    async def _next(self, receive: Receive) -> dict:
        try:
            return await asyncio.wait_for(receive(), self.limits.stall)
        except asyncio.TimeoutError:
            raise Refusal(408, "The request stopped in the middle of its body.") from None

    async def _read(self, receive: Receive, limit: int, is_json: bool) -> bytes:
        body, more = bytearray(), True
        try:
            while more:
                message = await self._next(receive)
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "The request ended early.")
                body += message.get("body", b"")
                self._reading += len(message.get("body", b""))
                more = message.get("more_body", False)
                if len(body) > limit:
                    raise Refusal(413, f"The request is larger than the maximum allowed size of {limit} bytes.")
                if self._reading > self.limits.bodies:
                    raise Refusal(503, "The server is busy: try again in a moment.")
        finally:
            self._reading -= len(body)
        if is_json and sum(body.count(char) for char in b"[{,") > self.limits.structure:
            raise Refusal(413, "The request has too many parts.")
        return bytes(body)

    def _streamed(self, receive: Receive, answer: "_Answer", length: int) -> Receive:
        """`receive` of an upload: bounded in size, time and disk space."""
        self._check_room(length)
        received = checked = 0
        complete = False

        async def bounded() -> dict:
            nonlocal received, checked, complete
            if complete:
                return await receive()
            try:
                message = await self._next(receive)
                received += len(message.get("body", b""))
                if received > self.limits.upload:
                    raise Refusal(413, f"The upload is larger than the maximum allowed size of {self.limits.upload}.")
                if received - checked > 16 << 20:
                    checked = received
                    await asyncio.to_thread(self._check_room, 0)
            except Refusal as refusal:
                await answer.refuse({"type": "http"}, refusal, receive)
                return {"type": "http.disconnect"}
            complete = not message.get("more_body", False)
            answer.closed |= message["type"] == "http.disconnect"
            return message

        return bounded

    def _check_room(self, length: int) -> None:
        if self.room and self.room() < max(length, 1):
            raise Refusal(507, "There is no room for more uploads now: try again in a few minutes.")

    def _is_login(self, scope: Scope) -> bool:
        return self._login is not None and scope["path"].rstrip("/") == self._login and scope.get("method") == "POST"

    def _locked(self, scope: Scope) -> bool:
        failures = self._failures.get(_address(scope), ())
        return len(failures) >= self.limits.failed_logins and time.monotonic() - failures[0] < 60

    def _count_login(self, scope: Scope, status: int) -> None:
        if 400 <= status < 500:
            if len(self._failures) > 10_000:  # addresses: forget those of more than a minute ago
                recent = time.monotonic() - 60
                self._failures = {key: times for key, times in self._failures.items() if times[-1] > recent}
            failures = self._failures.setdefault(_address(scope), deque(maxlen=self.limits.failed_logins))
            failures.append(time.monotonic())


class _Answer:
    """`send`, once: after a refusal, or once the client has gone, what the application sends is dropped."""

    def __init__(self, send: Send):
        self._send = send
        self._started = self.closed = False
        self.on_status: Callable[[int], None] | None = None

    async def __call__(self, message: dict) -> None:
        if self.closed:
            return
        if message["type"] == "http.response.start":
            self._started = True
            message = message | {"headers": [*message.get("headers", ()), (b"x-content-type-options", b"nosniff")]}
            if self.on_status:
                self.on_status(message["status"])
        await self._send(message)

    async def refuse(self, scope: Scope, refusal: Refusal, receive: Receive) -> None:
        if self.closed or self._started:
            return
        self.closed = True
        if scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
            return
        if refusal.status < 500:  # a client that is still sending would not see the answer
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_discard(receive), _DISCARD_SECONDS)
        body = json.dumps({"error": refusal.reason, "detail": refusal.reason}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        headers.append((b"connection", b"close"))  # the rest of the body is not read
        await self._send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


async def _discard(receive: Receive) -> None:
    size, more = 0, True
    while more and size < _DISCARD_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)


def _replayed(body: bytes, receive: Receive) -> Receive:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> dict:
        return messages.pop() if messages else await receive()

    return replay


def _name(host: str) -> str:
    """The host's name without its port."""
    return host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]


def _address(scope: Scope) -> str:
    return (scope.get("client") or ("", 0))[0]
