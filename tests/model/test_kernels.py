"""The kernels for a single token, against the layer that they stand in for. They need an NVIDIA GPU."""

import mlx.core as mx
import pytest
from nearness import differs

from nanoasr import backend
from nanoasr.model import kernels
from nanoasr.model.config import LLMConfig
from nanoasr.model.qwen3 import Cache, Layer, Qwen3

CONFIG = LLMConfig(vocab_size=300, num_hidden_layers=2)
on_cuda = pytest.mark.skipif(not backend.on_cuda, reason="no NVIDIA GPU")


def a_layer(dtype: mx.Dtype) -> Layer:
    mx.random.seed(1)
    layer = Layer(CONFIG)
    for norm in (layer.input_layernorm, layer.self_attn.q_norm, layer.self_attn.k_norm, layer.post_attention_layernorm):
        norm.weight = mx.random.uniform(0.5, 1.5, norm.weight.shape)
    layer.set_dtype(dtype)
    layer.eval()
    return layer


@on_cuda
@pytest.mark.parametrize(("dtype", "most"), [(mx.float32, 1e-5), (mx.bfloat16, 0.02), (mx.float16, 0.005)])
def test_they_compute_what_the_layer_computes(dtype, most):
    layer = a_layer(dtype)
    x = mx.random.normal((1, 1, CONFIG.hidden_size)).astype(dtype)
    mixed = mx.random.normal((1, CONFIG.num_attention_heads, 1, CONFIG.head_dim)).astype(dtype)
    assert kernels.fit(layer)
    scale = layer.self_attn.qk_scale()
    for ours, theirs in zip(
        kernels.before_attention(layer, x, scale, mx.array(1234)),
        layer.before_attention(x, scale, 1234),
        strict=True,
    ):
        assert ours.shape == theirs.shape
        assert differs(ours, theirs) < most
    assert differs(kernels.after_attention(layer, x, mixed), layer.after_attention(x, mixed)) < most


@on_cuda
def test_they_do_not_take_what_they_cannot_read():
    layer = a_layer(mx.float32)
    layer.mlp.down_proj = layer.mlp.down_proj.to_quantized(bits=8)
    assert not kernels.fit(layer)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_step_of_any_width_goes_on_as_one_pass_over_all_would(rows):
    mx.random.seed(2)
    llm = Qwen3(CONFIG)
    llm.eval()
    x = 0.1 * mx.random.normal((rows, 6, CONFIG.hidden_size))
    cache = Cache(CONFIG)
    steps = [llm(x[:, :2], cache), *(llm(x[:, i : i + 1], cache) for i in range(2, 6))]
    assert differs(mx.concatenate(steps, axis=1), llm(x)) < 1e-4


def test_without_an_nvidia_gpu_they_are_not_used():
    if backend.on_cpu:
        assert not kernels.fit(a_layer(mx.float32))
