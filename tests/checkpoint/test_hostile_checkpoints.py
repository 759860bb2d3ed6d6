"""Checkpoints that attack whoever loads them: each is refused, at once and with one short line."""

import json
import os
import shutil
import struct
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import SMALL, random_tensors, write_checkpoint
from places import PARITY

import nanoasr
from nanoasr.checkpoint.layouts import read_layout
from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.errors import CheckpointError, NanoASRError, printable


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(PARITY / "mlx_audio", tmp_path / "folder"))


@pytest.fixture
def official(tmp_path) -> Path:
    return Path(shutil.copytree(PARITY / "official", tmp_path / "official"))


def refused(folder: Path, reason: str, seconds: float = 20) -> None:
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_checkpoint(folder)
    assert time.perf_counter() - start < seconds
    assert len(str(caught.value)) < 6000
    assert str(caught.value).isprintable()


# YAML, JSON and headers


def test_aliases_that_stand_for_gigabytes_are_refused(official):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    with (official / "config.yaml").open("a") as file:
        file.write("\n".join([*lines, "frontend: {window: *a9}", ""]))
    refused(official, "aliases stand for far more")


def test_an_alias_of_itself_is_refused(official):
    with (official / "config.yaml").open("a") as file:
        file.write("loop: &loop [*loop]\n")
    refused(official, "contains itself")


def test_a_few_honest_aliases_are_read(official):
    text = (official / "config.yaml").read_text()
    (official / "config.yaml").write_text(text.replace("num_blocks: 3", "num_blocks: &n 3") + "other: *n\n")
    assert read_layout(official).config.encoder.num_blocks == 3


def test_a_yaml_of_megabytes_is_refused_before_it_is_parsed(official):
    with (official / "config.yaml").open("a") as file:
        file.writelines(f"key{i}: [1, 2, 3]\n" for i in range(200_000))
    refused(official, "larger than 0.25 MiB", seconds=2)


def test_deep_nesting_is_refused(official, folder):
    (official / "config.yaml").write_text("audio_encoder_conf: " + "[" * 900 + "]" * 900)
    refused(official, "nested")
    (folder / "config.json").write_text('{"audio_encoder_conf": ' + "[" * 900 + "]" * 900 + "}")
    refused(folder, "nested")


def test_a_number_of_many_digits_is_refused(official):
    with (official / "config.yaml").open("a") as file:
        file.write("n: " + "1:" * 100_000 + "1\n")
    refused(official, "number of more than 100 characters", seconds=5)


def test_a_safetensors_header_of_megabytes_is_refused_before_it_is_parsed(folder):
    entry = '"tensor-{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    header = ("{" + ",".join(entry.format(i) for i in range(150_000)) + "}").encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    refused(folder, "its header claims", seconds=5)


def test_an_error_names_a_few_of_many_unknown_tensors(folder):
    weights = dict(mx.load(str(folder / "model.safetensors")))
    weights |= {f"unknown-{i}-{'x' * 300}": mx.zeros(1) for i in range(3000)}
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    refused(folder, r"3000 unknown: .* and 2,970 more|characters left out")


# Numbers


@pytest.mark.parametrize("value", [0, -1e-6, 1, 1e-300, float("inf")])
@pytest.mark.parametrize("where", ["text_config.rms_norm_eps", "audio_adaptor_conf.norm_eps"])
def test_an_epsilon_that_divides_by_zero_is_refused(where, value, folder):
    config = json.loads((folder / "config.json").read_text())
    part, name = where.split(".")
    config[part][name] = value
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, f"{name} = .* out of range")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
@pytest.mark.parametrize("layout", ["official", "mlx_audio"])
def test_a_weight_that_is_not_a_sensible_number_is_refused(layout, value, tmp_path):
    tensors = random_tensors(SMALL)
    tensors["llm.model.layers.1.mlp.down_proj.weight"][3, 5] = value
    folder = write_checkpoint(tmp_path / "c", layout, SMALL, tensors)
    refused(folder, r"llm\.model\.layers\.1\.mlp\.down_proj\.weight has values that are not finite")
    with pytest.raises(CheckpointError, match="not finite"):
        nanoasr.convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_half_precision_weights_of_any_sensible_size_are_converted(tmp_path):
    tensors = {name: (100 * x).astype(np.float16) for name, x in random_tensors(SMALL).items()}
    folder = write_checkpoint(tmp_path / "c", "official", SMALL, tensors)
    load_checkpoint(nanoasr.convert(folder, tmp_path / "out"))


def test_a_quantized_weight_with_an_infinite_scale_is_refused(tmp_path):
    folder = nanoasr.convert(write_checkpoint(tmp_path / "c", "mlx_audio", SMALL), tmp_path / "q", "llm-8bit")
    weights = dict(mx.load(str(folder / "model.safetensors")))
    scales = weights["llm.model.layers.0.mlp.up_proj.scales"]
    weights["llm.model.layers.0.mlp.up_proj.scales"] = mx.where(mx.arange(scales.shape[1]) == 0, mx.inf, scales)
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    refused(folder, "not finite")


@pytest.mark.parametrize("value", ["nan", "3e38"])
def test_a_cmvn_with_a_number_that_cannot_be_is_refused(value, tmp_path):
    folder = Path(shutil.copytree(PARITY / "families" / "paraformer", tmp_path / "folder"))
    text = (folder / "am.mvn").read_text()
    start = text.index("[", text.index("<AddShift>")) + 1
    (folder / "am.mvn").write_text(f"{text[:start]} {value} {text[start:].split(maxsplit=1)[1]}")
    refused(folder, r"am\.mvn|its CMVN has values")


@pytest.mark.parametrize("file", ["tokens.json", "bpe.model"])
def test_a_token_of_a_megabyte_is_refused(file, tmp_path):
    if file == "tokens.json":
        folder = Path(shutil.copytree(PARITY / "families" / "paraformer", tmp_path / "folder"))
        tokens = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps([*tokens[:-1], "x" * 2**20]))
        refused(folder, "too long a token")
    else:
        folder = Path(shutil.copytree(PARITY / "families" / "sensevoice", tmp_path / "folder"))
        model, text = next(folder.glob("*.bpe.model")), b"x" * 2**20
        length = bytes([0x80 | len(text) & 127, 0x80 | len(text) >> 7 & 127, len(text) >> 14])
        inner = b"\x0a" + length + text  # a field of so many bytes, in a message of four more
        outer = bytes([0x80 | len(inner) & 127, 0x80 | len(inner) >> 7 & 127, len(inner) >> 14])
        model.write_bytes(b"\x0a" + outer + inner + model.read_bytes())
        refused(folder, "a piece of 1,048,576 characters")


# Files that are not files, and names


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "Qwen3-0.6B/tokenizer.json", "model.safetensors.index.json"],
)
def test_a_pipe_instead_of_a_file_is_not_waited_for(name, folder):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    if name == "model.safetensors.index.json":
        load_checkpoint(folder)  # it is passed over
    else:
        refused(folder, "folder")


@pytest.mark.parametrize("name", ["config.yaml", "model.pt", "Qwen3-0.6B/config.json"])
def test_a_pipe_in_an_official_checkpoint_is_not_waited_for(name, official):
    (official / name).unlink()
    os.mkfifo(official / name)
    refused(official, "official")


def test_a_device_instead_of_a_config_is_refused(official):
    (official / "Qwen3-0.6B" / "config.json").unlink()
    (official / "Qwen3-0.6B" / "config.json").symlink_to("/dev/zero")
    refused(official, "not a regular file")


def test_terminal_commands_in_a_folders_name_are_escaped_in_errors_and_info(tmp_path):
    folder = Path(shutil.copytree(PARITY / "mlx_audio", tmp_path / "a\nforged line\x1b[2J\x9b2J\u202e"))
    info = nanoasr.load(folder).info()
    assert r"a\nforged line\x1b[2J\x9b2J\u202e" in info.source
    assert all(line.isprintable() for line in str(info).splitlines())
    (folder / "config.json").write_text("{")
    refused(folder, r"a\\nforged line\\x1b\[2J\\x9b2J\\u202e")


def test_terminal_commands_in_a_card_are_escaped(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"nanoasr_card": "\x1b]0;title\x07 a card\n" + "x" * 100_000, "languages": ["英文", "\x1b[31m"]}
    (folder / "config.json").write_text(json.dumps(config))
    layout = read_layout(folder)
    assert layout.card.startswith(r"\x1b]0;title\x07 a card\n")
    assert len(layout.card) < 600
    assert all(name.isprintable() for name in layout.languages)


def test_every_error_is_one_line_of_bounded_length():
    assert str(NanoASRError("a\nb\r\x00\u2028\ud800")) == r"a\nb\r\x00\u2028\ud800"
    long = str(NanoASRError("start" + "x" * 10**7 + "end"))
    assert long.startswith("start") and long.endswith("end") and len(long) < 4100
    assert printable("你好, é, 🎙") == "你好, é, 🎙"
