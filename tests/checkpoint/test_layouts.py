"""What is read of a folder in each of the four layouts, and what strangers may have written there."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from checkpoints import (
    LAYOUTS,
    SMALL,
    SMALL_CTC,
    make_first_generation,
    random_tensors,
    write_checkpoint,
    write_torch_file,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import PARITY
from safetensors.numpy import load_file, save_file

from nanoasr.checkpoint.layouts import Layout, read_layout
from nanoasr.checkpoint.load import assemble, load_checkpoint
from nanoasr.checkpoint.quantize import Packed
from nanoasr.errors import CheckpointError

OTHER_SIZES = {
    "deeper": replace(
        SMALL,
        encoder=replace(SMALL.encoder, num_blocks=4, tp_blocks=3),
        adaptor=replace(SMALL.adaptor, n_layer=3),
        llm=replace(SMALL.llm, num_hidden_layers=4),
    ),
    "wider": replace(
        SMALL,
        encoder=replace(SMALL.encoder, output_size=48, attention_heads=3, kernel_size=7),
        adaptor=replace(SMALL.adaptor, encoder_dim=48, llm_dim=80),
        llm=replace(SMALL.llm, hidden_size=80, num_attention_heads=6, num_key_value_heads=3, head_dim=20),
    ),
    "shallow": replace(SMALL, encoder=replace(SMALL.encoder, num_blocks=1), adaptor=replace(SMALL.adaptor, n_layer=0)),
    "untied": replace(SMALL, llm=replace(SMALL.llm, tie_word_embeddings=False, rope_theta=1e4)),
}


def stored(folder: Path) -> dict[str, list[np.ndarray]]:
    """Every tensor of a checkpoint as its files store it."""
    _, tensors = assemble(read_layout(folder))
    return {
        name: [np.array(x) for x in ((t.weight, t.scales, t.biases) if isinstance(t, Packed) else (t,))]
        for name, t in tensors
    }


def same(a: dict[str, list[np.ndarray]], b: dict[str, list[np.ndarray]]) -> bool:
    return a.keys() == b.keys() and all(
        len(a[name]) == len(b[name]) and all(np.array_equal(x, y) for x, y in zip(a[name], b[name], strict=True))
        for name in a
    )


def change_config(folder: Path, *path: str, to: object) -> None:
    file = folder / "config.json"
    config = here = json.loads(file.read_text())
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = to
    file.write_text(json.dumps(config))


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(PARITY / "mlx_audio", tmp_path / "folder"))


@pytest.fixture
def official(tmp_path) -> Path:
    return Path(shutil.copytree(PARITY / "official", tmp_path / "official"))


def test_the_four_layouts_of_one_checkpoint_hold_the_same_network():
    expected = stored(PARITY / "official")
    for layout in LAYOUTS[1:]:
        found = stored(PARITY / layout)
        assert same(found, {name: expected[name] for name in found})


@pytest.mark.parametrize("sizes", OTHER_SIZES)
def test_other_depths_and_widths_load_from_every_layout(sizes, tmp_path):
    config = OTHER_SIZES[sizes]
    tensors = random_tensors(config)
    first = stored(write_checkpoint(tmp_path / LAYOUTS[0], LAYOUTS[0], config, tensors))
    assert len(first) > 10
    for layout in LAYOUTS:
        folder = (
            tmp_path / layout if layout == LAYOUTS[0] else write_checkpoint(tmp_path / layout, layout, config, tensors)
        )
        found = read_layout(folder).config
        assert (found.encoder, found.llm) == (config.encoder, config.llm)
        assert replace(found.adaptor, norm_eps=1e-12) == config.adaptor
        assert same(stored(folder), first)


@pytest.mark.parametrize("revision", ["972ee603", "1fd03aa5"])
@pytest.mark.parametrize("sizes", ["deeper", "wider", "shallow"])
def test_both_generations_of_the_transformers_layout_load(sizes, revision, tmp_path):
    config = OTHER_SIZES[sizes]
    folder = write_checkpoint(tmp_path / "c", "transformers", config)
    today, expected = read_layout(folder).config, stored(folder)
    make_first_generation(folder, config, revision)
    found = read_layout(folder).config
    assert found == replace(today, audio_tokens="low")  # which those snapshots were made for
    assert same(stored(folder), expected)


@pytest.mark.parametrize("layout", ["official", "mlx_audio", "mlx_audio_plus"])
@pytest.mark.parametrize("rate", [2, 3])
def test_frames_are_stacked_as_the_config_says(layout, rate, tmp_path):
    config = replace(SMALL, adaptor=replace(SMALL.adaptor, downsample_rate=rate))
    model = load_checkpoint(write_checkpoint(tmp_path / "c", layout, config)).model
    assert model.audio_adaptor.rate == rate
    assert model.audio_adaptor.linear1.weight.shape == (40, 32 * rate)


def test_each_layout_feeds_the_llm_as_many_frames_as_its_reference():
    found = {layout: read_layout(PARITY / layout).config.audio_tokens for layout in LAYOUTS}
    assert found == {"official": "low", "transformers": "full", "mlx_audio": "low", "mlx_audio_plus": "low"}


@pytest.mark.parametrize("layout", ["official", "mlx_audio"])
@pytest.mark.parametrize("rate", ["low", "full"])
def test_funasrs_layouts_say_themselves_how_many_frames(layout, rate, tmp_path):
    folder = write_checkpoint(tmp_path / "c", layout, replace(SMALL, audio_tokens=rate))
    assert read_layout(folder).config.audio_tokens == rate


@pytest.mark.parametrize("layout", ["official", "mlx_audio"])
def test_a_ctc_branch_is_there_if_its_weights_are(layout, tmp_path):
    config = replace(SMALL, ctc=SMALL_CTC)
    tensors = random_tensors(config)
    assert load_checkpoint(write_checkpoint(tmp_path / "with", layout, config, tensors)).model.config.ctc == SMALL_CTC
    rest = {name: x for name, x in tensors.items() if not name.startswith("ctc")}
    model = load_checkpoint(write_checkpoint(tmp_path / "without", layout, config, rest)).model
    assert model.config.ctc is None
    assert "ctc" not in model


def test_half_a_ctc_branch_is_an_error(tmp_path):
    config = replace(SMALL, ctc=SMALL_CTC)
    tensors = random_tensors(config)
    del tensors["ctc.ctc_lo.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: ctc\.ctc_lo\.bias"):
        load_checkpoint(write_checkpoint(tmp_path / "c", "official", config, tensors))


@pytest.mark.parametrize("wrappers", [("state_dict",), ("model_state_dict",), ("model", "state_dict"), ("module",)])
def test_weights_are_found_where_training_runs_put_them(wrappers, official):
    expected = stored(official)
    tensors = random_tensors(read_layout(official).config)
    write_torch_file(official / "model.pt", tensors, wrappers)
    found = stored(official)
    assert found.keys() == expected.keys()
    assert np.array_equal(found["audio_adaptor.linear1.weight"][0], tensors["audio_adaptor.linear1.weight"])


def test_a_copy_of_tied_embeddings_is_not_unknown(tmp_path):
    tensors = random_tensors(SMALL)
    tensors["llm.lm_head.weight"] = tensors["llm.model.embed_tokens.weight"]
    assert "llm.lm_head.weight" not in stored(write_checkpoint(tmp_path / "c", "official", SMALL, tensors))


def test_other_pt_files_beside_model_pt_are_left_alone(official):
    (official / "optimizer.pt").write_bytes(b"not even a zip")
    assert same(stored(official), stored(PARITY / "official"))


def test_languages_and_card_are_read_where_a_config_has_them(folder):
    change_config(folder, "languages", to=["中文", "英文"])
    change_config(folder, "nanoasr_card", to="a card")
    layout = read_layout(folder)
    assert (layout.languages, layout.card) == (("中文", "英文"), "a card")
    assert (read_layout(PARITY / "mlx_audio").languages, read_layout(PARITY / "mlx_audio").card) == (None, None)


def test_a_folder_of_links_is_read_as_the_hubs_cache_is_made_of_them(tmp_path):
    for path in (PARITY / "official").rglob("*.*"):
        if path.is_file():
            link = tmp_path / "links" / path.relative_to(PARITY / "official")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    (tmp_path / "link").symlink_to(tmp_path / "links")
    assert same(stored(tmp_path / "link"), stored(PARITY / "official"))


def shards(folder: Path) -> dict[str, str]:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    split = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in split.items():
        save_file({name: weights[name] for name in part}, folder / file)
    return {name: file for file, part in split.items() for name in part}


def test_sharded_weights_load(folder):
    index = {"metadata": {"total_size": 1}, "weight_map": shards(folder)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert same(stored(folder), stored(PARITY / "mlx_audio"))


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": "all"}, []])
def test_an_index_that_lists_nothing_is_named(index, folder):
    shards(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"index\.json"):
        stored(folder)


def test_a_missing_shard_is_named(folder):
    index = {"weight_map": shards(folder)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00002"):
        stored(folder)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "..", "x/../../secret.safetensors", 7, "a\0b"]
)
def test_an_index_cannot_lead_out_of_its_folder(name, folder):
    shutil.copy(folder / "model.safetensors", folder.parent / "secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="no such file is in that folder"):
        stored(folder)


@pytest.mark.parametrize("name", ["../am.mvn", "../../../../etc/passwd", "/etc/passwd", "..", "x" * 5000, "a\0b"])
def test_a_config_cannot_name_a_cmvn_file_elsewhere(name, folder):
    (folder.parent / "am.mvn").write_text("secret")
    change_config(folder, "frontend_conf", "cmvn_file", to=name)
    with pytest.raises(CheckpointError, match="no such file is in that folder"):
        read_layout(folder)


@pytest.mark.parametrize("name", ["..", "../elsewhere", "/", "x" * 5000, "a\0b", "../../.."])
def test_a_config_cannot_name_a_tokenizer_elsewhere(name, folder):
    for outside in (folder.parent, folder.parent / "elsewhere"):
        outside.mkdir(exist_ok=True)
        (outside / "tokenizer.json").write_text("{}")
    change_config(folder, "qwen_tokenizer_path", to=name)
    try:
        found = read_layout(folder).tokenizer
    except CheckpointError:
        return
    assert found == folder / "Qwen3-0.6B"


@pytest.mark.parametrize(
    ("layout", "missing", "said"),
    [
        ("official", "model.pt", r"model\.pt, found none"),
        ("official", "config.yaml", "not a Fun-ASR-Nano, SenseVoice or Paraformer checkpoint"),
        ("official", "Qwen3-0.6B/config.json", r"config\.json"),
        ("official", "Qwen3-0.6B/tokenizer.json", r"no tokenizer\.json"),
        ("mlx_audio", "model.safetensors", r"model\.safetensors, found none"),
        ("mlx_audio", "Qwen3-0.6B/tokenizer.json", r"no tokenizer\.json"),
        ("mlx_audio_plus", "tokenizer.json", r"no tokenizer\.json"),
        ("transformers", "config.json", "not a Fun-ASR-Nano, SenseVoice or Paraformer checkpoint"),
    ],
)
def test_a_missing_file_is_named(layout, missing, said, tmp_path):
    folder = Path(shutil.copytree(PARITY / layout, tmp_path / "c"))
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("audio_encoder_conf", "num_blocks"), 10**9),
        (("audio_encoder_conf", "num_blocks"), 10**400),
        (("audio_encoder_conf", "num_blocks"), True),
        (("audio_encoder_conf", "output_size"), -1),
        (("audio_encoder_conf", "kernel_size"), "eleven"),
        (("audio_encoder_conf", "kernel_size"), 4),
        (("audio_encoder_conf", "attention_heads"), 0),
        (("audio_encoder_conf", "attention_heads"), 7),
        (("audio_adaptor_conf", "downsample_rate"), 2**19),
        (("audio_adaptor_conf", "ffn_dim"), [64]),
        (("audio_adaptor_conf", "attention_heads"), 7),
        (("text_config", "vocab_size"), 2**31),
        (("text_config", "head_dim"), 2**20),
        (("text_config", "head_dim"), 31),
        (("text_config", "num_key_value_heads"), 3),
        (("text_config", "rms_norm_eps"), "1e-6"),
        (("text_config", "rms_norm_eps"), float("nan")),
        (("text_config", "tie_word_embeddings"), "yes"),
        (("text_config", "hidden_size"), 100),
        (("text_config", "rope_parameters"), {"rope_type": "yarn"}),
        (("frontend_conf", "n_mels"), 128),
        (("frontend_conf", "lfr_n"), 1),
        (("frontend_conf", "window"), "hann"),
    ],
)
def test_a_config_that_cannot_be_is_refused(path, value, folder):
    change_config(folder, *path, to=value)
    with pytest.raises(CheckpointError, match="folder") as caught:
        load_checkpoint(folder)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("size", [2**20, 2**18])
def test_sizes_that_no_file_has_are_refused_before_any_memory_is_taken(size, folder):
    change_config(folder, "text_config", "vocab_size", to=size)
    change_config(folder, "text_config", "intermediate_size", to=size)
    change_config(folder, "audio_encoder_conf", "linear_units", to=size)
    with pytest.raises(CheckpointError, match="misshapen"):
        load_checkpoint(folder)


def leaves(config: object, path: tuple = ()) -> list[tuple]:
    if isinstance(config, dict):
        return [path] * bool(path) + [leaf for key, value in config.items() for leaf in leaves(value, (*path, key))]
    return [path]


CONFIGS = {layout: json.loads((PARITY / layout / "config.json").read_text()) for layout in LAYOUTS[1:]}
STRANGE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just([]), st.just({}), st.just([{}])
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layout=st.sampled_from(LAYOUTS[1:]), data=st.data())
def test_whatever_a_config_says_it_is_read_or_refused(layout, data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / f"strange-{layout}"
    if not folder.exists():
        shutil.copytree(PARITY / layout, folder)
    shutil.copy(PARITY / layout / "config.json", folder)
    change_config(folder, *data.draw(st.sampled_from(leaves(CONFIGS[layout]))), to=data.draw(STRANGE))
    try:
        assert isinstance(read_layout(folder), Layout)
    except CheckpointError as error:
        assert str(folder) in str(error)


@pytest.mark.parametrize("text", ["{", "[]", "null", "\udcff", "[" * 100_000, '"a"'])
def test_a_config_that_is_no_json_object_is_named(text, folder):
    (folder / "config.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_layout(folder)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- 1",
        "",
        "!!python/object/apply:os.system ['touch owned']",
        "\udcff",
        "[" * 3000,
        "audio_encoder_conf: 3",
    ],
)
def test_a_config_that_is_no_plain_yaml_is_named(text, official, monkeypatch):
    monkeypatch.chdir(official)
    (official / "config.yaml").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(CheckpointError, match="official"):
        read_layout(official)
    assert not (official / "owned").exists()


def test_a_config_of_many_megabytes_is_not_read(official):
    with (official / "config.yaml").open("w") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="too large"):
        read_layout(official)


def test_a_yaml_config_may_leave_out_what_funasr_has_defaults_for(official):
    config = yaml.safe_load((official / "config.yaml").read_text())
    del config["frontend_conf"], config["audio_encoder_conf"]["kernel_size"], config["audio_adaptor_conf"]["n_layer"]
    (official / "config.yaml").write_text(yaml.safe_dump(config))
    assert same(stored(official), stored(PARITY / "official"))


def test_a_folder_with_something_else_is_told_from_a_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="not a Fun-ASR-Nano, SenseVoice or Paraformer checkpoint"):
        read_layout(tmp_path)
    with pytest.raises(CheckpointError, match="no such folder"):
        read_layout(tmp_path / "gone")
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(CheckpointError, match="not a Fun-ASR-Nano, SenseVoice or Paraformer checkpoint"):
        read_layout(tmp_path)
