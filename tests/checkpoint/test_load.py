"""Four layouts, wrong files, quantization, conversion."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from conftest import PARITY
from mlx.utils import tree_flatten
from safetensors.numpy import load_file, save_file

import nanoasr
from nanoasr.checkpoint.layouts import read_layout
from nanoasr.checkpoint.load import assemble, load_checkpoint
from nanoasr.checkpoint.quantize import Packed, Quantization
from nanoasr.checkpoint.sources import PRESETS, find_checkpoint
from nanoasr.errors import CheckpointError, HubError, OptionError

LAYOUTS = ("official", "transformers", "mlx_audio", "mlx_audio_plus")


def tensors(folder: Path) -> dict[str, list[np.ndarray]]:
    """Every tensor of a checkpoint as the files store it."""
    _, found = assemble(read_layout(folder))
    return {
        name: [np.array(x) for x in ((t.weight, t.scales, t.biases) if isinstance(t, Packed) else (t,))]
        for name, t in found
    }


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        len(a[k]) == len(b[k]) and all(np.array_equal(x, y) for x, y in zip(a[k], b[k], strict=True)) for k in a
    )


@pytest.fixture
def broken(tmp_path) -> Path:
    return Path(shutil.copytree(PARITY / "mlx_audio", tmp_path / "broken"))


def rewrite(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "mlx"})


def test_all_four_layouts_hold_the_same_network():
    official = tensors(PARITY / "official")
    for layout in LAYOUTS[1:]:
        found = tensors(PARITY / layout)
        assert same(found, {name: official[name] for name in found})


def test_missing_unknown_and_misshapen_tensors_are_named_in_one_error(broken):
    def change(weights):
        del weights["llm.model.norm.weight"], weights["audio_adaptor.linear1.bias"]
        weights["somebody.elses"] = np.zeros(3, np.float32)
        weights["audio_encoder.after_norm.weight"] = np.zeros(65, np.float32)

    rewrite(broken, change)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(broken)
    for said in ("llm.model.norm.weight", "audio_adaptor.linear1.bias", "somebody.elses", "after_norm.weight", "65"):
        assert said in str(caught.value)


def test_sharded_files_load(broken):
    weights = load_file(broken / "model.safetensors")
    names = sorted(weights)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: weights[name] for name in part}, broken / file)
    (broken / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (broken / "model.safetensors.index.json").write_text(json.dumps(index))
    assert same(tensors(broken), tensors(PARITY / "mlx_audio"))


def test_a_truncated_file_is_told(broken):
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_checkpoint(broken)


@pytest.mark.parametrize(
    ("place", "value"), [("num_blocks", 10**9), ("output_size", -1), ("kernel_size", "eleven"), ("num_blocks", True)]
)
def test_absurd_sizes_are_refused(broken, place, value):
    config = json.loads((broken / "config.json").read_text())
    config["audio_encoder_conf"][place] = value
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=place):
        load_checkpoint(broken)


def test_a_config_cannot_lead_out_of_its_folder(broken, tmp_path):
    (tmp_path / "secret.mvn").write_text("secret")
    config = json.loads((broken / "config.json").read_text())
    config["frontend_conf"]["cmvn_file"] = "../secret.mvn"
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"secret\.mvn"):
        load_checkpoint(broken)


def test_other_folders_are_told_from_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match="not a Fun-ASR-Nano checkpoint"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="neither a folder"):
        load_checkpoint(tmp_path / "gone")


def test_what_the_hub_cannot_give_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="nobody/nothing-at-all"):
        find_checkpoint("nobody/nothing-at-all")


def test_presets_are_hub_ids():
    assert all(name.count("/") == 1 for name in PRESETS.values())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("quantize", [None, Quantization(8, 32)])
def test_a_converted_checkpoint_loads_back_bit_for_bit(layout, quantize, tmp_path):
    folder = nanoasr.convert(PARITY / layout, tmp_path / "out", quantize=quantize)
    converted, config = tensors(folder), read_layout(folder).config
    if quantize is None:
        assert same(converted, tensors(PARITY / layout))
    assert config == read_layout(PARITY / layout).config or config.ctc is not None or layout != "official"
    again = nanoasr.convert(folder, tmp_path / "again")
    assert same(tensors(again), converted)
    loaded = load_checkpoint(folder).model
    assert all(np.isfinite(np.array(x)).all() for _, x in tree_flatten(loaded.parameters()) if x.dtype != mx.uint32)


def test_nothing_is_overwritten_silently(tmp_path):
    out = nanoasr.convert(PARITY / "mlx_audio", tmp_path / "out")
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(nanoasr.NanoASRError, match="overwrite"):
        nanoasr.convert(PARITY / "mlx_audio", out, quantize="llm-8bit")
    assert (out / "model.safetensors").read_bytes() == before
    nanoasr.convert(PARITY / "mlx_audio", out, quantize=Quantization(8, 32), overwrite=True)
    assert (out / "model.safetensors").stat().st_size < len(before)


@pytest.mark.parametrize("rate", ["low", "full"])
@pytest.mark.parametrize("case", ["plain", "english_hotwords_no_itn"])
def test_eight_bits_agree_with_float_on_the_likeliest_token(rate, case):
    expected = np.load(PARITY / "expected.npz")
    asr = nanoasr.load(PARITY / "official", quantize=Quantization(8, 32), audio_tokens=rate)
    asked = {} if case == "plain" else {"language": "en", "hotwords": ["MLX", "开放时间"], "itn": False}
    logits = np.array(asr.inspect(expected["audio"], **asked).first_logits.astype(mx.float32))
    assert logits.argmax() == expected[f"{case}.{rate}.first_logits"].argmax()


def test_quantizing_twice_is_refused(tmp_path):
    folder = nanoasr.convert(PARITY / "mlx_audio", tmp_path / "out", quantize=Quantization(4, 32))
    with pytest.raises(OptionError, match="quantized already"):
        load_checkpoint(folder, quantize="llm-8bit")


@pytest.mark.parametrize("bad", [{"bits": 3}, {"group_size": 10}, {"parts": ("head",)}, {"parts": ()}])
def test_quantizations_that_cannot_be_are_refused(bad):
    with pytest.raises(OptionError):
        Quantization(**bad)
