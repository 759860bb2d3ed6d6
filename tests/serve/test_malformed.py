"""Hundreds of malformed requests, made by seed: an error in OpenAI's form with the right status, always.

NANOASR_FUZZ=1000 makes a longer run of it.
"""

import asyncio
import base64
import json
import os
import random
import socket
import struct
from collections import Counter

import pytest
import websockets
from serve.conftest import KEY
from serve.serving import ROUTE, Served, Talker, error_of, multipart, request

COUNT = int(os.environ.get("NANOASR_FUZZ", "300"))
BEARER = {"authorization": f"Bearer {KEY}"}
WEIRD = [
    "",
    "\x00",
    "%s%n",
    "../../etc/passwd",
    "é" * 50,
    "<|im_end|>",
    "A" * 5000,
    "null",
    "[]",
    "-1",
    "1e999",
    "\u202e",
]


class Malformed:
    """One malformed request, and the statuses that answer it rightly."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.kind = self.random.choice(
            ["form", "truncated", "field", "audio", "large", "long", "model", "path", "method", "key", "type", "raw"]
        )

    def send(self, served: Served) -> tuple[int, bytes, set[int]]:
        return getattr(self, f"_{self.kind}")(served)

    def _noise(self, most: int = 2000) -> bytes:
        return self.random.randbytes(self.random.randrange(most))

    def _post(self, served: Served, body: bytes, kind: str, **headers: str) -> tuple[int, bytes]:
        status, _, answer = request(served, "POST", ROUTE, body, content_type=kind, **(BEARER | headers))
        return status, answer

    def _fields(self) -> dict[str, object]:
        names = ["language", "prompt", "hotwords", "response_format", "itn", "seed"]
        good = {"language": "en", "prompt": "a", "hotwords": "b", "response_format": "text", "itn": "true", "seed": "1"}
        return {"model": "tiny"} | {name: good[name] for name in self.random.sample(names, 3)}

    def _form(self, served: Served):
        """Something else than a form."""
        boundary = self.random.choice(["b", "", "b" * 300, '"', "\u00ff"])
        return *self._post(served, self._noise(), f"multipart/form-data; boundary={boundary}"), {400}

    def _truncated(self, served: Served):
        """A form cut off before its file ends."""
        body, kind = multipart(self._fields(), self._noise(50_000))
        return *self._post(served, body[: self.random.randrange(len(body) - 8)], kind), {400}

    def _field(self, served: Served):
        """A value that a field cannot have."""
        numbers = ["temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_tokens", "seed"]
        name = self.random.choice([*numbers, "response_format", "include[]", "stream", "itn", "chunking_strategy"])
        value = self.random.choice(["what", "{}", "nan", "-5", "1" * 400, "0x10", '{"type": 3}', "[[["])
        return *self._post(served, *multipart(self._fields() | {name: value}, b"RIFF")), {400}

    def _audio(self, served: Served):
        """No recording, or a damaged one."""
        start = self.random.choice(
            [b"RIFF\x24\x00\x00\x00WAVEfmt ", b"OggS\x00\x02", b"fLaC\x00\x00", b"ID3\x04", b"\x1aE\xdf\xa3", b""]
        )
        return *self._post(served, *multipart(self._fields(), start + self._noise(3000))), {400}

    def _large(self, served: Served):
        """Larger than the server takes."""
        return *self._post(served, *multipart(self._fields(), bytes(self.random.randint(2**19 + 1, 2**21)))), {413}

    def _long(self, served: Served):
        """Longer than the server takes."""
        seconds = self.random.randint(7, 30)
        head = b"RIFF\xff\xff\xff\x7fWAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
        content = head + b"data\xff\xff\xff\x7f" + self.random.randbytes(8000 * seconds)
        return *self._post(served, *multipart(self._fields(), content)), {413}

    def _model(self, served: Served):
        """A model that is not there."""
        name = self.random.choice([*WEIRD, "gpt-4o-transcribe", "nano", "owner/name", "/etc/passwd"])
        answer = self._post(served, *multipart(self._fields() | {"model": name}, b"RIFF"))
        return *answer, {400 if not name.strip() else 404}

    def _path(self, served: Served):
        """A URL that is not there."""
        pieces = ["v1", "models", "audio", "transcriptions", "..", "%2e%2e", "%00", "etc", "passwd", "x" * 500, "?a=b"]
        path = "/" + "/".join(self.random.choices(pieces, k=self.random.randint(3, 6))) + "/no"
        status, _, answer = request(served, self.random.choice(["GET", "POST", "PUT"]), path, **BEARER)
        return status, answer, {404, 405}

    def _method(self, served: Served):
        """A method that the route does not have."""
        path, methods = self.random.choice([(ROUTE, ["GET", "PUT", "PATCH"]), ("/v1/models", ["POST", "DELETE"])])
        status, _, answer = request(served, self.random.choice([*methods, "BREW"]), path, **BEARER)
        return status, answer, {405}

    def _key(self, served: Served):
        """A wrong key, on any route."""
        key = self.random.choice([*WEIRD[:1], KEY[:-1], KEY + "x", KEY.upper(), "sk-" + KEY, self._noise(40).hex()])
        path = self.random.choice([ROUTE, "/v1/models", "/metrics", "/openapi.json", "/nowhere"])
        status, _, answer = request(served, "POST", path, self._noise(), authorization=f"Bearer {key}")
        return status, answer, {401}

    def _type(self, served: Served):
        """A body that is no form."""
        kind = self.random.choice(["application/json", "text/plain", "application/x-www-form-urlencoded", "x", ""])
        return *self._post(served, self._noise(), kind), {400}

    def _raw(self, served: Served):
        """Bytes that are not HTTP."""
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
            connection.sendall(b"\x00" + self._noise(200).replace(b"\n", b"") + b"\r\n\r\n")
            head, _, answer = connection.makefile("rb").read().partition(b"\r\n\r\n")
        return int(head.split()[1]), answer, {400}


def test_malformed_requests_get_the_right_error(guarded):
    seen: Counter = Counter()
    for seed in range(COUNT):
        malformed = Malformed(seed)
        status, answer, expected = malformed.send(guarded)
        assert status in expected, f"seed {seed}, {malformed.kind}: {status}, {answer[:300]!r}"
        error_of(answer)
        seen[malformed.kind] += 1
    assert len(seen) == 12
    assert request(guarded, "GET", "/v1/models", **BEARER)[0] == 200


def websocket_frame(random_: random.Random) -> str | bytes:
    """A message that no session understands, or that asks for what cannot be."""
    weird = random_.choice([*WEIRD, None, 5, [], {}, [[]], True, -1.5])
    kinds = ["input_audio_buffer.append", "session.update", "transcription_session.update", "response.create", weird]
    event = {
        "type": random_.choice(kinds),
        "event_id": weird,
        "audio": random_.choice([weird, "====", 7]),
        "session": random_.choice(
            [
                weird,
                {"type": weird},
                {"audio": weird},
                {"audio": {"input": weird}},
                {"audio": {"input": {"format": weird}}},
                {"audio": {"input": {"transcription": weird, "turn_detection": weird}}},
                {"audio": {"input": {"transcription": {"model": weird, "language": weird, "prompt": weird}}}},
                {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": weird}}}},
                {"input_audio_format": weird, "input_audio_sample_rate": weird, "include": weird},
            ]
        ),
    }
    text = json.dumps(event)
    return random_.choice([text, text, text, text[: random_.randrange(len(text))], random_.randbytes(50), "[" * 5000])


def test_malformed_events_leave_a_session_in_order(guarded):
    async def talk() -> Talker:
        async with Talker(guarded, additional_headers={"Authorization": f"Bearer {KEY}"}) as talker:
            for seed in range(COUNT):
                await talker.socket.send(websocket_frame(random.Random(seed)))
            await talker.send("input_audio_buffer.clear")
            await talker.until("input_audio_buffer.cleared", timeout=120)
            await talker.send("session.update", session={"audio": {"input": {"format": {"type": "audio/pcm"}}}})
            await talker.send("input_audio_buffer.append", audio=base64.b64encode(bytes(48000)).decode())
            await talker.send("input_audio_buffer.commit")
            await talker.send("input_audio_buffer.clear")
            await talker.until("input_audio_buffer.cleared")
        return talker

    talker = asyncio.run(talk())
    errors = talker.of("error")
    assert len(errors) > COUNT / 2
    for event in errors:
        assert set(event["error"]) == {"message", "type", "param", "code", "event_id"}
        assert event["error"]["type"] == "invalid_request_error", event
        assert "Traceback" not in event["error"]["message"]


def test_a_message_over_the_limit_closes_only_its_session(served):
    async def talk() -> int:
        async with Talker(served) as talker:
            with pytest.raises(websockets.ConnectionClosed):  # perhaps while it is still being sent
                await talker.socket.send("x" * 9 * 2**20)
                await talker.until("never")
            return talker.socket.close_code

    assert asyncio.run(talk()) == 1009
    assert request(served, "GET", "/health")[0] == 200
