"""G.711 and PCM16 of realtime sessions."""

import av
import numpy as np
import pytest

from nanoasr.serve.audio_codecs import AudioFormat


@pytest.mark.parametrize(("kind", "codec"), [("audio/pcmu", "pcm_mulaw"), ("audio/pcma", "pcm_alaw")])
def test_every_g711_code_is_what_ffmpeg_has(kind, codec):
    codes = bytes(range(256))
    decoder = av.CodecContext.create(codec, "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"
    [frame] = decoder.decode(av.Packet(codes))
    expected = frame.to_ndarray()[0]
    assert np.array_equal(AudioFormat(kind, 8000).decode(codes) * 32768, expected)


def test_pcm16_is_little_endian_and_scaled_to_one():
    samples = AudioFormat().decode(b"\x00\x80\xff\x7f\x00\x00")
    assert samples.tolist() == [-1.0, 32767 / 32768, 0.0]
    assert AudioFormat("audio/pcm", 16000).seconds(32000) == 1.0
