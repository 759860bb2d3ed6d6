"""Decode audio files with FFmpeg's libraries, which the PyAV wheel contains.

Recordings come from strangers: FFmpeg gets an open file, may read only the containers listed here and use no
protocol, so a playlist or a file with references reads neither other files nor the network. What the file object
returns is checked, since PyAV copies it unchecked, and CPU time without a result is bounded.
"""

import time
from collections.abc import Iterator
from itertools import chain, groupby
from typing import BinaryIO

import numpy as np

from ..errors import AudioError, AudioFormatError
from .resample import HIGHEST_RATE, LOWEST_RATE
from .wav import Wav, open_wav

MAX_CHANNELS = 64
MAX_CPU_SECONDS = 10.0  # from one packet to the next, and for a file's header
CONTAINERS = (  # by FFmpeg's names; no playlists, no devices
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,loas,matroska,mov,mp3,mpeg,mpegts,ogg,tta,voc,w64,wav,wv"
)


def decode_file(file: BinaryIO, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Decode the first audio stream of a seekable file -> mono float32 samples and their rate, piece by piece."""
    source = _Source(file, name)
    wav = open_wav(source)
    try:
        yield from _decode_wav(wav, source) if wav else _decode(source)
    except AudioFormatError:
        if not source.error:
            raise
    if isinstance(source.error, OSError):
        raise AudioError(f"{name}: cannot be read: {source.error}.") from source.error
    if source.error:
        raise source.error


def check_format(rate: int, channels: int, name: str) -> None:
    """Raise AudioFormatError for an absurd sample rate or number of channels."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioFormatError(f"{name}: at {rate} Hz; rates from {LOWEST_RATE} to {HIGHEST_RATE} are read.")
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioFormatError(f"{name}: {channels} channels; from 1 to {MAX_CHANNELS} can be mixed.")


def mix_to_mono(channels: np.ndarray) -> np.ndarray:
    """Average [channels, samples] of any type over the channels and scale to float32."""
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite samples are reported later, with their place
        if len(channels) == 1:
            mono = channels[0].astype(np.float32, copy=False)
        else:
            mono = np.ascontiguousarray(channels).mean(axis=0, dtype=np.float32)  # contiguous: ten times faster
    if channels.dtype.kind == "f":
        return mono
    half = np.float32(2 ** (8 * channels.dtype.itemsize - 1))
    return mono / half - 1 if channels.dtype.kind == "u" else mono / half


class _Source:
    """The file object that PyAV reads. Its methods run inside FFmpeg, on the thread that called it.

    An exception is kept in `error` and looks like the end of the file to FFmpeg: PyAV would lose a KeyboardInterrupt,
    and a second exception.
    """

    def __init__(self, file: BinaryIO, name: str):
        self._file, self.name = file, name
        self.error: BaseException | None = None
        self.tell = file.tell
        self.restart_clock()

    def restart_clock(self) -> None:
        self._deadline = time.thread_time() + MAX_CPU_SECONDS

    def read(self, size: int) -> bytes:
        try:
            if self.error:
                return b""
            if time.thread_time() > self._deadline:
                raise AudioFormatError(f"{self.name}: no audio found in {MAX_CPU_SECONDS:g} s of reading.")
            data = self._file.read(size)
            if not isinstance(data, bytes) or len(data) > size:
                raise AudioError(f"{self.name}: its read({size}) must return at most {size} bytes.")
            return data
        except BaseException as error:
            self.error = error
            return b""

    def seek(self, offset: int, whence: int = 0) -> int | None:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # a damaged file may contain impossible offsets
            return -1
        except BaseException as error:
            self.error = self.error or error
            return -1


def _decode_wav(wav: Wav, source: _Source) -> Iterator[tuple[np.ndarray, int]]:
    check_format(wav.rate, wav.channels, source.name)
    for piece in wav.pieces(source):
        source.restart_clock()
        yield mix_to_mono(piece), wav.rate


def _decode(source: _Source) -> Iterator[tuple[np.ndarray, int]]:
    import av  # here: arrays and WAV files do not need it, and it takes 0.1 s to import

    options = {"container_options": {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}}
    if hasattr(av.container.InputContainer, "metadata_errors"):
        # PyAV before 19, the newest for Python 3.10 and 3.11, otherwise fails on tags that are not UTF-8.
        options["metadata_errors"] = "replace"
    try:
        with av.open(source, "r", **options) as container:
            yield from _decode_stream(container, source)
    except (av.FFmpegError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioFormatError(
            f"{source.name}: not audio, or in a form that is unknown or damaged ({reason})."
        ) from None


def _decode_stream(container, source: _Source) -> Iterator[tuple[np.ndarray, int]]:
    import av

    name = source.name
    if not container.streams.audio:
        raise AudioFormatError(f"{name}: has no audio stream.")
    if container.streams.audio[0].codec_context is None:  # PyAV before 19 would crash
        raise AudioFormatError(f"{name}: its audio is in a codec that cannot be decoded.")
    for (rate, channels, *_), frames in groupby(_frames(container, source), _frame_format):
        check_format(rate, channels, name)
        # Interleaved before NumPy sees them: PyAV up to 19 reads past the planes of 8 or more channels.
        interleaver = av.AudioResampler(format="flt", frame_size=1 << 15)
        for frame in chain(frames, [None]):
            for joined in interleaver.resample(frame):
                yield mix_to_mono(joined.to_ndarray().reshape(-1, channels).T), rate


def _frame_format(frame) -> tuple[int, int, str, str]:
    return frame.sample_rate, frame.layout.nb_channels, frame.layout.name, frame.format.name


def _frames(container, source: _Source) -> Iterator:
    """Decode packets, skipping those that cannot be decoded as the ffmpeg program does, unless all are."""
    import av

    decoded, failure = False, None
    source.restart_clock()
    try:
        for packet in container.demux(container.streams.audio[0]):
            try:
                for frame in packet.decode():
                    decoded = True
                    yield frame
            except (av.FFmpegError, ValueError) as error:  # ValueError: no such decoder
                failure = error
            source.restart_clock()
    except (av.FFmpegError, IndexError) as error:  # the container breaks off
        failure = error  # IndexError: at its end, where a stream appeared midway (PyAV 18)
    if failure and not decoded:
        raise AudioFormatError(f"{source.name}: cannot be decoded ({failure}).")
