"""Data augmentation of a whole batch [B, N] on the device, from one random key.

Only the speed is drawn elsewhere, in batches.py: it changes the length, and so the bucket of a recording.
"""

from dataclasses import dataclass

import mlx.core as mx

from ..audio.features import MEL_BINS, SAMPLE_RATE

SPEED_UNIT = 1024  # speeds are whole multiples of 1/1024, so positions are exact integers
_RESPONSE = 8192  # samples of a room's response, half a second
_QUIET = 1e-3  # rms below which a recording counts as silence


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities of the augmentations, and their ranges."""

    noise: float = 0.5
    snr_db: tuple[float, float] = (5.0, 35.0)
    babble: float = 0.1
    reverb: float = 0.3
    band_limit: float = 0.2
    tilt_db: float = 6.0  # gain at 8 kHz against 0 Hz, either way
    level_db: tuple[float, float] = (-38.0, -12.0)  # rms of the result, 0 dB is full scale
    frequency_masks: int = 2
    frequency_width: int = 18  # mel bins, at most
    time_masks: int = 3
    time_width: int = 24  # filterbank frames (10 ms), at most
    time_share: float = 0.08  # of the recording that one mask may hide, at most


def change_speed(samples: mx.array, speed: mx.array, length: int) -> mx.array:
    """Play samples [B, N] `speed` [B] / 1024 times as fast, pitch included; returns [B, length].

    Cubic (Catmull-Rom) interpolation between the four nearest samples.
    """
    place = mx.arange(length, dtype=mx.int32) * speed[:, None].astype(mx.int32)
    whole = place // SPEED_UNIT
    t = (place - whole * SPEED_UNIT).astype(mx.float32) / SPEED_UNIT
    last = samples.shape[1] - 1
    a, b, c, d = (mx.take_along_axis(samples, mx.clip(whole + tap, 0, last), axis=1) for tap in (-1, 0, 1, 2))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def augment(samples: mx.array, lengths: mx.array, key: mx.array, config: AugmentConfig) -> mx.array:
    """Add room, microphone, noise, babble and a random level to samples [B, N] with `lengths` [B]."""
    size = samples.shape[1]
    real = mx.arange(size) < lengths[:, None]
    room, colour, noise, babble, level = mx.random.split(key, 5)
    x = mx.where(real, samples, 0)
    rms = _rms(x, real)
    voiced = rms > _QUIET
    transform = _quick_length(size + _RESPONSE)
    change = _room_response(samples.shape[0], transform, room, config) * _colour(
        samples.shape[0], transform, colour, config
    )
    x = mx.fft.irfft(mx.fft.rfft(x, n=transform) * change, n=transform)[:, :size]
    x = x * (rms / mx.maximum(_rms(x, real), 1e-6))  # the signal-to-noise ratio is relative to this
    x = _add_babble(x, rms, voiced, babble, config)
    x = x + _noise(samples.shape, noise, config) * mx.where(voiced, rms, 0.1)
    return _set_level(x, real, level, config)


def mask_filterbank(frames: mx.array, counts: mx.array, key: mx.array, config: AugmentConfig) -> mx.array:
    """Apply SpecAugment: replace bands of mel bins and spans of frames [B, T, 80] by the recording's mean."""
    batch, total, _ = frames.shape
    keys = mx.random.split(key, 4)
    present = (mx.arange(total) < counts[:, None])[..., None]
    mean = mx.where(present, frames, 0).sum(axis=(1, 2)) / (mx.maximum(counts, 1) * MEL_BINS)

    def spans(masks, widest, limit, positions, width_key, start_key):
        width = mx.random.uniform(shape=(batch, masks), key=width_key) * widest
        start = mx.random.uniform(shape=(batch, masks), key=start_key) * mx.maximum(limit - width, 0)
        inside = (positions >= start[..., None]) & (positions < (start + width)[..., None])
        return inside.any(axis=1)

    counts = counts[:, None].astype(mx.float32)
    bins = spans(config.frequency_masks, config.frequency_width, MEL_BINS, mx.arange(MEL_BINS), *keys[:2])
    widest = mx.minimum(config.time_width, counts * config.time_share)
    times = spans(config.time_masks, widest, counts, mx.arange(total), *keys[2:])
    return mx.where(bins[:, None, :] | times[:, :, None], mean[:, None, None], frames)


def _room_response(batch: int, transform: int, key: mx.array, config: AugmentConfig) -> mx.array:
    """Draw spectra of room responses: the direct sound, then noise that decays by 60 dB in 0.1 to 0.7 s."""
    keys = mx.random.split(key, 4)
    time = mx.arange(_RESPONSE) / SAMPLE_RATE
    decay = mx.random.uniform(0.1, 0.7, (batch, 1), key=keys[0])
    tail = mx.random.normal((batch, _RESPONSE), key=keys[1]) * mx.exp(-6.9 * time / decay)
    tail = tail * (time > 0.002)  # nothing reflects sooner than 2 ms
    tail = tail / mx.sqrt(mx.square(tail).sum(axis=1, keepdims=True))
    direct_db = mx.random.uniform(-2.0, 14.0, (batch, 1), key=keys[2])  # direct to reverberant energy
    used = mx.random.uniform(shape=(batch, 1), key=keys[3]) < config.reverb
    tail = mx.where(used, tail * 10 ** (-direct_db / 20), 0)
    return 1 + mx.fft.rfft(tail, n=transform)


def _colour(batch: int, transform: int, key: mx.array, config: AugmentConfig) -> mx.array:
    """Draw microphone gains [B, F]: a tilt, and in some a band limit from 20–350 Hz to 3–7.5 kHz."""
    keys = mx.random.split(key, 4)
    share = mx.arange(transform // 2 + 1) / (transform // 2)
    tilt = mx.random.uniform(-config.tilt_db, config.tilt_db, (batch, 1), key=keys[0])
    hz = share * (SAMPLE_RATE / 2)
    low = mx.random.uniform(20.0, 350.0, (batch, 1), key=keys[1])
    high = mx.random.uniform(3000.0, 7500.0, (batch, 1), key=keys[2])
    passed = mx.sigmoid((hz - low) / 20) * mx.sigmoid((high - hz) / 60)
    limited = mx.random.uniform(shape=(batch, 1), key=keys[3]) < config.band_limit
    return 10 ** (tilt * share / 20) * mx.where(limited, passed, 1)


def _noise(shape: tuple[int, int], key: mx.array, config: AugmentConfig) -> mx.array:
    """Draw coloured noise [B, N], white to brown, some of it band-passed.

    Its rms is relative to a voice of rms 1, and zero for recordings without noise.
    """
    batch, size = shape
    keys = mx.random.split(key, 6)
    transform = _quick_length(size)
    bins = transform // 2 + 1
    octaves = mx.log2(1 + mx.arange(bins) / (bins / 80))
    slope = mx.random.uniform(0.0, 7.0, (batch, 1), key=keys[0])  # dB lost with each octave
    centre = mx.random.uniform(1.0, 6.0, (batch, 1), key=keys[1])
    bump = mx.random.uniform(-12.0, 18.0, (batch, 1), key=keys[2]) * mx.exp(-mx.square(octaves - centre))
    gains = 10 ** ((bump - slope * octaves) / 20)
    parts = mx.random.normal((2, batch, bins), key=keys[3]) * gains
    noise = mx.fft.irfft(parts[0] + 1j * parts[1], n=transform)[:, :size]
    noise = noise / mx.sqrt(mx.square(noise).mean(axis=1, keepdims=True))
    snr = mx.random.uniform(*config.snr_db, (batch, 1), key=keys[4])
    used = mx.random.uniform(shape=(batch, 1), key=keys[5]) < config.noise
    return mx.where(used, noise * 10 ** (-snr / 20), 0)


def _add_babble(x: mx.array, rms: mx.array, voiced: mx.array, key: mx.array, config: AugmentConfig) -> mx.array:
    """Mix three other recordings of the batch behind some of the voices, never behind silence."""
    keys = mx.random.split(key, 2)
    others = (mx.roll(x, 1, axis=0) + mx.roll(x, 2, axis=0) + mx.roll(x, 3, axis=0)) * (3**-0.5)
    loudness = mx.sqrt(mx.square(others).mean(axis=1, keepdims=True))
    snr = mx.random.uniform(6.0, 25.0, rms.shape, key=keys[0])
    used = voiced & (mx.random.uniform(shape=rms.shape, key=keys[1]) < config.babble)
    return x + others * mx.where(used, rms / mx.maximum(loudness, 1e-4) * 10 ** (-snr / 20), 0)


def _quick_length(size: int) -> int:
    """Return the next even length without prime factors above 5, for a fast Fourier transform."""
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and size % 2 == 0:
            return size
        size += 1


def _set_level(x: mx.array, real: mx.array, key: mx.array, config: AugmentConfig) -> mx.array:
    wanted = mx.random.uniform(*config.level_db, (x.shape[0], 1), key=key)
    rms = _rms(x, real)
    return mx.where(real, mx.clip(x * (10 ** (wanted / 20) / mx.maximum(rms, 1e-4)), -1.0, 1.0), 0)


def _rms(x: mx.array, real: mx.array) -> mx.array:
    counted = mx.maximum(real.sum(axis=1, keepdims=True), 1)
    return mx.sqrt(mx.where(real, mx.square(x), 0).sum(axis=1, keepdims=True) / counted)
