"""What augmentation does to sound and features, by its statistics."""

import mlx.core as mx
import numpy as np
import pytest

from nanoasr.train.augment import AugmentConfig, augment, change_speed, mask_filterbank

NOTHING = AugmentConfig(noise=0, babble=0, reverb=0, band_limit=0, tilt_db=0, level_db=(-20, -20))


def tones(hz=440.0, rows=8, size=16000):
    return mx.array(np.tile(0.1 * np.sin(2 * np.pi * hz * np.arange(size) / 16000), (rows, 1)).astype("f"))


def changed(key=0, x=None, **settings):
    x = tones() if x is None else x
    config = AugmentConfig(**{**NOTHING.__dict__, **settings})
    return np.array(augment(x, mx.full((x.shape[0],), x.shape[1]), mx.random.key(key), config))


def rms(x):
    return np.sqrt(np.square(x).mean(axis=-1))


def test_speed_moves_the_pitch_and_leaves_the_shape_of_the_wave():
    fast = np.array(change_speed(tones(440.0, rows=1), mx.array([1126]), 14000))[0]
    expected = 0.1 * np.sin(2 * np.pi * 440 * 1126 / 1024 * np.arange(14000) / 16000)
    np.testing.assert_allclose(fast[:-2], expected[:-2], atol=3e-4)


def test_speed_one_changes_nothing():
    x = tones(rows=2)
    np.testing.assert_array_equal(np.array(change_speed(x, mx.array([1024, 1024]), 16000)), np.array(x))


def test_with_everything_off_only_the_level_is_set():
    y = changed()
    np.testing.assert_allclose(rms(y), 0.1, rtol=1e-3)
    np.testing.assert_allclose(y / rms(y)[:, None], np.array(tones()) / rms(np.array(tones()))[:, None], atol=2e-3)


def test_the_same_key_gives_the_same_sound_and_another_key_another():
    full = AugmentConfig(noise=1.0, reverb=1.0).__dict__
    np.testing.assert_array_equal(changed(1, **full), changed(1, **full))
    assert np.abs(changed(1, **full) - changed(2, **full)).mean() > 1e-3


def test_levels_spread_over_the_range_asked_for():
    y = changed(level_db=(-38.0, -12.0), x=tones(rows=64))
    db = 20 * np.log10(rms(y))
    assert db.min() > -38.5 and db.max() < -11.5 and db.max() - db.min() > 15


def test_noise_keeps_the_ratio_asked_for():
    y = changed(noise=1.0, snr_db=(10.0, 10.0), x=tones(rows=32))
    spectrum = np.abs(np.fft.rfft(y)) ** 2
    tone = spectrum[:, 435:446].sum(axis=1)
    ratio = 10 * np.log10(tone / (spectrum.sum(axis=1) - tone))
    assert np.median(ratio) == pytest.approx(10, abs=1.0)


def test_reverberation_rings_on_after_the_sound_has_ended():
    x = np.array(tones())
    x[:, 8000:] = 0
    dry, wet = changed(x=mx.array(x)), changed(x=mx.array(x), reverb=1.0)
    assert rms(dry[:, 8200:10000]).max() < 1e-3
    assert np.median(rms(wet[:, 8200:10000])) > 3e-3


def test_band_limits_take_away_what_is_above_them():
    high = changed(x=tones(7800.0) + tones(1000.0), band_limit=1.0)
    spectrum = np.abs(np.fft.rfft(high))
    assert (spectrum[:, 7800] < 0.2 * spectrum[:, 1000]).all()


def test_silence_gets_noise_but_no_voices_of_others():
    x = np.array(tones())
    x[0] = 0
    assert rms(changed(x=mx.array(x), babble=1.0))[0] == 0
    assert rms(changed(x=mx.array(x), noise=1.0))[0] > 0


def test_nothing_is_added_after_a_recording_ends():
    config = AugmentConfig(noise=1.0, reverb=1.0, babble=1.0)
    y = augment(tones(), mx.array([16000, 9000] * 4), mx.random.key(0), config)
    assert not np.array(y)[1::2, 9000:].any()


def test_masks_hide_whole_bands_and_spans_within_their_limits():
    frames = mx.random.normal((16, 100, 80), key=mx.random.key(5))
    counts = mx.array([100, 50] * 8)
    config = AugmentConfig(frequency_masks=1, frequency_width=20, time_masks=1, time_width=10, time_share=1.0)
    y = np.array(mask_filterbank(frames, counts, mx.random.key(6), config))
    hidden = y != np.array(frames)
    bands, spans = hidden.all(axis=1), hidden.all(axis=2)
    np.testing.assert_array_equal(hidden, bands[:, None, :] | spans[:, :, None])
    assert 0 < bands.sum(axis=1).max() <= 20 and 0 < spans.sum(axis=1).max() <= 10
    assert not spans[1::2, 50:].any()
