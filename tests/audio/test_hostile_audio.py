"""Sources that misbehave on purpose: each is one clear error, in bounded time and memory."""

import io
import os
import struct
import threading
import time
import tracemalloc

import numpy as np
import pytest
from places import PARITY
from test_audio import NOISE, NOISE_WAV, encoded, tone

import nanoasr
from nanoasr.audio import ffmpeg, files
from nanoasr.audio.files import load_audio, read_blocks
from nanoasr.errors import AudioEmptyError, AudioError, AudioFormatError, AudioTooLongError


@pytest.fixture
def two_hours(tmp_path):
    """A WAV that takes no room on the disk, 460 MB as 16 kHz float32."""
    length, path = 2 * 3600 * 8000, tmp_path / "two hours.wav"
    with open(path, "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + length) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data" + struct.pack("<I", length))
        file.truncate(44 + length)
    return path


def peak_memory(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Length


def test_inspect_refuses_a_long_recording_before_it_is_decoded(two_hours):
    asr = nanoasr.load(PARITY / "official")

    def inspect():
        with pytest.raises(AudioTooLongError, match=r"two hours\.wav: .*30 s"):
            asr.inspect(two_hours)

    assert peak_memory(inspect) < 20e6


def test_loading_with_a_limit_takes_no_more_memory_than_the_limit(two_hours):
    def load():
        with pytest.raises(AudioTooLongError):
            load_audio(two_hours, max_seconds=10)

    assert peak_memory(load) < 5e6


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_limit_holds_for_arrays_too(rate):
    sound = np.zeros(10 * rate, np.float32)
    assert load_audio((rate, sound), max_seconds=10).duration == 10
    with pytest.raises(AudioTooLongError):
        load_audio((rate, sound), max_seconds=9.9)


# File objects


class ReadsTooMuch(io.BytesIO):
    def read(self, size=-1):
        return super().read(size) if size <= 0 else super().read(size) + bytes(1 << 20)


class ReadsText(io.BytesIO):
    def read(self, size=-1):
        return super().read(size) if size <= 0 else "text"


class ReadsNothing(io.BytesIO):
    def read(self, size=-1):
        return super().read(size) if size <= 0 else None


class ReadsViews(io.BytesIO):
    def read(self, size=-1):
        return super().read(size) if size <= 0 else memoryview(super().read(size))


@pytest.mark.parametrize("kind", [ReadsTooMuch, ReadsText, ReadsNothing, ReadsViews])
def test_a_file_object_that_returns_something_else_than_was_asked_for_is_refused(kind):
    with pytest.raises(AudioError, match=r"^file object: its read\(\d+\) must return"):
        load_audio(kind(NOISE_WAV))


def test_ctrl_c_while_a_file_is_read_is_not_lost():
    class Interrupted(io.BytesIO):
        def read(self, size=-1):
            if size > 0:
                raise KeyboardInterrupt
            return super().read(size)

    with pytest.raises(KeyboardInterrupt):
        load_audio(Interrupted(NOISE_WAV))


def test_an_error_of_the_callers_file_object_reaches_the_caller():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if size > 0:
                raise LookupError("mine")
            return super().read(size)

    with pytest.raises(LookupError, match="mine"):
        load_audio(Broken(NOISE_WAV))


# Pipes


class Endless(io.RawIOBase):
    """Standard input that never ends."""

    def readable(self):
        return True

    def readinto(self, buffer):
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def test_an_endless_pipe_is_refused_at_a_limit(monkeypatch):
    monkeypatch.setattr(files, "MAX_PIPE_BYTES", 5 << 20)
    with pytest.raises(AudioTooLongError, match="over 5 MB from a pipe"):
        load_audio(Endless())


def test_a_pipe_that_is_not_ready_is_refused_not_cut_short():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with open(reading, "rb", buffering=0) as pipe, open(writing, "wb"), pytest.raises(AudioError, match="blocking"):
        load_audio(pipe)


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    return path


def test_a_named_pipe_that_nobody_writes_to_is_given_up(fifo, monkeypatch):
    monkeypatch.setattr(files, "PIPE_TIMEOUT", 0.2)
    with pytest.raises(AudioError, match=r"pipe\.wav: "):
        load_audio(fifo)


def test_a_named_pipe_whose_writer_stops_midway_is_given_up(fifo, monkeypatch):
    monkeypatch.setattr(files, "PIPE_TIMEOUT", 0.5)
    writing = os.open(fifo, os.O_RDWR)
    os.write(writing, NOISE_WAV[:1000])
    with pytest.raises(AudioError, match="nothing was written"):
        load_audio(fifo)
    os.close(writing)


def test_a_named_pipe_with_a_writer_is_read(fifo):
    writer = threading.Thread(target=fifo.write_bytes, args=(NOISE_WAV,))
    writer.start()
    np.testing.assert_array_equal(load_audio(fifo).samples, NOISE / np.float32(32768))
    writer.join()


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_not_a_recording(device):
    with pytest.raises(AudioEmptyError):
        load_audio(device)


# Containers


def test_a_wav_of_empty_chunks_is_given_up_after_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr(ffmpeg, "MAX_CPU_SECONDS", 0.5)
    path = tmp_path / "chunks.wav"
    with open(path, "wb") as file:  # its zeros are 250 million chunks without name or content
        file.write(b"RIFF" + struct.pack("<I", 2_000_000_000) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8))
        file.truncate(2_000_000_000)
    start = time.thread_time()
    with pytest.raises(AudioFormatError, match=r"chunks\.wav: no audio found in 0\.5 s"):
        load_audio(path)
    assert time.thread_time() - start < 2


def test_a_transport_stream_in_which_another_stream_appears_midway_is_read():
    data = bytearray(encoded("ts", tone(1, 48000)))
    starts = [i for i in range(0, len(data), 188) if data[i + 1 : i + 3] == b"\x41\x00"]  # of packets of our stream
    data[starts[-1] + 2] = 1  # the last is one of another stream
    assert load_audio(bytes(data)).duration == pytest.approx(0.9, abs=0.2)
    assert sum(map(len, read_blocks(bytes(data), seconds=0.1))) > 0
