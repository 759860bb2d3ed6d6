"""The front end against a plain statement of Kaldi's definition, and the references' numbers."""

import mlx.core as mx
import numpy as np
import pytest
from conftest import PARITY

from nanoasr.errors import CheckpointError
from nanoasr.features import features, filterbank, frame_count, lfr, lfr_count, mel_matrix, read_cmvn

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
        frames.append(np.log(np.maximum(power @ mel_matrix().astype(np.float64), np.finfo(np.float32).eps)))
    return np.array(frames)


def test_the_filterbank_is_kaldis():
    samples = (np.random.default_rng(1).normal(0, 0.1, 8000)).astype(np.float32)
    assert np.abs(np.array(filterbank(mx.array(samples))) - by_definition(samples)).max() < 1e-3


def test_lfr_features_are_the_references():
    assert np.abs(np.array(features(mx.array(AUDIO))) - EXPECTED["features"]).max() < 1e-3


def test_lfr_stacks_seven_frames_every_six_and_repeats_the_edges():
    frames = mx.arange(8)[:, None] * mx.ones((1, 80))
    stacked = np.array(lfr(frames)).reshape(2, 7, 80)[:, :, 0]
    assert stacked.tolist() == [[0, 0, 0, 0, 1, 2, 3], [3, 4, 5, 6, 7, 7, 7]]


@pytest.mark.parametrize(("samples", "frames"), [(399, 0), (400, 1), (559, 1), (560, 2), (16000, 98)])
def test_only_whole_frames_count(samples, frames):
    assert frame_count(samples) == frames
    assert filterbank(mx.zeros(max(samples, 400))).shape[0] == max(frames, 1)


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


def test_silence_is_finite():
    assert np.isfinite(np.array(features(mx.zeros(16000)))).all()


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
    path.write_text("<Nnet> <LearnRateCoef> 0 [ 1 2 3 ] </Nnet>")
    with pytest.raises(CheckpointError, match="560"):
        read_cmvn(path)
