"""`GET /v1/realtime?intent=transcription`: the WebSocket of live transcription."""

import asyncio
import base64
import binascii
import contextlib
import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ..errors import NanoASRError
from ..recognizer import Recognizer
from .access import log, record_of
from .errors import APIError, from_library, server_error
from .realtime_config import SessionConfig
from .realtime_items import Listener
from .service import Service

ROUTE = "/v1/realtime"
BACKLOG_BYTES = 4 * 2**20  # of audio not yet transcribed; beyond that nothing more is read from the client
MOST_EVENTS = 512  # queued for the client
_SHORTEST_PUSH = 0.1  # seconds; shorter audio waits for more, since a session works in steps of 0.1 s
_CLOSE_SECONDS = 5.0  # seconds to send the error that ends a session
_POLICY, _TRY_LATER, _NORMAL = 1008, 1013, 1000


async def realtime(socket: WebSocket) -> None:
    """Serve one WebSocket; a refusal is an HTTP response in OpenAI's form."""
    service: Service = socket.app.state.service
    record = record_of(socket.scope)
    record.route = ROUTE
    try:
        if socket.query_params.get("intent", "transcription") != "transcription":
            raise APIError(400, "intent: this server has transcription only.", code="invalid_value", param="intent")
        _check_origin(socket, service.origins)
        name = socket.query_params.get("model") or service.models.default
        asr = await service.models.get(name)
        service.open_session()
    except APIError as error:
        return await socket.send_denial_response(error.response())
    record.model = name
    try:
        offered = socket.scope.get("subprotocols", ())
        await socket.accept(subprotocol="realtime" if "realtime" in offered else None)
        session = _Session(socket, service, asr, SessionConfig(name))
        await session.run()
        record.audio_seconds = session.audio_seconds
    finally:
        service.close_session()


def _check_origin(socket: WebSocket, allowed: Sequence[str]) -> None:
    """Refuse pages of other origins, which browsers let connect to any WebSocket."""
    origin = socket.headers.get("origin")
    same_host = origin is None or urlsplit(origin).netloc == socket.headers.get("host")
    if not (same_host or origin in allowed or "*" in allowed):
        raise APIError(403, "Pages of this origin may not connect.", code="origin_not_allowed")


@dataclass
class _Command:
    """A client event for the listener; they run in the command of arrival."""

    kind: str
    content: Any = None
    event_id: str | None = None


class _Session:
    """One connection: reads events, hands audio to a Listener on a thread, and writes its events."""

    def __init__(self, socket: WebSocket, service: Service, asr: Recognizer, config: SessionConfig):
        self._socket, self._service, self._config = socket, service, config
        self._loop = asyncio.get_running_loop()
        self._id, self._expires_at = f"sess_{secrets.token_hex(10)}", int(time.time() + service.max_seconds)
        self._events: asyncio.Queue[dict] = asyncio.Queue(MOST_EVENTS)
        self._commands: deque[_Command] = deque()
        self._backlog = 0
        self._changed = asyncio.Event()  # commands were added or finished
        self._end: asyncio.Future[tuple[APIError | None, int]] = self._loop.create_future()
        self._listener = Listener(asr, config, self._emit_from_thread, service.metrics)
        self.audio_seconds = 0.0

    async def run(self) -> None:
        """Serve until either side ends."""
        beta = "realtime=v1" in self._socket.headers.get("openai-beta", "")
        self._emit_session("transcription_session.created" if beta else "session.created")
        tasks = [asyncio.ensure_future(work()) for work in (self._receive, self._process, self._send)]
        for task in tasks:
            task.add_done_callback(self._task_done)
        try:
            error, code = await self._end
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(self._listener.close)
        if self._socket.application_state == WebSocketState.CONNECTED == self._socket.client_state:
            with contextlib.suppress(asyncio.TimeoutError, RuntimeError, WebSocketDisconnect):
                await asyncio.wait_for(self._close(error, code), _CLOSE_SECONDS)

    def _task_done(self, task: asyncio.Task) -> None:
        if task.cancelled() or self._end.done():
            return
        if task.exception() and not isinstance(task.exception(), WebSocketDisconnect):
            log.error("error in a realtime session", exc_info=task.exception())
            self._end.set_result((server_error(), 1011))
        else:
            self._end.set_result((None, _NORMAL))

    async def _close(self, error: APIError | None, code: int) -> None:
        while error and not self._events.empty():
            await self._socket.send_text(json.dumps(self._events.get_nowait(), ensure_ascii=False))
        if error:
            event = {"type": "error", "event_id": _event_id(), "error": error.error | {"event_id": None}}
            await self._socket.send_text(json.dumps(event))
        await self._socket.close(code)

    # from the client

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            event_id = None
            try:
                event = _parse(message.get("text"))
                given = event.get("event_id")
                event_id = given if isinstance(given, str) else None
                self._handle(event, event_id)
            except APIError as error:
                self._emit_error(error, event_id)
            await asyncio.sleep(0)  # answers are sent while messages that came together are read
            while self._backlog > BACKLOG_BYTES:
                self._changed.clear()
                await self._changed.wait()

    def _handle(self, event: dict, event_id: str | None) -> None:
        kind = event.get("type")
        if kind == "input_audio_buffer.append":
            content = _audio(event.get("audio"))
            self.audio_seconds += self._config.format.seconds(len(content))
            if self.audio_seconds > self._service.max_seconds:
                self._stop(APIError(400, "Your session hit the maximum duration.", code="session_expired"), _NORMAL)
                return
            self._backlog += len(content)
            if self._commands and self._commands[-1].kind == kind and len(self._commands[-1].content) < BACKLOG_BYTES:
                self._commands[-1].content += content
            else:
                self._commands.append(_Command(kind, bytearray(content)))
        elif kind in ("session.update", "transcription_session.update"):
            self._commands.append(_Command(kind, event.get("session"), event_id))
        elif kind in ("input_audio_buffer.commit", "input_audio_buffer.clear"):
            self._commands.append(_Command(kind, None, event_id))
        else:
            message = f"type: {str(kind)[:60]!r} is not an event of transcription sessions."
            raise APIError(400, message, code="invalid_value", param="type")
        self._changed.set()

    # to the recognizer

    async def _process(self) -> None:
        while True:
            while not self._commands or self._too_little():
                self._changed.clear()
                await self._changed.wait()
            command = self._commands.popleft()
            try:
                await self._run(command)
            except NanoASRError as error:
                self._emit_error(from_library(error), command.event_id)
            except APIError as error:
                self._emit_error(error, command.event_id)

    def _too_little(self) -> bool:
        first = self._commands[0]
        is_audio = len(self._commands) == 1 and first.kind == "input_audio_buffer.append"
        return is_audio and self._config.format.seconds(len(first.content)) < _SHORTEST_PUSH

    async def _run(self, command: _Command) -> None:
        if command.kind == "input_audio_buffer.append":
            await self._on_thread(self._listener.push, bytes(command.content))
            self._backlog -= len(command.content)
            self._changed.set()
        elif command.kind == "input_audio_buffer.commit":
            await self._on_thread(self._listener.commit)
        elif command.kind == "input_audio_buffer.clear":
            await self._on_thread(self._listener.clear)
        else:
            flat = command.kind == "transcription_session.update"
            config = self._config.updated_flat(command.content) if flat else self._config.updated(command.content)
            asr = await self._service.models.get(config.model)
            await self._on_thread(self._listener.reconfigure, asr, config)
            self._config = config
            self._emit_session("transcription_session.updated" if flat else "session.updated")

    async def _on_thread(self, call: Callable[..., None], *args: Any) -> None:
        await self._loop.run_in_executor(self._service.listeners, call, *args)

    # to the client

    async def _send(self) -> None:
        while True:
            await self._socket.send_text(json.dumps(await self._events.get(), ensure_ascii=False))

    def _emit_from_thread(self, event: dict) -> None:
        self._loop.call_soon_threadsafe(self._emit, event)

    def _emit(self, event: dict) -> None:
        try:
            self._events.put_nowait({"event_id": _event_id()} | event)
        except asyncio.QueueFull:
            message = f"The session was closed: {MOST_EVENTS} events were waiting to be read."
            self._stop(APIError(429, message, code="client_too_slow"), _TRY_LATER)

    def _emit_error(self, error: APIError, event_id: str | None) -> None:
        self._emit({"type": "error", "error": error.error | {"event_id": event_id}})

    def _emit_session(self, kind: str) -> None:
        describe = self._config.describe_flat if kind.startswith("transcription_session") else self._config.describe
        self._emit({"type": kind, "session": describe(self._id, self._expires_at)})

    def _stop(self, error: APIError, code: int) -> None:
        if not self._end.done():
            self._end.set_result((error, code))


def _parse(text: str | None) -> dict:
    try:
        event = json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise APIError(400, "Send each event as a JSON object in a text message.", code="invalid_json")
    return event


def _audio(value: object) -> bytes:
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise APIError(400, "audio: must be base64-encoded bytes.", code="invalid_value", param="audio")


def _event_id() -> str:
    return f"event_{secrets.token_hex(8)}"
