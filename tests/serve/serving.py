"""A server in this process, and what the tests say to it."""

import asyncio
import base64
import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import soxr
import websockets
from commands import COMMAND as NANOASR
from commands import ENVIRONMENT
from places import HERE

from nanoasr.audio import load_audio
from nanoasr.serve import create_app
from nanoasr.serve.server import bind, make_server

SPEECH = HERE.parent / "assets" / "speech"
NUMBER, COMMAND, LECTURE = SPEECH / "kokoro-number.wav", SPEECH / "kokoro-command.wav", SPEECH / "jfk.flac"
ROUTE = "/v1/audio/transcriptions"
TRANSCRIPTION = "conversation.item.input_audio_transcription"


class Served:
    """uvicorn on a thread, at a free port of 127.0.0.1."""

    def __init__(self, models: dict, send_buffer: int | None = None, **options: object):
        self.app = create_app(models, **options)
        self.service = self.app.state.service
        listening = bind("127.0.0.1", 0)
        if send_buffer:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.port = listening.getsockname()[1]
        self.url, self.socket_url = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}/v1/realtime"
        self.server = make_server(self.app)
        self.thread = threading.Thread(target=self.server.run, args=([listening],), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(15)
        assert not self.thread.is_alive()


class Process:
    """A server process."""

    def __init__(self, *flags: str, **environment: str):
        command = [*NANOASR, "serve", "--port", "0", *flags]
        self.process = subprocess.Popen(
            command, env=ENVIRONMENT | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.line = self.process.stdout.readline()
        self.port = int(re.search(r":(\d+)/v1$", self.line.strip())[1])

    def stop(self) -> tuple[int, float, str]:
        """SIGTERM -> exit status, seconds, what was logged."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, time.monotonic() - began, log


def multipart(fields: dict[str, object], file: bytes | None = None, name: str = "a.wav") -> tuple[bytes, str]:
    """A form and its content type; a list is several fields."""
    parts = [(key, None, v) for key, value in fields.items() for v in (value if isinstance(value, list) else [value])]
    parts += [("file", name, file)] if file is not None else []
    body = b""
    for key, filename, value in parts:
        extra = f'; filename="{filename}"\r\nContent-Type: audio/wav' if filename else ""
        content = value if isinstance(value, bytes) else str(value).encode()
        body += f'--bound\r\nContent-Disposition: form-data; name="{key}"{extra}\r\n\r\n'.encode() + content + b"\r\n"
    return body + b"--bound--\r\n", "multipart/form-data; boundary=bound"


def request(
    served: Served, method: str, path: str, body: bytes | None = None, timeout: float = 300, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One raw request -> status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=timeout)
    try:
        connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def post(served: Served, fields: dict[str, object], file: bytes | Path | None, **headers: str) -> tuple[int, bytes]:
    """POST a transcription request."""
    content = file.read_bytes() if isinstance(file, Path) else file
    body, kind = multipart(fields, content)
    status, _, answer = request(served, "POST", ROUTE, body, content_type=kind, **headers)
    return status, answer


def error_of(answer: bytes) -> dict:
    """The error of an answer, its form checked."""
    content = json.loads(answer)
    assert list(content) == ["error"] and set(content["error"]) == {"message", "type", "param", "code"}, content
    assert "Traceback" not in content["error"]["message"]
    return content["error"]


def speech_bytes(*pieces: Path | float, rate: int = 24000) -> bytes:
    """PCM16 of recordings, and silence of so many seconds."""
    parts = [
        np.zeros(round(16000 * piece), np.float32) if isinstance(piece, float) else load_audio(piece).samples
        for piece in pieces
    ]
    samples = soxr.resample(np.concatenate(parts), 16000, rate)
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


class Talker:
    """A client of the realtime WebSocket; use it in `async with`."""

    def __init__(self, served: Served, query: str = "?intent=transcription", **options: object):
        self._connect = websockets.connect(served.socket_url + query, **options)
        self.events: list[dict] = []

    async def __aenter__(self) -> "Talker":
        self.socket = await self._connect.__aenter__()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._connect.__aexit__(*problem)

    async def send(self, kind: str, **content: object) -> None:
        await self.socket.send(json.dumps({"type": kind} | content))

    async def say(self, content: bytes, step: int = 9600) -> None:
        for start in range(0, len(content), step):
            await self.send("input_audio_buffer.append", audio=base64.b64encode(content[start : start + step]).decode())

    async def until(self, kind: str, count: int = 1, timeout: float = 30) -> dict:
        """Read events until so many of this kind came; the last of them."""
        while True:
            event = json.loads(await asyncio.wait_for(self.socket.recv(), timeout))
            self.events.append(event)
            count -= event["type"] == kind
            if count == 0:
                return event

    def of(self, kind: str) -> list[dict]:
        return [event for event in self.events if event["type"] == kind]

    def text(self, item_id: str) -> str:
        """The deltas of an item."""
        return "".join(event["delta"] for event in self.of(f"{TRANSCRIPTION}.delta") if event["item_id"] == item_id)


def wait_for(condition, seconds: float = 10) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
