"""The network: batches equal singles, caches equal recomputation, sizes come from the config."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from places import PARITY

from nanoasr.audio.features import features, frame_count, lfr_count
from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.model.config import AdaptorConfig, CTCConfig, EncoderConfig, LLMConfig, ModelConfig
from nanoasr.model.nano import Nano
from nanoasr.model.qwen3 import Cache

AUDIO = np.load(PARITY / "expected.npz")["audio"]
LENGTHS = [52800, 31000, 17000]
SMALL = ModelConfig(
    encoder=EncoderConfig(output_size=32, attention_heads=2, linear_units=48, num_blocks=2, tp_blocks=1),
    adaptor=AdaptorConfig(encoder_dim=32, ffn_dim=40, llm_dim=48, n_layer=1, attention_heads=4),
    llm=LLMConfig(64, 48, 80, 2, 4, 2, 16),
    ctc=CTCConfig(AdaptorConfig(encoder_dim=32, ffn_dim=40, llm_dim=32, n_layer=1, attention_heads=4), 20, 19),
)


@pytest.fixture(scope="module")
def parity() -> Nano:
    return load_checkpoint(PARITY / "official", dtype="float32").model


def outputs(model: Nano, batch: np.ndarray, lengths: list[int] | None) -> list[np.ndarray]:
    counts = None if lengths is None else mx.array(lengths)
    frames = None if lengths is None else mx.array([lfr_count(frame_count(n)) for n in lengths])
    encoded = model.encode(features(mx.array(batch), counts), frames)
    stages = encoded, model.adapt(encoded, frames), model.ctc_logprobs(encoded, frames)
    return [np.array(stage) for stage in stages]


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_a_padded_batch_gives_what_each_recording_gives_alone(parity, rate):
    model = parity
    if rate > 1:
        mx.random.seed(0)
        model = Nano(replace(SMALL, adaptor=replace(SMALL.adaptor, downsample_rate=rate)))
    batch = np.zeros((3, max(LENGTHS)), np.float32)
    for row, length in zip(batch, LENGTHS, strict=True):
        row[:length] = AUDIO[:length]
    together = outputs(model, batch, LENGTHS)
    for i, length in enumerate(LENGTHS):
        for stage, single in zip(together, outputs(model, AUDIO[None, :length], None), strict=True):
            scale = np.abs(single).max()
            assert np.abs(stage[i, : single.shape[1]] - single[0]).max() < 1e-4 * scale


@pytest.mark.parametrize(("frames", "low"), [(1, 1), (8, 1), (9, 2), (55, 7), (167, 21)])
def test_an_eighth_of_the_frames_is_heard_at_the_low_rate(frames, low):
    assert Nano(SMALL).audio_token_count(frames) == low
    assert Nano(replace(SMALL, audio_tokens="full")).audio_token_count(frames) == frames


def test_steps_with_a_cache_give_what_one_pass_gives(parity):
    x = mx.random.normal((2, 300, 96), key=mx.random.key(1))
    whole = np.array(parity.llm(x))
    cache = Cache(parity.config.llm)
    parts = [parity.llm(x[:, :40], cache)] + [parity.llm(x[:, i : i + 1], cache) for i in range(40, 300)]
    assert np.abs(np.array(mx.concatenate(parts, axis=1)) - whole).max() < 1e-3
    cache.drop_last([200, 200])
    again = np.array(parity.llm(x[:, 100:105], cache))
    assert np.abs(again - whole[:, 100:105]).max() < 1e-3


def test_rows_join_leave_and_go_on_as_if_alone(parity):
    llm, config = parity.llm, parity.config.llm
    x = mx.random.normal((3, 30, 96), key=mx.random.key(2))
    first, second = Cache(config), Cache(config)
    llm(x[:2, :20], first)
    llm(x[2:, :7], second)
    first.join(second)
    step = mx.concatenate([x[:2, 20:21], x[2:, 7:8]])
    states = np.array(llm(step, first))
    first.keep_rows([2])
    assert first.length == 8
    last = np.array(llm(x[2:, 8:9], first))
    for row, end in ((0, 21), (1, 21), (2, 8)):
        alone = np.array(llm(x[row : row + 1, :end]))
        assert np.abs(states[row, 0] - alone[0, -1]).max() < 1e-4
    assert np.abs(last[0, 0] - np.array(llm(x[2:, :9]))[0, -1]).max() < 1e-4


@pytest.mark.parametrize("tied", [True, False])
def test_sizes_come_from_the_config(tied):
    model = Nano(replace(SMALL, llm=replace(SMALL.llm, tie_word_embeddings=tied)))
    encoded = model.encode(mx.zeros((1, 9, 560)))
    assert encoded.shape == (1, 9, 32)
    assert model.adapt(encoded).shape == (1, 9, 48)
    assert model.ctc_logprobs(encoded).shape == (1, 9, 20)
    assert model.llm.logits(model.llm(model.llm.embed(mx.array([[1, 2]])))).shape == (1, 2, 64)
