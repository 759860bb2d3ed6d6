"""What Linux CPUs compute in operations of our own is what MLX's operations give, gradients included."""

import mlx.core as mx
import numpy as np
import pytest

from nanoasr.model import cpu


def test_exponentials_are_right_to_a_millionth_down_to_the_least():
    x = mx.array(-np.abs(np.random.default_rng(0).normal(0, 20, 10_000)).astype(np.float32))
    wanted = np.exp(np.maximum(np.array(x, np.float64), -87))
    np.testing.assert_allclose(np.array(cpu.exp(x)), wanted, rtol=1e-6)
    assert cpu.exp(mx.array([0.0])).item() == 1
    assert 0 < cpu.exp(mx.array([-1e30])).item() < 1e-37


@pytest.mark.parametrize("padded", [False, True])
def test_attention_and_its_gradients_are_those_of_mlx(padded):
    rng = np.random.default_rng(1)
    q, k, v = (mx.array(rng.normal(0, 2, (2, 3, 17, 8)).astype(np.float32)) for _ in range(3))
    mask = mx.arange(17)[None, None, None] < mx.array([17, 9])[:, None, None, None] if padded else None

    def loss(way, *qkv):
        return (way(*qkv, scale=8**-0.5, mask=mask) ** 2).sum()

    for wanted, found in zip(
        mx.value_and_grad(lambda *x: loss(mx.fast.scaled_dot_product_attention, *x), (0, 1, 2))(q, k, v)[1],
        mx.value_and_grad(lambda *x: loss(cpu.attend, *x), (0, 1, 2))(q, k, v)[1],
        strict=True,
    ):
        np.testing.assert_allclose(np.array(found), np.array(wanted), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        np.array(cpu.attend(q, k, v, 8**-0.5, mask)),
        np.array(mx.fast.scaled_dot_product_attention(q, k, v, scale=8**-0.5, mask=mask)),
        atol=1e-5,
    )


@pytest.mark.parametrize("frames", [1, 4, 30])
def test_a_depthwise_convolution_is_that_of_mlx(frames):
    rng = np.random.default_rng(2)
    x, weight = (mx.array(rng.normal(size=size).astype(np.float32)) for size in ((2, frames, 6), (6, 11, 1)))
    wanted = mx.conv1d(x, weight, padding=5, groups=6)
    np.testing.assert_allclose(np.array(cpu.depthwise(x, weight[..., 0])), np.array(wanted), atol=1e-5)
