"""`python -m nanoasr live`: a microphone, or a file played at its own pace, and its text as it comes."""

import queue
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from ..audio.files import SAMPLE_RATE, read_blocks
from ..errors import NanoASRError, OptionError
from ..live.session import LiveSession, Update
from ..results.transcript import FORMATS, Transcript
from .files import complain

_BLOCK = 0.1  # seconds
_DIM, _PLAIN, _CLEAR = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


def listen(session: LiveSession, blocks: Iterator[np.ndarray]) -> Transcript:
    """Feed a session until its sound or the listener's patience (Ctrl-C) ends -> the whole as a Transcript."""
    try:
        for block in blocks:
            session.push(block)
    except KeyboardInterrupt:
        complain("stopped")
    return session.finish()


class Screen:
    """Shows text: on a terminal the open segment is painted anew in place, in a pipe come finished segments only."""

    def __init__(self, out: TextIO):
        self._out, self._paints = out, out.isatty()

    def show(self, update: Update) -> None:
        """What is new."""
        for segment in update.segments:
            self._out.write(f"{_CLEAR if self._paints else ''}{segment.text}\n")
        if self._paints:
            room = max(shutil.get_terminal_size().columns - 1, 10)
            committed, tentative = update.committed, update.tentative
            hidden = max(len(committed) + len(tentative) - room, 0)  # the end is what people want to see
            tentative = tentative[max(hidden - len(committed), 0) :]
            self._out.write(f"{_CLEAR}{committed[hidden:]}{_DIM}{tentative}{_PLAIN}")
        self._out.flush()


def from_file(path: Path, realtime: bool) -> Iterator[np.ndarray]:
    """A recording's samples: at once, or as they would come if it were played now."""
    start, at = time.monotonic(), 0.0
    waiting: list[np.ndarray] = []
    for block in read_blocks(path, seconds=_BLOCK):
        at += len(block) / SAMPLE_RATE
        waiting.append(block)
        ahead = at - (time.monotonic() - start) if realtime else 0.0
        if realtime and ahead < 0:
            continue  # behind: all that is due comes together
        time.sleep(ahead)
        yield np.concatenate(waiting)
        waiting.clear()
    if waiting:
        yield np.concatenate(waiting)


def from_microphone(device: str | None) -> Iterator[np.ndarray]:
    """What a microphone hears, at 16 kHz, until somebody stops listening."""
    try:
        import sounddevice
    except ImportError:
        raise NanoASRError(
            "the microphone needs the sounddevice package: pip install sounddevice (or use --file)"
        ) from None
    except OSError as error:  # it is there, but not PortAudio
        raise NanoASRError(f"the microphone cannot be used ({error}); on Debian: apt install libportaudio2") from None
    heard: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    size = round(_BLOCK * SAMPLE_RATE)
    chosen = int(device) if device and device.isdecimal() else device
    try:
        microphone = sounddevice.InputStream(
            SAMPLE_RATE, size, chosen, 1, "float32", callback=lambda block, *_: heard.put(block[:, 0].copy())
        )
        with microphone:
            complain("listening; Ctrl-C ends")
            while True:
                blocks = [heard.get()]
                while not heard.empty():
                    blocks.append(heard.get())
                yield np.concatenate(blocks)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise NanoASRError(f"the microphone cannot be opened ({error}); --device names another") from None


def check_target(path: Path | None) -> None:
    """Whether a transcript can be saved there; better told now than after an hour of talk."""
    if path is not None and path.suffix.lower().removeprefix(".") not in FORMATS:
        raise OptionError(f"--save {path}: its suffix must be one of .{', .'.join(FORMATS)}")
