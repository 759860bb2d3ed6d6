"""Read any file, bytes, file object or array as 16 kHz mono float32 samples."""

import io
import os
import re
import select
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import AudioEmptyError, AudioError, AudioFormatError, AudioTooLongError, OptionError
from .ffmpeg import check_format, decode_file, mix_to_mono
from .resample import SAMPLE_RATE, Resampler, resample

MIN_SAMPLES = 400  # one 25 ms analysis frame
MAX_PIPE_BYTES = 1 << 30  # a pipe is copied to a temporary file
_PIECE = 1 << 18  # samples of an array that are read at once
PIPE_TIMEOUT = 60.0  # seconds that a named pipe may stay silent


@dataclass(frozen=True, eq=False)
class Audio:
    """A recording: float32 mono `samples` at 16 kHz, and its `name` for messages."""

    samples: np.ndarray
    name: str

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SAMPLE_RATE


def load_audio(
    source, sample_rate: int | None = None, *, max_seconds: float | None = None, name: str | None = None
) -> Audio:
    """Read a whole recording.

    `source` is a path; the bytes of a file; a binary file object (read from its start and left open; a pipe is read
    to its end first, at most 1 GB of it); an array; or a pair (sample rate, array). Of a video or a file with
    several audio streams, the first audio stream is decoded. A damaged or truncated file gives what can be decoded.

    Arrays are [samples], [samples, channels] or [channels, samples]: the shorter axis holds the channels. They are
    at 16 kHz unless `sample_rate` says otherwise; files contain their rate. Integers are scaled to [-1, 1) by their
    type; floats are kept as they are, even outside [-1, 1]. Channels are averaged.

    With `max_seconds`, a longer recording is an AudioTooLongError, and its rest is never decoded.
    """
    name = name or source_name(source)
    array = _as_array(source, sample_rate, name)
    if array is None:
        samples = bytearray()  # grows in place; joining a list of pieces would hold them twice
        for piece in _resampled(_decoded(source, sample_rate, name, max_seconds)):
            samples += piece.data
        samples = np.frombuffer(samples, np.float32)
    else:
        pieces = [piece for piece, _ in _decoded(source, sample_rate, name, max_seconds)]
        samples = resample(np.concatenate(pieces), array[1]) if pieces else np.empty(0, np.float32)
    _check_not_empty(len(samples), name)
    return Audio(samples, name)


def read_blocks(
    source,
    sample_rate: int | None = None,
    *,
    seconds: float = 30.0,
    max_seconds: float | None = None,
    name: str | None = None,
) -> Iterator[np.ndarray]:
    """Read a recording of any length in bounded memory: blocks of `seconds`, the last one shorter.

    Blocks of a float32 array at 16 kHz may be parts of it.

    Takes what `load_audio` takes and gives the same samples; errors are raised while the blocks are read.
    """
    name = name or source_name(source)
    size = round(seconds * SAMPLE_RATE)
    if size < 1:
        raise OptionError(f"seconds={seconds}: a block holds at least one sample")
    pieces, held, total = [], 0, 0
    for samples in _resampled(_decoded(source, sample_rate, name, max_seconds)):
        total += len(samples)
        pieces.append(samples)
        held += len(samples)
        if held > size:
            joined = np.concatenate(pieces)
            whole = (held - 1) // size * size  # never all of it: the last block follows the loop
            for start in range(0, whole, size):
                yield joined[start : start + size]
            pieces, held = [joined[whole:]], held - whole
    _check_not_empty(total, name)
    yield pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def source_name(source) -> str:
    """Name a recording for messages: its file's name without folders, else the kind of source it is."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        return Path(path).name or path
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "bytes"
    if hasattr(source, "read"):
        path = getattr(source, "name", None)
        return Path(path).name if isinstance(path, str) else "file object"
    return "array"


def _check_not_empty(samples: int, name: str) -> None:
    if samples < MIN_SAMPLES:
        raise AudioEmptyError(
            f"{name}: {samples / SAMPLE_RATE:g} s of audio; at least {MIN_SAMPLES / SAMPLE_RATE:g} s are needed."
        )


def _resampled(decoded: Iterator[tuple[np.ndarray, int]]) -> Iterator[np.ndarray]:
    resampler = None
    for samples, rate in decoded:
        if resampler is None or rate != resampler.rate:  # files joined end to end may change it midway
            if resampler:
                yield resampler.finish()
            resampler = Resampler(rate)
        yield samples if rate == SAMPLE_RATE else resampler.push(samples)
    if resampler and resampler.rate != SAMPLE_RATE:
        yield resampler.finish()


def _decoded(source, sample_rate: int | None, name: str, max_seconds: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """Yield finite mono float32 samples and their rate, about a second at a time, and at most `max_seconds`."""
    seconds = 0.0
    with ExitStack() as closing:
        if array := _as_array(source, sample_rate, name):
            pieces = _decode_array(*array, name)
        else:
            pieces = decode_file(_open(source, name, closing), name)
        for samples, rate in pieces:
            finite = np.isfinite(samples)
            if not finite.all():
                bad = np.flatnonzero(~finite)
                raise AudioError(
                    f"{name}: NaN or infinity at {seconds + bad[0] / rate:.3f} s, and in {len(bad)} of the"
                    f" {len(samples)} samples read with it; repair or replace them."
                )
            seconds += len(samples) / rate
            if max_seconds is not None and seconds > max_seconds + 0.5 / SAMPLE_RATE:
                raise AudioTooLongError(f"{name}: longer than the limit of {max_seconds:g} s; cut it into parts.")
            yield samples, rate


def _as_array(source, sample_rate: int | None, name: str) -> tuple[np.ndarray, int] | None:
    """Return the array and its rate if that is what `source` is."""
    if isinstance(source, tuple) and len(source) == 2:
        rate, source = source
        if sample_rate not in (None, rate):
            raise OptionError(f"{name}: its rate is {rate} Hz, but sample_rate is {sample_rate} Hz.")
        sample_rate = rate
    if not hasattr(source, "__array__"):
        return None
    return np.asarray(source), SAMPLE_RATE if sample_rate is None else sample_rate


def _decode_array(array: np.ndarray, rate: int, name: str) -> Iterator[tuple[np.ndarray, int]]:
    if array.dtype.kind not in "fiu" or (array.dtype.kind in "iu" and array.dtype.itemsize > 4):
        raise AudioFormatError(
            f"{name}: {array.dtype} samples have no known scale; give float32, or integers of 8 to 32 bits."
        )
    if array.ndim not in (1, 2):
        raise AudioFormatError(f"{name}: shape {array.shape}; give [samples] or [samples, channels].")
    if array.size == 0:
        return
    channels = np.atleast_2d(array)
    if channels.shape[0] >= channels.shape[1]:
        channels = channels.T
    check_format(rate, len(channels), name)
    for start in range(0, channels.shape[1], _PIECE):
        yield mix_to_mono(channels[:, start : start + _PIECE]), rate


def _open(source, name: str, closing: ExitStack) -> BinaryIO:
    """Open `source` as a seekable binary file at its start; `closing` closes what was opened here."""
    timeout = None
    if isinstance(source, (str, os.PathLike)):
        file, special = _open_path(os.fsdecode(source), name)
        closing.enter_context(file)
        timeout = PIPE_TIMEOUT if special else None
    elif isinstance(source, (bytes, bytearray, memoryview)):
        file = io.BytesIO(source)
    elif hasattr(source, "read"):
        file = source
    else:
        raise AudioFormatError(
            f"{name}: {type(source).__name__} is not audio; give a path, bytes, a binary file object,"
            " an array, or (sample rate, array)."
        )
    if not isinstance(file.read(0), bytes):
        raise AudioFormatError(f"{name}: opened as text; open it with mode 'rb'.")
    if not (file.seekable() if hasattr(file, "seekable") else hasattr(file, "seek")):
        file = closing.enter_context(_copy_pipe(file, name, timeout))
    file.seek(0, os.SEEK_END)
    if file.tell() == 0:
        raise AudioEmptyError(f"{name}: the file is empty.")
    file.seek(0)
    return file


def _open_path(path: str, name: str) -> tuple[BinaryIO, bool]:
    """Open a file -> it, and whether it is a pipe or device. Opening a pipe does not wait for its writer."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return open(path, "rb"), False
        return open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0), True
    except FileNotFoundError:
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", path):
            raise AudioError(f"{name}: a web address ({path}); download it first and give the file.") from None
        raise AudioError(f"{name}: there is no such file ({os.path.abspath(path)}).") from None
    except IsADirectoryError:
        raise AudioError(f"{name}: a folder; give the files in it.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: cannot be opened ({reason}).") from None


def _copy_pipe(pipe: BinaryIO, name: str, timeout: float | None) -> BinaryIO:
    """Copy a pipe to a temporary file, at most MAX_PIPE_BYTES of it, waiting up to `timeout` for each piece."""
    file, size = tempfile.TemporaryFile(), 0  # noqa: SIM115 (the caller closes it)
    try:
        while True:
            if timeout and not select.select([pipe], [], [], timeout)[0]:
                raise AudioError(f"{name}: nothing was written to this pipe for {timeout:g} s.")
            piece = pipe.read(1 << 20)
            if not isinstance(piece, bytes):
                raise AudioError(f"{name}: its read() returned {type(piece).__name__}; give a blocking binary file.")
            size += len(piece)
            if size > MAX_PIPE_BYTES:
                raise AudioTooLongError(
                    f"{name}: over {MAX_PIPE_BYTES >> 20} MB from a pipe; save it as a file and give that."
                )
            if not piece:
                return file
            file.write(piece)
    except BaseException:
        file.close()
        raise
