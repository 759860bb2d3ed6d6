"""What fused kernels ask of the layers that they stand in for; this needs no GPU."""

import mlx.core as mx
import mlx.nn as nn
import pytest

from nanoasr.model.config import EncoderConfig
from nanoasr.model.cuda import Origin, readable
from nanoasr.model.sanm import Block

LINEAR, OTHERS = ("self_attn.linear_out", "feed_forward.w_1"), ("norm1",)


@pytest.fixture
def blocks() -> list[Block]:
    made = [Block(EncoderConfig(output_size=64, attention_heads=1, linear_units=64), 64) for _ in range(2)]
    for block in made:
        block.set_dtype(mx.bfloat16)
    return made


def test_another_array_is_noticed(blocks):
    origin = Origin(blocks, LINEAR + OTHERS)
    assert origin.unchanged
    blocks[1].norm1.bias = blocks[1].norm1.bias + 1
    assert not origin.unchanged


@pytest.mark.parametrize("name", ["w_1", "w_2"])
def test_another_module_in_a_parts_place_is_noticed_where_the_part_is_used(blocks, name):
    origin = Origin(blocks, LINEAR + OTHERS)
    blocks[0].feed_forward[name] = nn.QuantizedLinear.from_linear(blocks[0].feed_forward[name])
    assert origin.unchanged == (name == "w_2")


def test_quantized_products_and_other_types_are_not_readable(blocks):
    assert readable(blocks, LINEAR, OTHERS)
    blocks[1].norm1.set_dtype(mx.float32)
    assert not readable(blocks, LINEAR, OTHERS)
    blocks[1].norm1.set_dtype(mx.bfloat16)
    blocks[0].feed_forward.w_1 = nn.QuantizedLinear.from_linear(blocks[0].feed_forward.w_1)
    assert not readable(blocks, LINEAR, OTHERS)
