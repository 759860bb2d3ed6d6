"""The encoder and the adaptor against a plain statement in numpy of what they compute."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import SMALL, random_tensors, write_checkpoint

from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.model.config import ModelConfig
from nanoasr.model.nano import Nano
from nanoasr.model.sanm import positions

WIDER = replace(
    SMALL,
    encoder=replace(SMALL.encoder, output_size=48, attention_heads=3, num_blocks=3, tp_blocks=2, kernel_size=5),
    adaptor=replace(SMALL.adaptor, encoder_dim=48, n_layer=2, downsample_rate=3),
)
AS_WIDE_AS_ITS_INPUT = replace(
    SMALL,
    encoder=replace(SMALL.encoder, output_size=560, attention_heads=4, num_blocks=1, tp_blocks=0),
    adaptor=replace(SMALL.adaptor, encoder_dim=560, n_layer=0),
)


class ByDefinition:
    """One recording through the encoder and the adaptor, in float64."""

    def __init__(self, config: ModelConfig, tensors: dict[str, np.ndarray]):
        self.config, self.tensors = config, {name: x.astype(np.float64) for name, x in tensors.items()}

    def encode(self, x: np.ndarray) -> np.ndarray:
        encoder = self.config.encoder
        rates = 10000.0 ** (-np.arange(280) / 279)
        angles = np.arange(1, len(x) + 1)[:, None] * rates
        x = x * encoder.output_size**0.5 + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        x = self.block("audio_encoder.encoders0.0", x)
        for i in range(encoder.num_blocks - 1):
            x = self.block(f"audio_encoder.encoders.{i}", x)
        x = self.norm("audio_encoder.after_norm", x)
        for i in range(encoder.tp_blocks):
            x = self.block(f"audio_encoder.tp_encoders.{i}", x)
        return self.norm("audio_encoder.tp_norm", x)

    def adapt(self, x: np.ndarray) -> np.ndarray:
        adaptor = self.config.adaptor
        x = np.concatenate([x, np.zeros((-len(x) % adaptor.downsample_rate, x.shape[1]))])
        x = x.reshape(-1, adaptor.downsample_rate * adaptor.encoder_dim)
        x = self.two_layers("audio_adaptor.linear1", "audio_adaptor.linear2", x)
        for i in range(adaptor.n_layer):
            name = f"audio_adaptor.blocks.{i}"
            y = self.norm(f"{name}.norm1", x, 1e-12)
            q, k, v = (self.linear(f"{name}.self_attn.linear_{part}", y) for part in "qkv")
            x = x + self.linear(f"{name}.self_attn.linear_out", attention(q, k, v, adaptor.attention_heads))
            x = x + self.feed_forward(name, self.norm(f"{name}.norm2", x, 1e-12))
        return x

    def block(self, name: str, x: np.ndarray) -> np.ndarray:
        y = self.norm(f"{name}.norm1", x)
        q, k, v = np.split(self.linear(f"{name}.self_attn.linear_q_k_v", y), 3, axis=1)
        y = self.linear(f"{name}.self_attn.linear_out", attention(q, k, v, self.config.encoder.attention_heads))
        y = y + v + self.memory(self.tensors[f"{name}.self_attn.fsmn_block.weight"][:, 0], v)
        x = x + y if x.shape == y.shape else y
        return x + self.feed_forward(name, self.norm(f"{name}.norm2", x))

    def memory(self, kernels: np.ndarray, v: np.ndarray) -> np.ndarray:
        padded = np.pad(v, [(kernels.shape[1] // 2,) * 2, (0, 0)])
        return sum(padded[i : i + len(v)] * kernels[:, i] for i in range(kernels.shape[1]))

    def feed_forward(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.two_layers(f"{name}.feed_forward.w_1", f"{name}.feed_forward.w_2", x)

    def two_layers(self, first: str, second: str, x: np.ndarray) -> np.ndarray:
        return self.linear(second, np.maximum(self.linear(first, x), 0))

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, name: str, x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps)
        return x * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int) -> np.ndarray:
    mixed = []
    for q1, k1, v1 in zip(*(np.split(x, heads, axis=1) for x in (q, k, v)), strict=True):
        weights = np.exp(q1 @ k1.T / q1.shape[1] ** 0.5)
        mixed.append(weights / weights.sum(1, keepdims=True) @ v1)
    return np.concatenate(mixed, axis=1)


def is_close(found: mx.array, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and np.abs(np.array(found) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("config", [SMALL, WIDER, AS_WIDE_AS_ITS_INPUT], ids=["small", "wider", "as_wide_as_its_input"])
@pytest.mark.parametrize("frames", [1, 7, 40])
def test_encoder_and_adaptor_compute_what_they_are_defined_to(config, frames, tmp_path):
    tensors = random_tensors(config)
    model = load_checkpoint(write_checkpoint(tmp_path / "c", "official", config, tensors), dtype="float32").model
    features = np.random.default_rng(1).normal(8, 3, (frames, 560)).astype(np.float32)
    definition = ByDefinition(config, tensors)
    encoded = definition.encode(features)
    found = model.encode(mx.array(features)[None])
    assert is_close(found[0], encoded)
    assert is_close(model.adapt(found)[0], definition.adapt(encoded))


def test_positions_count_from_one():
    assert np.allclose(np.array(positions(2, 4))[0], [np.sin(1), np.sin(1e-4), np.cos(1), np.cos(1e-4)], atol=1e-6)


def test_what_stands_in_the_padding_makes_no_difference():
    model = Nano(replace(SMALL, adaptor=replace(SMALL.adaptor, downsample_rate=2)))
    x, lengths = mx.random.normal((2, 9, 560), key=mx.random.key(0)), mx.array([9, 5])
    noisy = mx.where((mx.arange(9)[:, None] < lengths[:, None, None]), x, 1e3)
    for stage, frames in ((model.encode, (9, 5)), (lambda f, n: model.adapt(model.encode(f, n), n), (5, 3))):
        clean, dirty = np.array(stage(x, lengths)), np.array(stage(noisy, lengths))
        for row, count in enumerate(frames):
            assert np.allclose(clean[row, :count], dirty[row, :count], atol=1e-5)


@pytest.mark.parametrize(("rate", "frames"), [(1, [1, 2, 3, 4, 5]), (2, [1, 1, 2, 2, 3]), (3, [1, 1, 1, 2, 2])])
def test_the_adaptor_makes_one_frame_of_as_many_as_it_stacks(rate, frames):
    model = Nano(replace(SMALL, adaptor=replace(SMALL.adaptor, downsample_rate=rate), audio_tokens="full"))
    for count, expected in enumerate(frames, start=1):
        assert model.adapt(mx.zeros((1, count, 32))).shape[1] == expected == model.audio_token_count(count)
