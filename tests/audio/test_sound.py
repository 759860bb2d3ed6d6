"""Pitch, loudness, brightness and onsets against sounds whose values are known."""

import subprocess
import sys

import numpy as np
import pytest
from places import SPEECH

from nanoasr.audio.resample import SAMPLE_RATE, Resampler, resample
from nanoasr.audio.sound import describe_sound
from nanoasr.errors import AudioEmptyError, AudioTooLongError, OptionError


def voice(hertz, seconds=1.0, level=0.1):
    """A buzz: ten harmonics of one pitch."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 11))).astype(np.float32)


SILENCE = np.zeros(SAMPLE_RATE // 2, np.float32)


@pytest.mark.parametrize("hertz", [110.0, 220.0, 440.0])
def test_the_pitch_of_a_voice_is_found(hertz):
    found = describe_sound(voice(hertz))
    middle = slice(10, -10)
    assert np.nanmedian(found.pitch[middle]) == pytest.approx(hertz, rel=0.01)
    assert np.isfinite(found.pitch[middle]).mean() > 0.9
    assert found.voiced[middle].mean() > 0.5


def test_noise_and_silence_have_no_pitch():
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    assert np.isnan(describe_sound(noise).pitch).mean() > 0.9
    silent = describe_sound(SILENCE)
    assert np.isnan(silent.pitch).all() and np.isnan(silent.centroid).all()
    assert not silent.rms.any() and not len(silent.onsets)


def test_loudness_is_the_root_mean_square():
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    sine = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    assert describe_sound(sine).rms[10:-10] == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


@pytest.mark.parametrize("hertz", [500.0, 3000.0])
def test_the_centroid_of_a_sine_is_its_frequency(hertz):
    sine = np.sin(2 * np.pi * hertz * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    assert np.median(describe_sound(sine).centroid) == pytest.approx(hertz, rel=0.02)


def test_onsets_are_where_sounds_begin():
    fading = np.linspace(1, 0, SAMPLE_RATE // 2, dtype=np.float32)
    sound = np.concatenate([SILENCE, voice(200, 0.5) * fading, SILENCE, voice(300, 0.5) * fading, SILENCE])
    assert describe_sound(sound).onsets == pytest.approx([0.5, 1.5], abs=0.05)


def test_all_curves_have_one_time_axis():
    found = describe_sound(SPEECH / "LJ002-0020.wav")
    curves = (found.times, found.pitch, found.voiced, found.rms, found.centroid)
    assert len({len(curve) for curve in curves}) == 1
    assert np.diff(found.times) == pytest.approx(0.01)
    assert found.times[-1] == pytest.approx(1.53, abs=0.02)
    assert 150 < np.nanmedian(found.pitch) < 260  # a woman's voice


def test_the_duration_is_bounded():
    with pytest.raises(AudioTooLongError):
        describe_sound(np.zeros(31 * SAMPLE_RATE, np.float32))
    with pytest.raises(AudioTooLongError):
        describe_sound(voice(200, 2), max_seconds=1)
    with pytest.raises(AudioEmptyError):
        describe_sound(SILENCE[:100])


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_a_whole_array_is_resampled_as_a_stream_is(rate):
    sound = np.random.default_rng(rate).normal(0, 0.1, 30_001).astype(np.float32)
    stream = Resampler(rate)
    np.testing.assert_array_equal(resample(sound, rate), np.concatenate([stream.push(sound), stream.finish()]))


def test_resampling_refuses_an_absurd_rate():
    with pytest.raises(OptionError, match="768000"):
        resample(SILENCE, 10**9)


def test_librosa_is_imported_only_when_it_is_used():
    code = """if 1:
        import sys, numpy as np, nanoasr, nanoasr.recognizer, nanoasr.audio.sound
        nanoasr.audio.load_audio(np.zeros(16000, np.float32))
        assert not {"librosa", "numba", "scipy"} & set(sys.modules)
        nanoasr.audio.load_audio(np.zeros(44100, np.float32), 44100)
        assert "librosa" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
