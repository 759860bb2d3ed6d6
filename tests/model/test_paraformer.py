"""Integrate-and-fire, the LSTM and the hotword branch, against plain statements of what they compute."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from nanoasr.model.bicif import scale_and_integrate
from nanoasr.model.build import build
from nanoasr.model.cif import Predictor, fire
from nanoasr.model.config import (
    DecoderConfig,
    EncoderConfig,
    ParaformerConfig,
    PredictorConfig,
    SeacoConfig,
    SenseVoiceConfig,
    UpsampledConfig,
)
from nanoasr.model.lstm import LSTM
from nanoasr.model.sensevoice import SenseVoice, query_ids

ENCODER = EncoderConfig(output_size=32, attention_heads=2, linear_units=48, num_blocks=2, tp_blocks=1)
DECODER = DecoderConfig(size=32, attention_heads=2, linear_units=48, num_layers=2, self_layers=1)
SMALL = ParaformerConfig(
    encoder=replace(ENCODER, tp_blocks=0, tp_norm=False, norm_eps=1e-12),
    predictor=PredictorConfig(idim=32),
    decoder=DECODER,
    upsampled=UpsampledConfig(idim=32),
    seaco=SeacoConfig(replace(DECODER, self_layers=0, kernel_size=21), no_bias_id=20),
    vocab_size=24,
)


def fire_frame_by_frame(alphas: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row, as the paper describes it -> (running sums, embeddings)."""
    total, token, peaks, tokens = 0.0, np.zeros(hidden.shape[1]), [], []
    for alpha, frame in zip(alphas.astype(np.float64), hidden, strict=True):
        peaks.append(total + alpha)
        if total + alpha >= 1:
            tokens.append(token + (1 - total) * frame)
            total = total + alpha - 1
            token = total * frame
        else:
            total += alpha
            token = token + alpha * frame
    return np.array(peaks), np.array(tokens).reshape(-1, hidden.shape[1])


def test_tokens_are_the_weighted_frames_between_two_firings():
    random = np.random.default_rng(0)
    alphas, hidden = random.random((3, 50)).astype(np.float32), random.normal(size=(3, 50, 8))
    alphas[1] /= 3
    alphas[2] /= 1000  # nothing fires
    firing = fire(alphas)
    for row in range(3):
        peaks, tokens = fire_frame_by_frame(alphas[row], hidden[row])
        assert firing.counts[row] == len(tokens)
        assert np.allclose(firing.peaks[row], peaks, atol=1e-5)
        assert np.allclose((firing.shares[row] @ hidden[row])[: len(tokens)], tokens, atol=1e-5)
        assert not firing.shares[row, len(tokens) :].any()


def test_a_long_recording_fires_as_often_as_its_weights_say():
    firing = fire(np.full((1, 10_000), 0.1, np.float32))  # float32 sums would be off by a token
    assert firing.counts[0] == 1000


def test_no_frames_give_no_tokens():
    firing = fire(np.array([[0.45]], np.float32))
    assert firing.counts.tolist() == [0]
    assert firing.shares.shape == (1, 0, 1)


def test_the_tail_step_stands_after_each_rows_own_frames():
    predictor = Predictor(PredictorConfig(idim=8))
    alphas = np.array(predictor(mx.random.normal((2, 6, 8)), mx.array([6, 4])))
    assert alphas[0, 6] == alphas[1, 4] == np.float32(0.45)
    assert not alphas[1, 5:].any()


def test_upsampled_weights_sum_to_the_number_of_tokens():
    scaled, peaks = scale_and_integrate(np.random.default_rng(0).random((1, 90)).astype(np.float32), np.array([7]))
    assert scaled.sum() == pytest.approx(7, abs=1e-4)
    assert (peaks >= 1 - 1e-4).sum() == 7


def lstm_by_definition(x: np.ndarray, weights: dict[str, np.ndarray], suffix: str) -> np.ndarray:
    hidden = cell = np.zeros(weights[f"weight_hh_{suffix}"].shape[1])
    outputs = []
    for frame in x:
        gates = weights[f"weight_ih_{suffix}"] @ frame + weights[f"weight_hh_{suffix}"] @ hidden
        i, f, g, o = np.split(gates + weights[f"bias_ih_{suffix}"] + weights[f"bias_hh_{suffix}"], 4)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        cell = f * cell + i * np.tanh(g)
        hidden = o * np.tanh(cell)
        outputs.append(hidden)
    return np.array(outputs)


def test_an_lstm_reads_each_row_in_both_directions_without_its_padding():
    lstm, random = LSTM(6, 5, layers=2, bidirectional=True), np.random.default_rng(1)
    weights = {name: random.normal(size=value.shape).astype(np.float32) for name, value in lstm.parameters().items()}
    lstm.update({name: mx.array(value) for name, value in weights.items()})
    x = random.normal(size=(2, 7, 6)).astype(np.float32)
    found = np.array(lstm(mx.array(x), mx.array([7, 4])))
    for row, steps in enumerate((7, 4)):
        y = x[row, :steps]
        for layer in range(2):
            backwards = lstm_by_definition(y[::-1], weights, f"l{layer}_reverse")[::-1]
            y = np.concatenate([lstm_by_definition(y, weights, f"l{layer}"), backwards], axis=1)
        assert np.allclose(found[row, :steps], y, atol=1e-5)


def is_close(found: mx.array | np.ndarray, expected: mx.array | np.ndarray) -> bool:
    found, expected = np.array(found), np.array(expected)
    return found.shape == expected.shape and np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def noisy_batch(lengths: list[int]) -> mx.array:
    """Rows of unequal length, with large values in the padding."""
    x = mx.random.normal((len(lengths), max(lengths), 560), key=mx.random.key(0))
    return mx.where(mx.arange(max(lengths))[:, None] < mx.array(lengths)[:, None, None], x, 1e3)


def test_a_padded_batch_of_sensevoice_equals_its_rows_alone():
    model, lengths = SenseVoice(SenseVoiceConfig(ENCODER, 30)), [40, 25, 9]
    model.eval()
    x, queries = noisy_batch(lengths), mx.array(query_ids("en", True))
    together = model.ctc_logprobs(model.encode(x, queries, mx.array(lengths)))
    for row, frames in enumerate(lengths):
        alone = model.ctc_logprobs(model.encode(x[row : row + 1, :frames], queries))
        assert is_close(together[row, : frames + 4], alone[0])


@pytest.mark.parametrize("hotwords", [[], [[3, 4], [5], [6, 7, 8]], [[i % 20] for i in range(70)]])
def test_a_padded_batch_of_paraformer_equals_its_rows_alone(hotwords):
    mx.random.seed(3)
    model, lengths = build(SMALL), [40, 25, 9]
    model.eval()
    x, sizes = noisy_batch(lengths), mx.array(lengths)
    encoded = model.encode(x, sizes)
    alphas, firing, acoustic = model.integrate(encoded, sizes)
    logprobs = model.decode(encoded, sizes, acoustic, mx.array(firing.counts), hotwords)
    up_alphas, up_peaks = model.upsampled(encoded, sizes, firing.counts)
    for row, frames in enumerate(lengths):
        alone = model.encode(x[row : row + 1, :frames])
        own_alphas, own_firing, own_acoustic = model.integrate(alone)
        count = own_firing.counts[0]
        assert firing.counts[row] == count > 0
        assert is_close(alphas[row, : frames + 1], own_alphas[0])
        assert is_close(acoustic[row, :count], own_acoustic[0])
        own_logprobs = model.decode(alone, None, own_acoustic, None, hotwords)
        assert is_close(logprobs[row, :count], own_logprobs[0])
        own_up_alphas, own_up_peaks = model.upsampled(alone, None, own_firing.counts)
        assert is_close(up_alphas[row, : 3 * frames], own_up_alphas[0])
        assert is_close(up_peaks[row, : 3 * frames], own_up_peaks[0])
