"""Recordings in every form, good and bad, are made here with PyAV and the wave module."""

import io
import os
import socket
import struct
import tempfile
import threading
import tracemalloc
import wave

import av
import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoasr.audio.ffmpeg import CONTAINERS
from nanoasr.audio.files import load_audio, read_blocks, source_name
from nanoasr.audio.resample import SAMPLE_RATE, Resampler
from nanoasr.errors import (
    AudioEmptyError,
    AudioError,
    AudioFormatError,
    AudioTooLongError,
    NanoASRError,
    OptionError,
)

FORMS = {  # extension: FFmpeg's muxer, encoder, rate, muxer's options
    "wav": ("wav", "pcm_s16le", 44100, {}),
    "aiff": ("aiff", "pcm_s24be", 48000, {}),
    "flac": ("flac", "flac", 44100, {}),
    "mp3": ("mp3", "libmp3lame", 44100, {}),
    "ogg": ("ogg", "libopus", 48000, {}),
    "opus": ("opus", "libopus", 48000, {}),
    "webm": ("webm", "libopus", 48000, {}),
    "mkv": ("matroska", "aac", 44100, {}),
    "m4a": ("ipod", "aac", 44100, {}),
    "mp4": ("mp4", "aac", 22050, {"movflags": "frag_keyframe+empty_moov", "frag_duration": "100000"}),
    "aac": ("adts", "aac", 16000, {}),
    "wma": ("asf", "wmav2", 44100, {}),
    "ts": ("mpegts", "mp2", 48000, {}),
}

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def tone(seconds, rate=SAMPLE_RATE, hertz=440.0, level=0.25):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def pitch(samples):
    return np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE / len(samples)


def encoded(form, *streams, pictures=False, rate=None):
    """The bytes of a file with each of `streams`, [samples] or [channels, samples], as an audio stream.

    `form` is a key of FORMS, or such a tuple as its values.
    """
    muxer, codec, usual_rate, options = form if isinstance(form, tuple) else FORMS[form]
    rate = rate or usual_rate
    file = io.BytesIO()
    with av.open(file, "w", format=muxer, options=options) as container:
        if pictures:
            video = container.add_stream("mpeg4", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = [
            container.add_stream(codec, rate=rate, layout=LAYOUTS[len(np.atleast_2d(s))], bit_rate=64000)
            for s in streams
        ]
        for stream, samples in zip(audio, streams, strict=True):
            frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1), "flt", stream.layout.name)
            frame.sample_rate = rate
            resampler = av.AudioResampler(stream.format, stream.layout, rate, frame_size=stream.frame_size or 1024)
            for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
                container.mux(stream.encode(piece))
        if pictures:
            for _ in range(25):
                container.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
            container.mux(video.encode(None))
    return file.getvalue()


def wav_bytes(samples, rate=SAMPLE_RATE):
    """16-bit, written without our or FFmpeg's help."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


NOISE = np.random.default_rng(0).integers(-20000, 20000, SAMPLE_RATE).astype(np.int16)
NOISE_WAV = wav_bytes(NOISE)


SMALL = {form: encoded(form, tone(0.2, FORMS[form][2])) for form in ("wav", "flac", "mp3", "mp4", "webm")}


# Every form


@pytest.mark.parametrize("form", FORMS)
def test_every_usual_form_of_file_is_read_as_16_khz_mono(form, tmp_path):
    seconds = 1.5
    sound = tone(seconds, FORMS[form][2])
    path = tmp_path / f"tone.{form}"
    path.write_bytes(encoded(form, np.stack([sound, sound])))
    audio = load_audio(path)
    assert audio.name == path.name
    assert audio.samples.dtype == np.float32 and audio.samples.ndim == 1
    assert audio.duration == pytest.approx(seconds, abs=0.11)  # encoders pad
    heard = audio.samples[4000:20000]
    assert pitch(heard) == 440
    assert np.sqrt(2) * heard.std() == pytest.approx(0.25, rel=0.06)  # LAME scales by 0.95


def test_a_16_bit_wav_at_16_khz_comes_out_exactly():
    np.testing.assert_array_equal(load_audio(NOISE_WAV).samples, NOISE / np.float32(32768))


def test_another_rate_gives_what_soxr_gives_for_the_whole_recording():
    sound = np.random.default_rng(1).integers(-9000, 9000, 200_000).astype(np.int16)
    expected = soxr.resample(sound / np.float32(32768), 44100, SAMPLE_RATE)
    np.testing.assert_array_equal(load_audio(wav_bytes(sound, 44100)).samples, expected)


def test_paths_bytes_and_files_give_the_same_samples(tmp_path):
    path = tmp_path / "noise.wav"
    path.write_bytes(NOISE_WAV)
    sources = [path, str(path), NOISE_WAV, bytearray(NOISE_WAV), memoryview(NOISE_WAV), io.BytesIO(NOISE_WAV)]
    with open(path, "rb") as file:
        for source in [*sources, file]:
            np.testing.assert_array_equal(load_audio(source).samples, NOISE / np.float32(32768))


def test_the_contents_decide_not_the_extension(tmp_path):
    path = tmp_path / "really_flac.mp3"
    path.write_bytes(encoded("flac", tone(1, 44100)))
    assert load_audio(path).duration == 1


def test_a_file_object_is_read_from_its_start_and_left_open():
    file = io.BytesIO(NOISE_WAV)
    file.read(1000)
    assert load_audio(file).duration == 1
    assert not file.closed


def test_a_temporary_file_of_an_upload_is_read():
    with tempfile.SpooledTemporaryFile() as file:  # has no seekable() before Python 3.11
        file.write(NOISE_WAV)
        assert load_audio(file).duration == 1


def test_a_pipe_is_read():
    reading, writing = os.pipe()

    def write():
        with open(writing, "wb") as file:
            file.write(encoded("m4a", tone(1, 44100)))  # its index is at the end: it needs seeking

    writer = threading.Thread(target=write)
    writer.start()
    with open(reading, "rb") as pipe:
        audio = load_audio(pipe)
    writer.join()
    assert pitch(audio.samples[:16000]) == 440


def test_tags_in_another_encoding_than_utf_8_are_no_obstacle():
    title = "中文".encode("gbk")
    chunk = b"INFOINAM" + struct.pack("<I", len(title)) + title
    data = NOISE_WAV[:36] + b"LIST" + struct.pack("<I", len(chunk)) + chunk + NOISE_WAV[36:]
    assert load_audio(data).duration == 1


def test_a_video_gives_its_sound():
    video = encoded("mkv", tone(1, 44100), pictures=True)
    assert pitch(load_audio(video).samples[:16000]) == 440


@pytest.mark.parametrize("channels", [1, 6, 8])
@pytest.mark.parametrize("form", ["flac", "opus", "mkv"])
def test_surround_sound_is_mixed_down(form, channels):
    rate = FORMS[form][2]
    samples = load_audio(encoded(form, np.stack([tone(1, rate)] * channels))).samples[2000:14000]
    assert pitch(samples) == pytest.approx(440, abs=1)
    assert np.sqrt(2) * samples.std() == pytest.approx(0.25, rel=0.2)  # AAC cuts the bass channel short


def test_of_several_audio_streams_the_first_is_read():
    both = encoded("mkv", tone(1, 44100, hertz=440), tone(1, 44100, hertz=900))
    assert pitch(load_audio(both).samples[:16000]) == 440


def test_files_joined_end_to_end_are_all_read_even_at_different_rates():
    joined = encoded("mp3", tone(1, 44100)) + encoded("mp3", tone(1, 22050), rate=22050)
    samples = load_audio(joined).samples
    assert len(samples) / SAMPLE_RATE == pytest.approx(2, abs=0.15)
    assert pitch(samples[2000:12000]) == pitch(samples[-12000:-2000]) == pytest.approx(440, abs=1)


def test_every_container_in_the_list_is_one_that_ffmpeg_has():
    assert set(CONTAINERS.split(",")) <= av.formats_available


# Arrays


def test_an_array_is_at_16_khz_unless_told_otherwise():
    assert load_audio(tone(1)).duration == 1
    assert load_audio(tone(1, 8000), sample_rate=8000).duration == 1
    assert load_audio((48000, tone(1, 48000))).duration == 1


def test_integers_are_scaled_by_their_type_and_zero_stays_zero():
    quarter = np.float32(0.25)
    for array in (
        np.full(800, 32, np.int8),
        np.full(800, 128 + 32, np.uint8),
        np.full(800, 8192, np.int16),
        np.full(800, 8192, ">i2"),
        np.full(800, 32768 + 8192, np.uint16),
        np.full(800, 2**29, np.int32),
        np.full(800, quarter, np.float16),
        np.full(800, quarter, np.float64),
    ):
        np.testing.assert_array_equal(load_audio(array).samples, np.full(800, quarter))


def test_floats_outside_one_are_kept():
    loud = 3 * tone(1, level=1)
    np.testing.assert_array_equal(load_audio(loud).samples, loud)


def test_channels_are_averaged_whichever_axis_holds_them():
    left, right = tone(1, hertz=300), tone(1, hertz=500)
    stereo = np.stack([left, right])
    for array in (stereo, stereo.T, np.ascontiguousarray(stereo.T)):
        np.testing.assert_allclose(load_audio(array).samples, (left + right) / 2, atol=1e-7)
    for array in (left[None], left[:, None]):
        np.testing.assert_array_equal(load_audio(array).samples, left)


def test_the_samples_are_a_copy_that_later_changes_to_the_array_do_not_reach():
    array = tone(1)
    samples = load_audio(array).samples
    array[:] = 9
    assert abs(samples).max() < 1


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((2, 3, 16000), np.float32),
        np.float32(0),
        np.zeros(16000, np.int64),
        np.zeros(16000, np.complex64),
        np.zeros(16000, bool),
        np.zeros((100, 16000), np.float32),
        np.array(["a"] * 16000),
        (0, np.zeros(16000, np.float32)),
        (-16000, np.zeros(16000, np.float32)),
        (768_001, np.zeros(16000, np.float32)),
        (float("nan"), np.zeros(16000, np.float32)),
        [0.0] * 16000,
        None,
        16000,
        io.StringIO("text"),
    ],
)
def test_what_is_not_audio_is_a_format_error(source):
    with pytest.raises(AudioFormatError):
        load_audio(source)


def test_two_different_rates_for_one_array_are_refused():
    with pytest.raises(OptionError, match="8000"):
        load_audio((16000, tone(1)), sample_rate=8000)


# Blocks and limits


@settings(max_examples=30, deadline=None)
@given(seconds=st.floats(0.001, 3), rate=st.sampled_from([8000, 16000, 44100]))
def test_blocks_joined_are_the_whole_recording_and_all_but_the_last_are_full(seconds, rate):
    source = (rate, NOISE)
    blocks = list(read_blocks(source, seconds=seconds))
    assert {len(block) for block in blocks[:-1]} <= {round(seconds * SAMPLE_RATE)}
    assert 0 < len(blocks[-1]) <= round(seconds * SAMPLE_RATE)
    np.testing.assert_array_equal(np.concatenate(blocks), load_audio(source).samples)


def test_a_block_of_no_length_is_refused():
    with pytest.raises(OptionError, match="seconds"):
        next(read_blocks(NOISE, seconds=0))


@pytest.mark.parametrize("form", ["wav", "flac", "ogg"])
def test_a_recording_just_at_the_limit_is_read_and_one_beyond_it_is_not(form):
    data = encoded(form, tone(3, FORMS[form][2]))
    assert load_audio(data, max_seconds=3).duration == 3
    with pytest.raises(AudioTooLongError, match=r"bytes: .*2\.9 s"):
        load_audio(data, max_seconds=2.9)


class Counted(io.BytesIO):
    taken = 0

    def read(self, size=-1):
        data = super().read(size)
        self.taken += len(data)
        return data


def test_beyond_the_limit_nothing_more_is_decoded():
    file = Counted(wav_bytes(np.zeros(600 * SAMPLE_RATE, np.int16)))
    with pytest.raises(AudioTooLongError):
        load_audio(file, max_seconds=5)
    assert file.taken < len(file.getvalue()) / 20


@pytest.fixture
def long_wav(tmp_path):
    """Makes 8 kHz, 8-bit files of any length that take no room on the disk."""

    def make(seconds):
        length = seconds * 8000
        path = tmp_path / f"{seconds}.wav"
        with open(path, "wb") as file:
            file.write(b"RIFF" + struct.pack("<I", 36 + length) + b"WAVEfmt ")
            file.write(struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data" + struct.pack("<I", length))
            file.truncate(44 + length)
        return path

    return make


def peak_memory(work):
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_three_hours_are_read_to_the_end(long_wav):
    assert sum(map(len, read_blocks(long_wav(3 * 3600)))) == 3 * 3600 * SAMPLE_RATE


def test_reading_blocks_takes_the_same_memory_for_any_length(long_wav):
    source = long_wav(20 * 60)
    assert peak_memory(lambda: sum(map(len, read_blocks(source)))) < 10e6


def test_loading_takes_little_more_memory_than_the_result(long_wav):
    source = long_wav(20 * 60)
    assert peak_memory(lambda: load_audio(source)) < 1.25 * 20 * 60 * SAMPLE_RATE * 4


# Live


@settings(max_examples=50, deadline=None)
@given(
    rate=st.sampled_from([8000, 16000, 22050, 44100, 48000, 96000]),
    cuts=st.lists(st.integers(0, 20000), max_size=30),
)
def test_however_sound_is_cut_into_pieces_it_is_resampled_alike(rate, cuts):
    sound = (NOISE / 32768).astype(np.float32)
    resampler = Resampler(rate)
    pieces = [resampler.push(piece) for piece in np.split(sound, sorted(min(cut, len(sound)) for cut in cuts))]
    pieces.append(resampler.finish())
    expected = sound if rate == SAMPLE_RATE else soxr.resample(sound, rate, SAMPLE_RATE)
    np.testing.assert_array_equal(np.concatenate(pieces), expected)


def test_a_resampler_starts_afresh_after_it_has_finished():
    resampler = Resampler(48000)
    sound = tone(0.5, 48000)
    first = np.concatenate([resampler.push(sound), resampler.finish()])
    np.testing.assert_array_equal(np.concatenate([resampler.push(sound), resampler.finish()]), first)


def test_a_resampler_never_hands_back_the_buffer_it_was_given():
    buffer = tone(0.1)
    heard = Resampler(SAMPLE_RATE).push(buffer)
    buffer[:] = 9
    assert abs(heard).max() < 1


@pytest.mark.parametrize("rate", [0, -1, 768_001, float("nan"), float("inf")])
def test_a_resampler_refuses_an_absurd_rate(rate):
    with pytest.raises(OptionError, match="768000"):
        Resampler(rate)


# Files that cannot be read


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav: there is no such file"):
        load_audio(tmp_path / "gone.wav")


def test_a_name_given_by_the_caller_is_the_one_in_messages():
    assert load_audio(NOISE_WAV, name="upload").name == "upload"
    with pytest.raises(AudioFormatError, match=r"^upload: "):
        load_audio(b"not audio", name="upload")


def test_a_recording_is_called_by_its_file_name_or_else_by_its_kind(tmp_path):
    path = tmp_path / "talk.wav"
    path.write_bytes(NOISE_WAV)
    with open(path, "rb") as file:
        names = [source_name(s) for s in (path, str(path), file, io.BytesIO(), b"", NOISE, (8000, NOISE))]
    assert names == ["talk.wav"] * 3 + ["file object", "bytes", "array", "array"]


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(AudioError, match="a folder"):
        load_audio(tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.mp3", "https://example.com/a.mp3", "file:///etc/hostname"])
def test_an_address_is_never_opened_and_the_message_says_to_download_it(url):
    with pytest.raises(AudioError, match="download it"):
        load_audio(url)


@pytest.mark.parametrize("path", ["", "nul\0.wav", "x" * 5000, "concat:a.wav|b.wav", "subfile,,start,0,end,9,,:a.wav"])
def test_a_path_that_cannot_be_is_an_error_of_ours(path):
    with pytest.raises(AudioError):
        load_audio(path)


@pytest.mark.parametrize("source", [b"", wav_bytes(NOISE[:0]), wav_bytes(NOISE[:399]), NOISE[:0], NOISE[:399]])
def test_nothing_or_less_than_25_ms_of_sound_is_empty(source):
    with pytest.raises(AudioEmptyError):
        load_audio(source)


def test_25_ms_are_enough():
    assert len(load_audio(NOISE[:400]).samples) == 400


@pytest.mark.parametrize("content", [b"just some text\n" * 50, b"\x89PNG\r\n\x1a\n" + bytes(500), bytes(5000)])
def test_a_file_that_is_not_audio_is_a_format_error_with_its_name(tmp_path, content):
    path = tmp_path / "notes.wav"
    path.write_bytes(content)
    with pytest.raises(AudioFormatError, match=r"^notes\.wav: "):
        load_audio(path)


def test_a_video_without_sound_says_so():
    with pytest.raises(AudioFormatError, match="no audio stream"):
        load_audio(encoded("mkv", pictures=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_reported_with_the_place_of_the_first(bad):
    array = tone(10, 8000)
    array[[72000, 72500]] = bad
    with pytest.raises(AudioError, match=r"array: NaN or infinity at 9\.000 s, and in 2 of"):
        load_audio((8000, array))


def test_a_number_too_large_for_float32_is_reported_as_infinite():
    with pytest.raises(AudioError, match="infinity"):
        load_audio(np.full(16000, 1e300))


@pytest.mark.parametrize(
    ("offset", "kind", "value"),
    [(22, "<H", 0), (22, "<H", 65535), (22, "<H", 200), (24, "<I", 0), (24, "<I", 1_000_000), (24, "<I", 2**32 - 1)],
)
def test_absurd_rates_and_channel_counts_in_a_header_are_format_errors(offset, kind, value):
    data = bytearray(NOISE_WAV)
    struct.pack_into(kind, data, offset, value)
    struct.pack_into("<H", data, 32, 2 * value % 65536 if kind == "<H" else 2)
    with pytest.raises(AudioFormatError):
        load_audio(data)


def test_a_disk_that_fails_is_reported_not_taken_for_the_end():
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 16000:
                raise OSError("the disk is gone")
            return super().read(size)

    with pytest.raises(AudioError, match="the disk is gone"):
        load_audio(Failing(wav_bytes(np.tile(NOISE, 10))))


# Damaged files


@pytest.mark.parametrize("claimed", [0, 10**9, 2**32 - 1])
def test_a_wav_header_that_lies_about_the_length_does_not_matter(claimed):
    data = bytearray(NOISE_WAV)
    struct.pack_into("<I", data, 40, claimed)
    np.testing.assert_array_equal(load_audio(data).samples, NOISE / np.float32(32768))


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "ogg", "mp4", "webm", "aac"])
def test_a_truncated_file_gives_what_could_be_decoded(form):
    data = encoded(form, tone(4, FORMS[form][2]))
    audio = load_audio(data[: len(data) // 2])
    assert audio.duration == pytest.approx(2, abs=0.5)
    assert pitch(audio.samples[2000:18000]) == 440


def test_an_m4a_cut_off_before_its_index_is_a_format_error():
    data = encoded("m4a", tone(4, 44100))
    with pytest.raises(AudioFormatError):
        load_audio(data[: len(data) // 2])


def test_damage_in_the_middle_costs_only_what_it_hit():
    data = bytearray(encoded("mp3", tone(10, 44100)))
    data[len(data) // 2 : len(data) // 2 + 5000] = bytes(5000)
    assert load_audio(data).duration > 9


@settings(max_examples=60, deadline=None)
@given(form=st.sampled_from(["wav", "flac", "mp3", "mp4", "webm"]), data=st.data())
def test_any_damage_gives_a_recording_or_an_error_of_ours(form, data):
    damaged = bytearray(SMALL[form])
    places = st.integers(0, len(damaged) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=20)):
        damaged[place] = value
    try:
        audio = load_audio(damaged[: data.draw(places)], max_seconds=60)
    except NanoASRError:
        return
    assert audio.samples.dtype == np.float32 and len(audio.samples) >= 400


# Files from strangers

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}/secret.aac\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("list.m3u8", HLS.format(address="{folder}"), id="hls naming a file"),
        pytest.param("list.m3u8", HLS.format(address="{server}"), id="hls naming a server"),
        pytest.param("list.ffconcat", "ffconcat version 1.0\nfile secret.aac\n", id="ffconcat"),
        pytest.param("list.wav", "ffconcat version 1.0\nfile secret.aac\n", id="ffconcat in disguise"),
        pytest.param("list.m3u", "{folder}/secret.aac\n", id="m3u"),
        pytest.param("list.sdp", SDP, id="sdp"),
    ],
)
def test_a_playlist_reaches_neither_other_files_nor_the_network(name, content, tmp_path, monkeypatch):
    (tmp_path / "secret.aac").write_bytes(encoded("aac", tone(1)))
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        playlist = tmp_path / name
        playlist.write_text(content.format(folder=tmp_path, server=address))
        for source in (playlist, playlist.read_bytes()):
            with pytest.raises(AudioFormatError):
                load_audio(source)
        with pytest.raises(BlockingIOError):  # nobody called
            server.accept()
