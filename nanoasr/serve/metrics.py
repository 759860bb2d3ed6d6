"""Counters and their text in Prometheus' format."""

import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from .. import backend

_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  # seconds
_RECENT = 100  # transcriptions that the real-time factor is taken over


@dataclass
class Gauges:
    """Current values."""

    running: int = 0
    waiting: int = 0
    sessions: int = 0


@dataclass
class Metrics:
    """Counters since the start, and current values."""

    gauges: Gauges = field(default_factory=Gauges)
    _requests: Counter = field(default_factory=Counter)  # (route, status)
    _buckets: Counter = field(default_factory=Counter)  # (route, upper bound)
    _seconds: Counter = field(default_factory=Counter)  # route
    _audio: float = 0.0
    _work: float = 0.0
    _recent: deque = field(default_factory=lambda: deque(maxlen=_RECENT))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count one finished request."""
        with self._lock:
            self._requests[route, status] += 1
            self._seconds[route] += seconds
            for bound in _BUCKETS:
                self._buckets[route, bound] += seconds <= bound

    def count_audio(self, audio_seconds: float, work_seconds: float) -> None:
        """Count one transcribed recording, or one item of a realtime session."""
        with self._lock:
            self._audio += audio_seconds
            self._work += work_seconds
            self._recent.append((audio_seconds, work_seconds))

    def text(self) -> str:
        """Return all metrics in Prometheus' text format."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests, by route and status code.")
        for (route, status), count in sorted(self._requests.items()):
            yield f'nanoasr_requests_total{{route="{route}",status="{status}"}} {count}'
        yield from _head(
            "request_seconds", "histogram", "Time from the first byte of a request to the last of its answer."
        )
        for route in sorted(self._seconds):
            total = sum(count for (name, _), count in self._requests.items() if name == route)
            for bound in _BUCKETS:
                yield f'nanoasr_request_seconds_bucket{{route="{route}",le="{bound}"}} {self._buckets[route, bound]}'
            yield f'nanoasr_request_seconds_bucket{{route="{route}",le="+Inf"}} {total}'
            yield f'nanoasr_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}'
            yield f'nanoasr_request_seconds_count{{route="{route}"}} {total}'
        audio, work = (sum(values) for values in zip(*self._recent, strict=True)) if self._recent else (0.0, 0.0)
        for name, kind, text, value in (
            ("audio_seconds_total", "counter", "Seconds of audio transcribed.", round(self._audio, 3)),
            ("work_seconds_total", "counter", "Seconds of work on it.", round(self._work, 3)),
            ("real_time_factor", "gauge", "Work over audio of the last transcriptions.", round(work / (audio or 1), 4)),
            ("running", "gauge", "Transcriptions that run.", self.gauges.running),
            ("queue", "gauge", "Requests that wait for their turn.", self.gauges.waiting),
            ("realtime_sessions", "gauge", "Open realtime sessions.", self.gauges.sessions),
            ("resident_memory_bytes", "gauge", "Memory of this process.", _resident_bytes()),
            ("peak_memory_bytes", "gauge", "Most memory so far, of the GPU if there is one.", backend.peak_memory()),
        ):  # fmt: skip
            yield from _head(name, kind, text)
            yield f"nanoasr_{name} {value}"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP nanoasr_{name} {text}", f"# TYPE nanoasr_{name} {kind}"


def _resident_bytes() -> int:
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS has only the peak without a library
    return peak if sys.platform == "darwin" else peak * 1024
