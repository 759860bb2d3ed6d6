"""State shared by all routes of a server."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from ..audio.detector import cores, shared_processes
from .errors import APIError
from .metrics import Metrics
from .models import Models
from .uploads import Room
from .work import Work, shutting_down

SESSIONS = 64  # realtime sessions at once
_UPLOADS = 20  # of the largest size, at once


@dataclass
class Service:
    """Models, limits, the queue and the metrics."""

    models: Models
    max_bytes: int
    max_seconds: float
    origins: tuple[str, ...] = ()
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.work = Work(self.metrics.gauges)
        self.room = Room(_UPLOADS * self.max_bytes)
        self.listeners = ThreadPoolExecutor(SESSIONS, "nanoasr-serve-live")
        self._held = ExitStack()
        if cores() > 2:  # in this process, detectors of many requests wait for each other and hold the decoder up
            self._held.enter_context(shared_processes.lend())

    def open_session(self) -> None:
        """Reserve a place for a realtime session, or raise an APIError."""
        if self.work.draining:
            raise shutting_down()
        if self.metrics.gauges.sessions >= SESSIONS:
            raise APIError(429, f"{SESSIONS} realtime sessions are open; try again later.", code="rate_limit_exceeded")
        self.metrics.gauges.sessions += 1

    def close_session(self) -> None:
        """Free the place of a realtime session."""
        self.metrics.gauges.sessions -= 1

    def close(self) -> None:
        """Stop running work and end the threads."""
        self.work.close()
        self.listeners.shutdown(wait=False, cancel_futures=True)
        self._held.close()
