"""The layouts of SenseVoice and Paraformer: FunASR's own, mlx-audio's and what `convert` writes."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import yaml
from checkpoints import write_torch_file
from mlx.utils import tree_flatten
from places import PARITY

import nanoasr
from nanoasr import backend
from nanoasr.checkpoint.layouts import read_layout
from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.checkpoint.torch_file import read_torch_file
from nanoasr.errors import CheckpointError, OptionError

FAMILIES = ("sensevoice", "paraformer", "paraformer_bicif", "paraformer_seaco")
PIECES = "chn_jpn_yue_eng_ko_spectok.bpe.model"


@pytest.fixture
def folder(request, tmp_path) -> Path:
    """A copy of the official checkpoint whose name is the parameter."""
    return shutil.copytree(PARITY / "families" / request.param, tmp_path / "c")


def each(*names: str):
    return pytest.mark.parametrize("folder", names, indirect=True)


def parameters(source: Path, **options) -> dict[str, np.ndarray]:
    def load() -> dict[str, np.ndarray]:
        model = load_checkpoint(source, **options).model
        return {name: np.array(value.astype(mx.float32)) for name, value in tree_flatten(model.parameters())}

    return backend.run(load)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def edit_yaml(folder: Path, section: str | None, **changes) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (config if section is None else config[section]).update(changes)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def edit_tensors(folder: Path, change) -> None:
    tensors = {name: np.array(tensor.data) for name, tensor in read_torch_file(folder / "model.pt").items()}
    change(tensors)
    write_torch_file(folder / "model.pt", tensors, ("state_dict",))


@each(*FAMILIES)
def test_an_official_checkpoint_names_every_tensor_of_the_network(folder):
    names = set(read_torch_file(folder / "model.pt"))
    assert names == parameters(folder).keys()


@each(*FAMILIES)
def test_a_converted_checkpoint_has_the_same_config_and_weights(folder, tmp_path):
    converted = nanoasr.convert(folder, tmp_path / "converted")
    assert read_layout(converted).config == read_layout(folder).config
    assert same(parameters(converted), parameters(folder))
    again = nanoasr.convert(converted, tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (converted / "model.safetensors").read_bytes()


@each(*FAMILIES)
def test_a_quantized_conversion_loads_as_what_is_quantized_on_loading(folder, tmp_path):
    converted = nanoasr.convert(folder, tmp_path / "converted", quantize="all-8bit")
    assert (converted / "model.safetensors").stat().st_size < 0.65 * (folder / "model.pt").stat().st_size
    assert same(parameters(converted, dtype="float32"), parameters(folder, quantize="all-8bit", dtype="float32"))


@each(*FAMILIES)
def test_a_conversion_to_bfloat16_stores_nothing_else(folder, tmp_path):
    converted = nanoasr.convert(folder, tmp_path / "converted", dtype="bfloat16")
    assert backend.run(load_checkpoint, converted).precision.startswith("stored as bfloat16, ")


@each("sensevoice")
def test_mlx_audio_reads_a_converted_sensevoice_by_its_names(folder, tmp_path):
    converted = nanoasr.convert(folder, tmp_path / "converted")
    tensors = mx.load(str(converted / "model.safetensors"))
    assert {"ctc_lo.weight", "ctc_lo.bias", "embed.weight"} <= tensors.keys()
    assert tensors["encoder.encoders.0.self_attn.fsmn_block.weight"].shape == (64, 1, 11)  # it swaps the last two
    config = json.loads((converted / "config.json").read_text())
    assert (config["model_type"], config["vocab_size"], config["input_size"]) == ("sensevoice", 140, 560)


@each("sensevoice")
def test_a_conversion_may_hold_kernels_as_mlx_has_them_and_cmvn_in_its_config(folder, tmp_path):
    converted = nanoasr.convert(folder, tmp_path / "converted")
    tensors = mx.load(str(converted / "model.safetensors"))
    swapped = {name: x.swapaxes(1, 2) if ".fsmn_block." in name else x for name, x in tensors.items()}
    mx.save_safetensors(str(converted / "model.safetensors"), swapped)
    config = json.loads((converted / "config.json").read_text())
    cmvn = np.array(backend.run(load_checkpoint, folder).cmvn)
    config |= {"cmvn_means": cmvn[0].tolist(), "cmvn_istd": cmvn[1].tolist(), "frontend_conf": {}}
    (converted / "config.json").write_text(json.dumps(config))
    (converted / "am.mvn").unlink()
    assert same(parameters(converted), parameters(folder))
    assert np.array_equal(np.array(backend.run(load_checkpoint, converted).cmvn), cmvn)
    again = nanoasr.convert(converted, tmp_path / "again")
    assert np.array_equal(np.array(backend.run(load_checkpoint, again).cmvn), cmvn)


@each(*FAMILIES)
def test_files_are_found_by_their_usual_names_where_no_config_names_them(folder):
    (folder / "configuration.json").unlink()
    edit_yaml(folder, "frontend_conf", cmvn_file=None)
    edit_yaml(folder, "tokenizer_conf", bpemodel=None, token_list=None)
    assert backend.run(load_checkpoint, folder).cmvn is not None


@each("sensevoice", "paraformer_seaco")
def test_configuration_json_names_files_as_for_funasr(folder):
    old, setting = (PIECES, "bpemodel") if (folder / PIECES).exists() else ("tokens.json", "token_list")
    (folder / old).rename(folder / f"other-{old}")
    edit_yaml(folder, "tokenizer_conf", **{setting: None})
    metas = json.loads((folder / "configuration.json").read_text())
    metas["file_path_metas"]["tokenizer_conf"][setting] = f"other-{old}"
    (folder / "configuration.json").write_text(json.dumps(metas))
    assert backend.run(load_checkpoint, folder).tokenizer.path.name == f"other-{old}"


@each(*FAMILIES)
@pytest.mark.parametrize("name", ["am.mvn", "tokens"])
def test_a_missing_file_is_named(folder, name):
    found = next(path for path in (folder / name, folder / PIECES, folder / "tokens.json") if path.exists())
    found.unlink()
    with pytest.raises(CheckpointError, match=found.name):
        backend.run(load_checkpoint, folder)


@each(*FAMILIES)
def test_errors_list_tensors_that_are_missing_unknown_or_misshapen(folder):
    def change(tensors):
        tensors["encoder.extra.weight"] = tensors.pop("encoder.after_norm.weight")
        tensors["encoder.after_norm.bias"] = np.zeros(3, np.float32)

    edit_tensors(folder, change)
    with pytest.raises(CheckpointError) as error:
        backend.run(load_checkpoint, folder)
    for part in (
        "1 missing: encoder.after_norm.weight",
        "1 unknown: encoder.extra.weight",
        "1 misshapen: encoder.after_norm.bias",
    ):
        assert part in str(error.value)


@each("paraformer")
def test_a_convolution_of_the_wrong_rank_is_misshapen(folder):
    flat = {"predictor.cif_conv1d.weight": np.zeros((64, 64), np.float32)}
    edit_tensors(folder, lambda tensors: tensors.update(flat))
    with pytest.raises(CheckpointError, match=r"1 misshapen: predictor\.cif_conv1d\.weight is \[64, 64\]"):
        backend.run(load_checkpoint, folder)


@pytest.mark.parametrize(
    ("folder", "section", "changes", "reason"),
    [
        ("sensevoice", "encoder_conf", {"sanm_shfit": 5}, "sanm_shfit = 5"),
        ("sensevoice", "encoder_conf", {"kernel_size": 10}, "kernel_size is odd"),
        ("sensevoice", "frontend_conf", {"lfr_m": 5}, "lfr_m = 5"),
        ("sensevoice", None, {"vocab_size": 141}, "140 pieces where the network has 141"),
        ("paraformer", None, {"model": "ContextualParaformer"}, "'ContextualParaformer'"),
        ("paraformer", None, {"encoder": "ConformerEncoder"}, "'ConformerEncoder'"),
        ("paraformer", None, {"predictor": "CifPredictor"}, "'CifPredictor'"),
        ("paraformer", "predictor_conf", {"idim": 32}, "idim is the encoder's output_size"),
        ("paraformer", "predictor_conf", {"threshold": 0.9}, "threshold = 0.9"),
        ("paraformer", "decoder_conf", {"attention_heads": 7}, "a multiple of the decoder's attention_heads"),
        ("paraformer_bicif", "predictor_conf", {"upsample_type": "cnn_attn"}, "upsample_type = 'cnn_attn'"),
        ("paraformer_seaco", "model_conf", {"bias_encoder_bid": True}, "bias_encoder_bid = True"),
        ("paraformer_seaco", "model_conf", {"NO_BIAS": 48}, "NO_BIAS is one of the tokens"),
        ("paraformer_seaco", "model_conf", {"inner_dim": 32}, "inner_dim is the encoder's output_size"),
    ],
    indirect=["folder"],
)
def test_a_config_that_is_not_supported_is_refused_with_its_setting(folder, section, changes, reason):
    edit_yaml(folder, section, **changes)
    with pytest.raises(CheckpointError) as error:
        backend.run(load_checkpoint, folder)
    assert reason in str(error.value)


@each("sensevoice", "paraformer")
def test_options_that_a_family_has_no_use_for_are_refused(folder):
    with pytest.raises(OptionError, match="no audio tokens"):
        backend.run(load_checkpoint, folder, audio_tokens="full")
    if "sensevoice" in read_layout(folder).family:
        with pytest.raises(OptionError, match="no llm to quantize"):
            backend.run(load_checkpoint, folder, quantize="llm-8bit")


@each("paraformer")
def test_a_decoder_has_as_many_attention_layers_as_att_layer_num_says(folder):
    edit_yaml(folder, "decoder_conf", num_blocks=2)  # FunASR builds three all the same
    assert read_layout(folder).config.decoder.num_layers == 3
