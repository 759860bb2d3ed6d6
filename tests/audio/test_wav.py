"""Plain WAV files are read without FFmpeg, to the same samples; all others are left to it."""

import io
import sys

import numpy as np
import pytest
import soundfile

from nanoasr.audio import ffmpeg, load_audio
from nanoasr.audio.wav import open_wav

KINDS = ["PCM_U8", "PCM_16", "PCM_32", "FLOAT", "DOUBLE"]


def wav(kind: str = "PCM_16", channels: int = 1, seconds: float = 12, rate: int = 16000, **options) -> bytes:
    x = np.random.default_rng(0).normal(0, 0.2, (round(seconds * rate), channels))
    file = io.BytesIO()
    soundfile.write(file, x, rate, format=options.pop("format", "WAV"), subtype=kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_are_those_that_ffmpeg_gives(kind, channels, monkeypatch):
    content = wav(kind, channels)
    assert open_wav(io.BytesIO(content)).channels == channels
    found = load_audio(content).samples
    monkeypatch.setattr(ffmpeg, "open_wav", lambda source: None)
    np.testing.assert_array_equal(found, load_audio(content).samples)


def test_chunks_before_the_samples_are_skipped(monkeypatch):
    content = wav()
    content = content[:12] + b"LIST\x05\0\0\0INFO\0\0" + content[12:]
    assert open_wav(io.BytesIO(content)).start == 44 + 14
    np.testing.assert_array_equal(load_audio(content).samples, load_audio(wav()).samples)


def test_a_plain_file_is_read_without_ffmpeg(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert load_audio(wav(rate=44100)).duration == pytest.approx(12)


@pytest.mark.parametrize(
    "content",
    [
        wav()[:-100],  # truncated
        wav()[:40] + b"\xff\xff\xff\xff" + wav()[44:],  # as programs write that do not know the length
        wav()[:40] + bytes(4) + wav()[44:],
        wav()[:44] + b"\xfe\x7f\x01\x80" + wav()[48:],  # DTS in a file that says PCM
        wav("PCM_24"),
        wav("ULAW"),
        wav(format="WAVEX"),
        wav()[:22] + b"\0\0" + wav()[24:],  # no channels
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 40 + wav()[12:],
        b"RIFF",
        b"",
    ],
    ids=range(11),
)
def test_other_files_are_left_to_ffmpeg(content):
    file = io.BytesIO(content)
    assert open_wav(file) is None and file.tell() == 0
