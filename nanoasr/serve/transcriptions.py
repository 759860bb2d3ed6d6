"""`POST /v1/audio/transcriptions`."""

import asyncio
import threading
import time

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from ..errors import NanoASRError
from ..recognizer import Recognizer
from ..results.transcript import Transcript
from .access import CLIENT_GONE, log, record_of
from .errors import APIError, ClientGone, from_library, server_error
from .formats import response
from .options import TranscriptionRequest, read_request
from .service import Service
from .sse import EventStream, TranscriptEvents
from .uploads import decode_upload, read_form

ROUTE = "/v1/audio/transcriptions"


class Transcriptions:
    """The endpoint: reads an upload, checks it, transcribes it, and answers as a whole or as a stream."""

    def __init__(self, service: Service):
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        record_of(scope).route = ROUTE
        request = Request(scope, receive)
        service = self._service
        async with service.work.admitted(), read_form(request, service.max_bytes, service.room) as form:
            gone = asyncio.ensure_future(_disconnected(receive))
            try:
                wanted = read_request(form)
                asr = await service.models.get(wanted.model)
                call = _Call(service, scope, wanted, asr, gone)
                await call.decode()
                if wanted.stream:
                    await call.stream(scope, receive, send)
                else:
                    await response(await call.transcript(), wanted, asr)(scope, receive, send)
            finally:
                gone.cancel()


class _Call:
    """One checked request on its way through the recognizer."""

    def __init__(
        self, service: Service, scope: Scope, wanted: TranscriptionRequest, asr: Recognizer, gone: asyncio.Future
    ):
        self.service, self.wanted, self.asr, self.gone = service, wanted, asr, gone
        self.record = record_of(scope)
        self.record.model = wanted.model

    async def decode(self) -> None:
        """Decode the file, so that its length and format are known before work starts."""
        file, limit = self.wanted.file.file, self.service.max_seconds
        try:
            self.source, self.seconds = await self.service.work.read(
                lambda stop: decode_upload(file, limit, stop), self.gone
            )
        except NanoASRError as error:
            raise from_library(error) from error
        self.record.audio_seconds = self.seconds

    async def transcript(self, events: TranscriptEvents | None = None) -> Transcript:
        """Wait for a place, then transcribe; `events` gets the text as it is decoded."""

        def call(stop: threading.Event) -> Transcript:
            began = time.perf_counter()
            callbacks = {"on_token": events.on_token, "on_segment": events.on_segment} if events else {}
            result = self.asr.transcribe(
                self.source,
                max_seconds=self.service.max_seconds,
                cancelled=stop.is_set,
                **callbacks,
                **self.wanted.recognizer,
            )
            self.service.metrics.count_audio(self.seconds, time.perf_counter() - began)
            return result

        try:
            return await self.service.work.run(call, self.gone, self.seconds)
        except NanoASRError as error:
            raise from_library(error) from error

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with server-sent events."""
        stream = EventStream()
        wanted = self.wanted
        events = TranscriptEvents(stream.send, logprobs=wanted.logprobs, segments=not wanted.recognizer["speakers"])

        async def produce() -> None:
            try:
                events.done(await self.transcript(events))
            except Exception as error:
                if not stream.begun:
                    raise
                if isinstance(error, ClientGone):
                    self.record.status = CLIENT_GONE
                elif isinstance(error, APIError):
                    stream.fail(error)
                else:
                    log.exception("error while streaming a transcription")
                    stream.fail(server_error())
            stream.end()

        producer = asyncio.ensure_future(produce())
        try:
            await stream.begin(producer)
            await stream(scope, receive, send)
        finally:
            producer.cancel()


async def _disconnected(receive: Receive) -> None:
    """Return when the client has left; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
