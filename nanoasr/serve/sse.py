"""Transcripts as server-sent events, while they are made."""

import asyncio
import json
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from ..results.transcript import Segment, Transcript, join_texts
from . import formats
from .errors import APIError

_KEEP_ALIVE = 15.0  # seconds without an event after which a comment is sent, so that proxies keep the connection


class EventStream:
    """The response: events that any thread may send, until `end`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[dict | None] = asyncio.Queue()
        self._begun = asyncio.Event()

    def send(self, event: dict) -> None:
        """Queue an event; any thread may call this."""
        self._loop.call_soon_threadsafe(self._put, event)

    def _put(self, event: dict | None) -> None:
        self._events.put_nowait(event)
        self._begun.set()

    async def begin(self, producer: asyncio.Future) -> None:
        """Wait for the first event, so that an error before it is still a status; raises what `producer` raised."""
        begun = asyncio.ensure_future(self._begun.wait())
        await asyncio.wait({begun, producer}, timeout=_KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        self._begun.set()
        if producer.done():
            producer.result()

    @property
    def begun(self) -> bool:
        """True once there is an event."""
        return self._begun.is_set()

    def fail(self, error: APIError) -> None:
        """Send an error event, since the status was sent already."""
        self.send({"type": "error", "error": error.error})

    def end(self) -> None:
        """Close the stream after what is queued."""
        self._loop.call_soon_threadsafe(self._put, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events as they come."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while True:
            try:
                event = await asyncio.wait_for(self._events.get(), _KEEP_ALIVE)
                body = b"" if event is None else f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
            except asyncio.TimeoutError:
                event, body = {}, b": keep-alive\n\n"
            await send({"type": "http.response.body", "body": body, "more_body": event is not None})
            if event is None:
                return


class TranscriptEvents:
    """Callbacks for `Recognizer.transcribe` whose text deltas, joined, are the final text.

    With log probabilities a segment's text is one delta, which comes with those of its tokens.
    """

    def __init__(self, send: Callable[[dict], None], *, logprobs: bool, segments: bool):
        self._send, self._logprobs, self._segments = send, logprobs, segments
        self._sent = self._before = self._open = ""  # all deltas; the finished segments; the text of the open one
        self._count = 0

    def on_token(self, piece: str) -> None:
        """Take a piece of the open segment's text."""
        self._open += piece
        # how the text joins what is before it depends on its first letter
        if not self._logprobs and any(character.isalnum() for character in self._open):
            self._grow(join_texts([self._before, self._open]))

    def on_segment(self, segment: Segment) -> None:
        """Take a finished segment."""
        self._before = join_texts([self._before, segment.text])
        self._grow(self._before, {"logprobs": formats.logprobs(segment.tokens)} if self._logprobs else {})
        self._open = ""
        if self._segments:
            self._send(formats.segment_event(self._count, segment))
        self._count += 1

    def done(self, transcript: Transcript) -> None:
        """Send what is missing, and the whole."""
        self._grow(transcript.text)
        if not self._segments:  # speakers are known at the end
            for i, segment in enumerate(transcript.segments):
                self._send(formats.segment_event(i, segment))
        event = {"type": "transcript.text.done", "text": transcript.text}
        if self._logprobs:
            event["logprobs"] = formats.logprobs(transcript.tokens)
        if transcript.language:
            event["languages"] = [{"code": transcript.language}]
        self._send(event | {"usage": formats.usage_by_tokens(transcript)})

    def _grow(self, text: str, more: dict | None = None) -> None:
        if len(text) > len(self._sent) and text.startswith(self._sent):
            self._send({"type": "transcript.text.delta", "delta": text[len(self._sent) :]} | (more or {}))
            self._sent = text
