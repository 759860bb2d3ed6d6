"""Few bits for each weight: which tensors, how far off, and what comes of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import SMALL, SMALL_CTC, random_tensors, write_checkpoint
from mlx.utils import tree_flatten
from places import PARITY

import nanoasr
from nanoasr.checkpoint.layouts import read_layout
from nanoasr.checkpoint.load import assemble, load_checkpoint
from nanoasr.checkpoint.quantize import PRESETS, Packed, Quantization, parse_quantization
from nanoasr.errors import CheckpointError, OptionError

EXPECTED = np.load(PARITY / "expected.npz")


def parameters(folder: Path, **options) -> dict[str, mx.array]:
    return dict(tree_flatten(load_checkpoint(folder, **{"dtype": "float32"} | options).model.parameters()))


def rewrite(folder: Path, changed: dict[str, mx.array]) -> None:
    path = str(folder / "model.safetensors")
    mx.save_safetensors(path, {name: mx.array(np.array(x)) for name, x in mx.load(path).items()} | changed)


@pytest.mark.parametrize("rate", ["low", "full"])
@pytest.mark.parametrize("case", ["plain", "english_hotwords_no_itn"])
@pytest.mark.parametrize("parts", [("llm",), ("encoder", "adaptor", "llm")])
def test_eight_bits_agree_with_float_on_the_likeliest_token(rate, case, parts):
    asr = nanoasr.load(PARITY / "official", quantize=Quantization(8, 32, parts), dtype="float32", audio_tokens=rate)
    asked = {} if case == "plain" else {"language": "en", "hotwords": ["MLX", "开放时间"], "itn": False}
    logits = np.array(asr.inspect(EXPECTED["audio"], **asked).first_logits.astype(mx.float32))
    assert logits.argmax() == EXPECTED[f"{case}.{rate}.first_logits"].argmax()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group_size", [32, 64, 128])
def test_no_weight_is_further_off_than_a_step(bits, group_size):
    matrix = mx.random.normal((6, 256), key=mx.random.key(0))
    groups = matrix.reshape(6, -1, group_size)
    step = (groups.max(-1, keepdims=True) - groups.min(-1, keepdims=True)) / (2**bits - 1)
    found = Packed.pack(matrix, group_size, bits).expand(mx.float32).reshape(groups.shape)
    assert mx.all(mx.abs(found - groups) <= 1.1 * step).item()  # MLX moves the steps so that one of them is zero
    assert (mx.abs(found - groups).mean() < 0.3 * step.mean()).item()


def test_presets_say_in_their_names_what_they_do():
    assert parse_quantization(None) is None
    assert {name: parse_quantization(name) for name in PRESETS} == {
        "llm-8bit": Quantization(8, 64, ("llm",), embeddings=True),
        "llm-4bit": Quantization(4, 64, ("llm",), embeddings=True),
        "all-8bit": Quantization(8, 64, ("encoder", "adaptor", "llm"), embeddings=True),
        "all-4bit": Quantization(4, 64, ("encoder", "adaptor", "llm"), embeddings=True),
    }
    assert parse_quantization(Quantization(8)) == Quantization(8)


@pytest.mark.parametrize(
    ("quantization", "name", "shape", "group_size"),
    [
        (Quantization(4, 64), "llm.model.layers.0.mlp.down_proj.weight", (64, 128), 64),
        (Quantization(4, 64), "llm.model.layers.0.mlp.down_proj.weight", (64, 96), 32),
        (Quantization(4, 64), "llm.model.layers.0.mlp.down_proj.weight", (64, 40), None),
        (Quantization(4, 128), "audio_encoder.encoders0.0.self_attn.linear_q_k_v.weight", (96, 560), None),
        (Quantization(4, 64), "audio_encoder.encoders.0.self_attn.fsmn_block.weight", (64, 11, 1), None),
        (Quantization(4, 64), "audio_encoder.encoders.0.self_attn.linear_out.bias", (64,), None),
        (Quantization(4, 64), "llm.model.norm.weight", (64,), None),
        (Quantization(4, 64), "llm.model.embed_tokens.weight", (420, 64), 64),
        (Quantization(4, 64, embeddings=False), "llm.model.embed_tokens.weight", (420, 64), None),
        (Quantization(4, 64, embeddings=False), "llm.lm_head.weight", (420, 64), None),
        (Quantization(4, 64, ("llm",)), "audio_adaptor.linear1.weight", (64, 64), None),
        (Quantization(4, 64, ("adaptor",)), "audio_adaptor.linear1.weight", (64, 64), 64),
        (Quantization(4, 64, ("adaptor",)), "llm.model.embed_tokens.weight", (420, 64), None),
        (Quantization(4, 64, ("encoder",)), "ctc.ctc_lo.weight", (50, 64), 64),
        (Quantization(4, 64, ("encoder",)), "ctc_decoder.linear1.weight", (50, 64), 64),
    ],
)
def test_which_tensors_are_quantized_and_in_what_groups(quantization, name, shape, group_size):
    assert quantization.group_for(name, shape) == group_size


@pytest.mark.parametrize(
    "wrong", [{"bits": 3}, {"bits": "8"}, {"group_size": 10}, {"parts": ("head",)}, {"parts": ()}], ids=str
)
def test_quantizations_that_cannot_be_are_refused(wrong):
    with pytest.raises(OptionError):
        Quantization(**wrong)


def test_an_unknown_preset_lists_those_that_there_are():
    with pytest.raises(OptionError, match="llm-8bit, llm-4bit, all-8bit, all-4bit"):
        nanoasr.load(PARITY / "official", quantize="4bit")


def test_a_checkpoint_computes_with_the_values_that_its_integers_stand_for(tmp_path):
    config = replace(SMALL, ctc=SMALL_CTC)
    folder = write_checkpoint(tmp_path / "c", "official", config)
    quantization = Quantization(4, 32)
    plain, packed = parameters(folder), parameters(folder, quantize=quantization)
    changed = 0
    for name, expected in plain.items():
        group_size = quantization.group_for(name, expected.shape)
        if group_size:
            expected = Packed.pack(expected, group_size, 4).expand(mx.float32)
            changed += 1
        if name in packed and packed[name].dtype == mx.float32 and packed[name].shape == expected.shape:
            assert mx.array_equal(packed[name], expected)
    assert changed > 20


@pytest.mark.parametrize("quantize", ["llm-8bit", "all-4bit", Quantization(4, 32, ("adaptor",), embeddings=False)])
def test_it_makes_no_difference_whether_loading_or_converting_quantizes(quantize, tmp_path):
    folder = write_checkpoint(tmp_path / "c", "official", SMALL)
    loaded = parameters(folder, quantize=quantize)
    converted = parameters(nanoasr.convert(folder, tmp_path / "out", quantize=quantize))
    assert loaded.keys() == converted.keys()
    assert all(mx.array_equal(loaded[name], converted[name]) for name in loaded)


def eight_bits(tmp_path) -> Path:
    return nanoasr.convert(write_checkpoint(tmp_path / "c", "official", SMALL), tmp_path / "eight", Quantization(8, 32))


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_what_is_stored_in_more_bits_is_made_anew_from_the_values_that_those_stand_for(dtype, tmp_path):
    wish = Quantization(4, 64, ("llm",))
    folder = eight_bits(tmp_path)
    stored = dict(assemble(read_layout(folder))[1])
    found = dict(assemble(read_layout(nanoasr.convert(folder, tmp_path / "four", quantize=wish, dtype=dtype)))[1])
    made = 0
    for name, before in stored.items():
        if name.startswith("llm.") and isinstance(before, Packed):
            matrix = before.expand(mx.bfloat16 if dtype else before.scales.dtype)
            expected = Packed.pack(matrix, found[name].group_size, 4)
            assert mx.array_equal(found[name].expand(mx.float32), expected.expand(mx.float32))
            made += 1
        elif isinstance(before, Packed):
            assert found[name].bits == 8 and mx.array_equal(found[name].weight, before.weight)
    assert made > 5


def test_loading_and_converting_make_the_same_of_a_quantized_checkpoint(tmp_path):
    folder = eight_bits(tmp_path)
    loaded = parameters(folder, quantize="llm-4bit")
    converted = parameters(nanoasr.convert(folder, tmp_path / "four", quantize="llm-4bit"))
    before = parameters(folder)
    assert all(mx.array_equal(loaded[name], converted[name]) for name in loaded)
    assert any(not mx.array_equal(loaded[name], before[name]) for name in loaded)


def test_what_is_stored_in_as_few_bits_stays_as_it_is(tmp_path):
    folder = eight_bits(tmp_path)
    before, four = parameters(folder), nanoasr.convert(folder, tmp_path / "four", quantize="all-4bit")
    again = parameters(folder, quantize="all-8bit")
    assert all(mx.array_equal(again[name], before[name]) for name in before)
    assert load_checkpoint(four, quantize="llm-8bit").precision == load_checkpoint(four).precision


def test_the_precision_tells_what_few_bits_were_made_from(tmp_path):
    folder = eight_bits(tmp_path)
    assert load_checkpoint(folder, quantize="llm-4bit").precision.startswith("stored as 4-bit made from 8-bit, 8-bit, ")
    assert "made from" not in load_checkpoint(folder).precision


@pytest.mark.parametrize("bits", [2, 3, 5, 6])
def test_other_numbers_of_bits_that_others_wrote_load(bits, tmp_path):
    folder = write_checkpoint(tmp_path / "c", "mlx_audio_plus", SMALL)
    name, matrix = "llm.model.layers.0.self_attn.o_proj", mx.random.normal((64, 64), key=mx.random.key(0))
    packed = Packed.pack(matrix, 32, bits)
    rewrite(folder, {f"{name}.weight": packed.weight, f"{name}.scales": packed.scales, f"{name}.biases": packed.biases})
    found = dict(assemble(read_layout(folder))[1])[f"{name}.weight"]
    assert (found.bits, found.group_size) == (bits, 32)
    assert mx.array_equal(found.expand(mx.float32), packed.expand(mx.float32))


def test_parts_of_one_product_may_have_different_numbers_of_bits(tmp_path):
    folder = write_checkpoint(tmp_path / "c", "mlx_audio", SMALL)
    stem, matrices = "llm.model.layers.0.self_attn", random_tensors(SMALL)
    changed, expected = {}, []
    for part, bits in (("q", 4), ("k", 8), ("v", None)):
        name = f"{stem}.{part}_proj"
        matrix = mx.array(matrices[f"{name}.weight"])
        expected.append(Packed.pack(matrix, 32, bits).expand(mx.float32) if bits else matrix)
        if bits:
            packed = Packed.pack(matrix, 32, bits)
            changed |= {f"{name}.{kind}": getattr(packed, kind) for kind in ("weight", "scales", "biases")}
    rewrite(folder, changed)
    assert mx.array_equal(parameters(folder)[f"{stem}.qkv_proj.weight"], mx.concatenate(expected))


@pytest.mark.parametrize("wrong", ["scales_missing", "biases_missing", "short_scales", "group", "integers", "bits"])
def test_quantized_tensors_that_do_not_fit_are_named(wrong, tmp_path):
    folder = nanoasr.convert(write_checkpoint(tmp_path / "c", "mlx_audio", SMALL), tmp_path / "q", "llm-8bit")
    name = "llm.model.layers.0.self_attn.o_proj"
    arrays = {key: np.array(x) for key, x in mx.load(str(folder / "model.safetensors")).items()}
    if wrong == "scales_missing":
        del arrays[f"{name}.scales"]
    elif wrong == "biases_missing":
        del arrays[f"{name}.biases"]
    elif wrong == "short_scales":
        arrays[f"{name}.scales"] = arrays[f"{name}.scales"][1:]
    elif wrong == "group":
        arrays[f"{name}.scales"] = arrays[f"{name}.biases"] = np.zeros((64, 16), np.float32)
    elif wrong == "integers":
        arrays[f"{name}.weight"] = arrays[f"{name}.weight"].astype(np.int64)
    else:
        arrays[f"{name}.weight"] = np.zeros((64, 14), np.uint32)
    mx.save_safetensors(str(folder / "model.safetensors"), {key: mx.array(x) for key, x in arrays.items()})
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)


def test_an_info_says_how_weights_are_stored(tmp_path):
    folder = nanoasr.convert(PARITY / "official", tmp_path / "out", quantize=Quantization(4, 32))
    assert load_checkpoint(folder).precision.startswith("stored as 4-bit, float32, computed in ")
    shutil.rmtree(folder)
    assert load_checkpoint(PARITY / "official", quantize="llm-8bit").precision.startswith("stored as 8-bit, float32")
