"""The front end against a plain statement of Kaldi's definition, and the references' numbers."""

import math

import mlx.core as mx
import numpy as np
import pytest
from places import PARITY

from nanoasr.audio.features import features, filterbank, frame_count, lfr, lfr_count, mel_matrix, read_cmvn
from nanoasr.errors import CheckpointError

EXPECTED = np.load(PARITY / "expected.npz")
AUDIO = EXPECTED["audio"]


def by_definition(samples: np.ndarray) -> np.ndarray:
    frames = []
    for start in range(0, len(samples) - 400 + 1, 160):
        x = samples[start : start + 400].astype(np.float64) * 32768
        x -= x.mean()
        x = x - 0.97 * np.concatenate([x[:1], x[:-1]])
        x *= 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
        power = np.abs(np.fft.rfft(x, 512)) ** 2
        frames.append(np.log(np.maximum(power @ mel_filters(), np.finfo(np.float32).eps)))
    return np.array(frames)


def mel_filters() -> np.ndarray:
    """Kaldi's triangles, bin by bin: evenly wide on the mel scale between 20 Hz and 8 kHz, Nyquist left out."""

    def mel(hz: float) -> float:
        return 1127 * math.log(1 + hz / 700)

    filters, width = np.zeros((257, 80)), (mel(8000) - mel(20)) / 81
    for band in range(80):
        left = mel(20) + band * width
        for i in range(256):
            distance = (mel(i * 16000 / 512) - left) / width
            filters[i, band] = max(0, min(distance, 2 - distance))
    return filters


@pytest.mark.parametrize("loudness", [1.0, 0.1, 1e-3, 1e-5])
def test_the_filterbank_is_kaldis(loudness):
    samples = np.random.default_rng(1).uniform(-loudness, loudness, 8000).astype(np.float32) + np.float32(loudness / 4)
    assert np.abs(np.array(filterbank(mx.array(samples))) - by_definition(samples)).max() < 1e-3


def test_the_mel_filters_are_kaldis():
    assert np.abs(mel_matrix() - mel_filters()).max() < 1e-6


def test_lfr_features_are_the_references():
    assert np.abs(np.array(features(mx.array(AUDIO))) - EXPECTED["features"]).max() < 1e-3


def test_lfr_stacks_seven_frames_every_six_and_repeats_the_edges():
    frames = mx.arange(8)[:, None] * mx.ones((1, 80))
    stacked = np.array(lfr(frames)).reshape(2, 7, 80)[:, :, 0]
    assert stacked.tolist() == [[0, 0, 0, 0, 1, 2, 3], [3, 4, 5, 6, 7, 7, 7]]


@pytest.mark.parametrize(("samples", "frames"), [(399, 0), (400, 1), (559, 1), (560, 2), (16000, 98)])
def test_only_whole_frames_count(samples, frames):
    assert frame_count(samples) == frames
    assert filterbank(mx.zeros(samples)).shape == (frames, 80)


def test_counts_hold_at_every_length():
    for samples in range(1600):
        frames = frame_count(samples)
        assert frames == len(range(0, samples - 399, 160))
        assert lfr_count(frames) == len(range(0, frames, 6))
    for samples in (400, 400 + 6 * 160 - 1, 400 + 6 * 160, 400 + 12 * 160 - 1, 400 + 12 * 160):
        assert features(mx.zeros(samples)).shape == (lfr_count(frame_count(samples)), 560)


def test_every_six_frames_make_one():
    assert [lfr_count(n) for n in (1, 6, 7, 12, 13)] == [1, 1, 2, 2, 3]


def test_a_padded_batch_gives_what_each_recording_gives_alone():
    lengths = [52800, 30000, 16111]
    batch = np.zeros((3, 52800), np.float32)
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = AUDIO[:length]
    together = np.array(features(mx.array(batch), mx.array(lengths)))
    for row, length in zip(together, lengths, strict=True):
        alone = np.array(features(mx.array(AUDIO[:length])))
        assert np.abs(row[: len(alone)] - alone).max() < 1e-4


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e-30])
def test_silence_and_constants_are_finite(value):
    found = np.array(features(mx.full(16000, value)))
    assert np.isfinite(found).all()
    assert np.allclose(found, np.log(np.finfo(np.float32).eps), atol=1e-4)


def test_a_row_too_short_for_one_frame_does_no_harm_in_a_batch():
    batch = np.stack([AUDIO[:8000], np.zeros(8000, np.float32)])
    found = np.array(features(mx.array(batch), mx.array([8000, 100])))
    assert np.isfinite(found).all()
    assert np.allclose(found[0], np.array(features(mx.array(AUDIO[:8000]))), atol=1e-4)


def test_cmvn_is_read_and_applied(tmp_path):
    path = tmp_path / "am.mvn"
    numbers = " ".join(["1.5"] * 560), " ".join(["2.0"] * 560)
    path.write_text(
        f"<Nnet> <Splice> 560 560 [ 0 ] <AddShift> 560 560 <LearnRateCoef> 0 [ {numbers[0]} ] "
        f"<Rescale> 560 560 <LearnRateCoef> 0 [ {numbers[1]} ] </Nnet>"
    )
    plain = np.array(features(mx.array(AUDIO)))
    changed = np.array(features(mx.array(AUDIO), cmvn=mx.array(read_cmvn(path))))
    assert np.allclose(changed, (plain + 1.5) * 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<Nnet> <AddShift> 3 3 <LearnRateCoef> 0 [ 1 2 3 ] <Rescale> 3 3 <LearnRateCoef> 0 [ 1 2 3 ] </Nnet>",
        "<AddShift> [ 1 2 ] <Rescale> [ 1 ]",
        "<AddShift> [ one ] <Rescale> [ two ]",
        f"<AddShift> [ {'nan ' * 560}] <Rescale> [ {'1 ' * 560}]",
        "<AddShift> " * 200_000,
        "\udcff",
    ],
    ids=["empty", "short", "uneven", "words", "nan", "huge", "bytes"],
)
def test_a_cmvn_file_that_is_none_is_refused(text, tmp_path):
    path = tmp_path / "am.mvn"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(CheckpointError, match=r"am\.mvn"):
        read_cmvn(path)
