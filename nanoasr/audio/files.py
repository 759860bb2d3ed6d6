"""Any file, bytes, file object or array -> 16 kHz mono float32 samples.

Files are decoded by FFmpeg's libraries, which PyAV brings along, and resampled by soxr. Recordings come from
strangers: FFmpeg is handed an open file, may read only the containers named here and use no protocol, so that
a playlist or a file with references reads neither other files nor the network.
"""

import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr

from ..errors import AudioEmptyError, AudioError, AudioFormatError, AudioTooLongError, OptionError

SAMPLE_RATE = 16000
SHORTEST = 400  # samples: one 25 ms analysis frame
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000
MOST_CHANNELS = 64

CONTAINERS = (  # by FFmpeg's names; no playlists, no devices
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,loas,matroska,mov,mp3,mpeg,mpegts,ogg,tta,voc,w64,wav,wv"
)


@dataclass(frozen=True, eq=False)
class Audio:
    """A recording: float32 mono `samples` at 16 kHz, and the `name` that messages call it by."""

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

    `source` is a path; the bytes of a file; a binary file object (read from its start and left open; a pipe is
    first read to its end); an array; or a pair (sample rate, array). Of a video or a file with several audio
    streams, the first audio stream is decoded. A damaged or truncated file gives what can be decoded of it.

    Arrays are [samples], [samples, channels] or [channels, samples]: the shorter axis holds the channels.
    They are at 16 kHz unless `sample_rate` says otherwise; files know their own rate. Integers are scaled to
    [-1, 1) by their type; floats are kept as they are, even outside [-1, 1]. Channels are averaged.

    With `max_seconds`, a longer recording is an AudioTooLongError and the rest of it is never decoded.
    """
    name = name or source_name(source)
    samples = bytearray()  # grows in place; a list of blocks would be held twice while it is joined
    for block in read_blocks(source, sample_rate, max_seconds=max_seconds, name=name):
        samples += block.data
    return Audio(np.frombuffer(samples, np.float32), name)


def read_blocks(
    source,
    sample_rate: int | None = None,
    *,
    seconds: float = 30.0,
    max_seconds: float | None = None,
    name: str | None = None,
) -> Iterator[np.ndarray]:
    """Read a recording of any length in bounded memory: blocks of `seconds`, the last one shorter.

    Takes what `load_audio` takes and gives the same samples; errors come while the blocks are read.
    """
    name = name or source_name(source)
    size = round(seconds * SAMPLE_RATE)
    if size < 1:
        raise OptionError(f"seconds={seconds}: a block holds at least one sample; give more seconds.")
    limit = None if max_seconds is None else max_seconds * SAMPLE_RATE

    pieces, held, total = [], 0, 0
    for samples in _resampled(_decoded(source, sample_rate, name), name):
        total += len(samples)
        if limit is not None and total > limit:
            raise AudioTooLongError(f"{name}: longer than the limit of {max_seconds:g} s; cut it into parts.")
        pieces.append(samples)
        held += len(samples)
        if held > size:
            joined = np.concatenate(pieces)
            whole = (held - 1) // size * size  # never all of it: the last block follows the loop
            for start in range(0, whole, size):
                yield joined[start : start + size]
            pieces, held = [joined[whole:]], held - whole
    if total < SHORTEST:
        raise AudioEmptyError(
            f"{name}: {total / SAMPLE_RATE:g} s of sound; at least {SHORTEST / SAMPLE_RATE:g} s are needed."
        )
    yield np.concatenate(pieces)


class Resampler:
    """Sound at `rate` to 16 kHz, piece by piece.

    However the sound is cut into pieces, the outputs joined are the same, sample for sample; they come up to
    about 50 ms late, and `finish` gives the rest.
    """

    def __init__(self, rate: int):
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise OptionError(f"A sample rate of {rate} Hz; it must be from {LOWEST_RATE} to {HIGHEST_RATE}.")
        self.rate = rate
        self._soxr = soxr.ResampleStream(rate, SAMPLE_RATE, 1) if rate != SAMPLE_RATE else None

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The next mono samples in, those that are ready at 16 kHz out (float32, maybe none)."""
        samples = np.array(samples, np.float32)
        return self._soxr.resample_chunk(samples) if self._soxr else samples

    def finish(self) -> np.ndarray:
        """The samples still held back; afterwards the resampler is ready for another recording."""
        nothing = np.empty(0, np.float32)
        if not self._soxr:
            return nothing
        tail = self._soxr.resample_chunk(nothing, last=True)
        self._soxr.clear()
        return tail


def source_name(source) -> str:
    """What to call a recording: its file's name without folders, else what kind of thing it is."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        return Path(path).name or path
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "bytes"
    if hasattr(source, "read"):
        path = getattr(source, "name", None)
        return Path(path).name if isinstance(path, str) else "file object"
    return "array"


def _resampled(decoded: Iterator[tuple[np.ndarray, int]], name: str) -> Iterator[np.ndarray]:
    resampler, heard = None, 0.0
    for samples, rate in decoded:
        bad = np.flatnonzero(~np.isfinite(samples))
        if len(bad):
            raise AudioError(
                f"{name}: NaN or infinity at {heard + bad[0] / rate:.3f} s, and in {len(bad)} of the"
                f" {len(samples)} samples read with it; repair or replace them."
            )
        if resampler is None or rate != resampler.rate:  # files joined end to end may change it midway
            if resampler:
                yield resampler.finish()
            resampler = Resampler(rate)
        heard += len(samples) / rate
        yield resampler.push(samples)
    if resampler:
        yield resampler.finish()


def _decoded(source, sample_rate: int | None, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Mono float32 samples and their rate, about a second at a time."""
    if isinstance(source, tuple) and len(source) == 2:
        rate, source = source
        if sample_rate not in (None, rate):
            raise OptionError(f"{name}: comes with a rate of {rate} Hz, sample_rate says {sample_rate} Hz.")
        sample_rate = rate
    if hasattr(source, "__array__"):
        rate = SAMPLE_RATE if sample_rate is None else sample_rate
        yield from _decoded_array(np.asarray(source), rate, name)
    else:
        with ExitStack() as closing:
            yield from _decoded_file(_opened(source, name, closing), name)


def _decoded_array(array: np.ndarray, rate: int, name: str) -> Iterator[tuple[np.ndarray, int]]:
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
    _check_form(rate, len(channels), name)
    for start in range(0, channels.shape[1], 1 << 16):
        yield _mono(channels[:, start : start + (1 << 16)]), rate


def _mono(channels: np.ndarray) -> np.ndarray:
    """[channels, samples] of any type, averaged over the channels and scaled to float32."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported later, with its place
        mono = np.ascontiguousarray(channels).mean(axis=0, dtype=np.float32)  # contiguous: ten times faster
    if channels.dtype.kind == "f":
        return mono
    half = np.float32(2 ** (8 * channels.dtype.itemsize - 1))
    return mono / half - 1 if channels.dtype.kind == "u" else mono / half


def _check_form(rate: int, channels: int, name: str) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioFormatError(f"{name}: at {rate} Hz; rates from {LOWEST_RATE} to {HIGHEST_RATE} are read.")
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioFormatError(f"{name}: {channels} channels; from 1 to {MOST_CHANNELS} can be mixed.")


def _opened(source, name: str, closing: ExitStack) -> BinaryIO:
    """`source` as a seekable binary file at its start; what was opened here, `closing` closes."""
    if isinstance(source, (str, os.PathLike)):
        file = closing.enter_context(_opened_path(os.fsdecode(source), name))
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
    if hasattr(file, "seekable") and not file.seekable():
        pipe, file = file, closing.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (closed there)
        shutil.copyfileobj(pipe, file)
    file.seek(0, os.SEEK_END)
    if file.tell() == 0:
        raise AudioEmptyError(f"{name}: the file is empty.")
    file.seek(0)
    return file


def _opened_path(path: str, name: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", path):
            raise AudioError(f"{name}: a web address ({path}); download it first and give the file.") from None
        raise AudioError(f"{name}: there is no such file ({os.path.abspath(path)}).") from None
    except IsADirectoryError:
        raise AudioError(f"{name}: a folder; give the files in it.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: cannot be opened ({reason}).") from None


def _decoded_file(file: BinaryIO, name: str) -> Iterator[tuple[np.ndarray, int]]:
    import av  # here, since arrays do not need it and it takes 0.1 s to import

    options = {"container_options": {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}}
    if hasattr(av.container.InputContainer, "metadata_errors"):
        # PyAV before 19, which is what Python 3.10 and 3.11 get, otherwise fails on tags that are not UTF-8.
        options["metadata_errors"] = "replace"
    try:
        with av.open(file, "r", **options) as container:
            yield from _decoded_stream(container, name)
    except av.FFmpegError as error:
        raise AudioFormatError(
            f"{name}: not audio, or in a form that is unknown or damaged ({error.strerror})."
        ) from None
    except OSError as error:
        raise AudioError(f"{name}: cannot be read: {error}.") from error


def _decoded_stream(container, name: str) -> Iterator[tuple[np.ndarray, int]]:
    import av

    if not container.streams.audio:
        raise AudioFormatError(f"{name}: has no audio stream.")
    if container.streams.audio[0].codec_context is None:  # PyAV before 19 would crash
        raise AudioFormatError(f"{name}: its audio is in a codec that cannot be decoded.")
    for (rate, channels, *_), alike in groupby(_frames(container, name), _form):
        _check_form(rate, channels, name)
        # Interleaved before numpy sees them: PyAV up to 19 reads past the planes of 8 or more channels.
        interleaver = av.AudioResampler(format="flt", frame_size=1 << 15)
        for frame in chain(alike, [None]):
            for joined in interleaver.resample(frame):
                yield _mono(joined.to_ndarray().reshape(-1, channels).T), rate


def _form(frame) -> tuple[int, int, str, str]:
    return frame.sample_rate, frame.layout.nb_channels, frame.layout.name, frame.format.name


def _frames(container, name: str) -> Iterator:
    """Packets that cannot be decoded are left out, as the ffmpeg program does, unless there are no others."""
    import av

    decoded, failure = False, None
    try:
        for packet in container.demux(container.streams.audio[0]):
            try:
                for frame in packet.decode():
                    decoded = True
                    yield frame
            except (av.FFmpegError, ValueError) as error:  # ValueError: no such decoder
                failure = error
    except av.FFmpegError as error:  # the container breaks off
        failure = error
    if failure and not decoded:
        raise AudioFormatError(f"{name}: cannot be decoded ({failure}).")
