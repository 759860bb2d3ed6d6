"""SAN-M blocks as one kernel, against the blocks themselves. The kernel needs an NVIDIA GPU."""

from dataclasses import replace

import mlx.core as mx
import pytest
from nearness import differs

from nanoasr import backend
from nanoasr.model import fused_encoder
from nanoasr.model.config import EncoderConfig
from nanoasr.model.sanm import Encoder

FULL = EncoderConfig(num_blocks=4, tp_blocks=2)
BUNDLED = replace(FULL, output_size=320, attention_heads=5, linear_units=1280)
on_cuda = pytest.mark.skipif(not backend.on_cuda, reason="no NVIDIA GPU")


def an_encoder(config: EncoderConfig, dtype: mx.Dtype = mx.bfloat16) -> Encoder:
    mx.random.seed(1)
    encoder = Encoder(config)
    for block in encoder.encoders + encoder.tp_encoders:
        for norm in (block.norm1, block.norm2):
            norm.weight = mx.random.uniform(0.5, 1.5, norm.weight.shape)
            norm.bias = mx.random.uniform(-0.5, 0.5, norm.bias.shape)
    encoder.set_dtype(dtype)
    encoder.eval()
    return encoder


def features(frames: int) -> mx.array:
    return mx.random.normal((1, frames, 560), key=mx.random.key(frames))


@on_cuda
@pytest.mark.parametrize("config", [FULL, BUNDLED], ids=["full", "bundled"])
@pytest.mark.parametrize("frames", [1, 7, 16, 33, 167, fused_encoder.MOST_FRAMES, fused_encoder.MOST_FRAMES + 1])
def test_recordings_of_any_length_give_what_the_blocks_give(config, frames):
    encoder, x = an_encoder(config), features(frames)
    expected = encoder(x, mx.ones((1, frames), dtype=mx.bool_))
    assert differs(encoder(x), expected) < 0.05
    assert fused_encoder.fits(config, encoder.encoders)


@on_cuda
def test_new_weights_are_noticed():
    encoder, x = an_encoder(FULL), features(50)
    before = encoder(x)
    encoder.encoders[2].feed_forward.w_1.bias = 3 + encoder.encoders[2].feed_forward.w_1.bias
    assert differs(encoder(x), encoder(x, mx.ones((1, 50), dtype=mx.bool_))) < 0.05
    assert differs(encoder(x), before) > 0.1


@on_cuda
def test_it_does_not_take_what_it_cannot_read():
    assert not fused_encoder.fits(FULL, an_encoder(FULL, mx.float32).encoders)
    assert not fused_encoder.fits(replace(FULL, output_size=96), [])


def test_without_an_nvidia_gpu_it_is_not_used():
    if not backend.on_cuda:
        assert not fused_encoder.fits(FULL, an_encoder(FULL).encoders)


@on_cuda
def test_kernels_that_do_not_need_each_other_run_one_after_the_other():
    """Two at once would each wait for multiprocessors that the other holds."""
    encoders = [an_encoder(FULL), an_encoder(BUNDLED), an_encoder(FULL)]
    outputs = [
        encoder(features(frames)) for _ in range(5) for encoder, frames in zip(encoders, (50, 300, 9), strict=True)
    ]
    mx.eval(outputs)
    for first, later in zip(outputs, outputs[3:], strict=False):
        assert differs(first, later) == 0
