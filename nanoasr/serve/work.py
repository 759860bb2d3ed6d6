"""The queue of transcriptions: bounded concurrency, cancellation and shutdown."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .errors import APIError, ClientGone
from .metrics import Gauges

Result = TypeVar("Result")

RUNNING = 64  # transcriptions at once: as many as the scheduler may batch
WAITING = 256
LONG_SECONDS, LONG_RUNNING = 60.0, 8  # long recordings never take all the places
READERS = 4  # uploads decoded at once


class Work:
    """Runs blocking calls on a bounded number of threads, and stops them when their client disconnects."""

    def __init__(self, gauges: Gauges):
        self._gauges = gauges
        self._places, self._long_places = asyncio.Semaphore(RUNNING), asyncio.Semaphore(LONG_RUNNING)
        self._admitted = 0
        self._threads = ThreadPoolExecutor(RUNNING, "nanoasr-serve")
        self._readers = ThreadPoolExecutor(READERS, "nanoasr-serve-read")
        self._stops: set[threading.Event] = set()
        self.draining = False

    @contextlib.asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Reserve a place in the queue for a request, or raise a 429 when it is full."""
        self.check_open()
        if self._admitted >= RUNNING + WAITING:
            raise APIError(
                429, "The server is busy: try again later.", code="rate_limit_exceeded", headers={"Retry-After": "5"}
            )
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    def check_open(self) -> None:
        """Raise a 503 once the server is shutting down."""
        if self.draining:
            raise shutting_down()

    async def read(self, call: Callable[[threading.Event], Result], gone: asyncio.Future) -> Result:
        """Decode an upload: `call(stop)` on one of a few threads."""
        return await self._call(self._readers, call, gone)

    async def run(self, call: Callable[[threading.Event], Result], gone: asyncio.Future, seconds: float) -> Result:
        """Transcribe `seconds` of audio: `call(stop)` on a thread when it is its turn.

        `gone` is done when the client has left; `stop` is then set and ClientGone raised.
        """
        self._gauges.waiting += 1
        waits = True
        try:
            async with self._long_places if seconds > LONG_SECONDS else contextlib.nullcontext(), self._places:
                self._gauges.waiting -= 1
                waits = False
                self.check_open()
                self._gauges.running += 1
                try:
                    return await self._call(self._threads, call, gone)
                finally:
                    self._gauges.running -= 1
        finally:
            self._gauges.waiting -= waits

    async def _call(
        self, threads: ThreadPoolExecutor, call: Callable[[threading.Event], Result], gone: asyncio.Future
    ) -> Result:
        if gone.done():
            raise ClientGone
        stop = threading.Event()
        self._stops.add(stop)
        work = asyncio.get_running_loop().run_in_executor(threads, call, stop)
        try:
            await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                stop.set()
                with contextlib.suppress(Exception):
                    await work  # the place is free once the thread has noticed
                raise ClientGone
            if stop.is_set():
                raise shutting_down()
            return work.result()
        finally:
            stop.set()
            self._stops.discard(stop)

    def drain(self) -> None:
        """Refuse new requests; running ones continue."""
        self.draining = True

    def stop_all(self) -> None:
        """Stop running calls; their clients get a 503."""
        for stop in list(self._stops):
            stop.set()

    def close(self) -> None:
        """Stop everything and end the threads."""
        self.drain()
        self.stop_all()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)


def shutting_down() -> APIError:
    """Make the error for requests while the server shuts down."""
    return APIError(503, "The server is shutting down.", code="shutting_down", headers={"Connection": "close"})
