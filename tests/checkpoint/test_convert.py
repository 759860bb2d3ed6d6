"""Converting and exporting: everything a checkpoint is made of arrives, and an old one is never lost."""

import base64
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import LAYOUTS, SMALL, SMALL_CTC, write_checkpoint
from mlx.utils import tree_flatten
from places import HERE, PARITY

import nanoasr
from nanoasr import backend
from nanoasr.checkpoint.ctc_tokens import load_ctc_tokens
from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.errors import CheckpointError
from nanoasr.train.export import export

CTC = replace(SMALL, ctc=replace(SMALL_CTC, vocab_size=300, blank_id=299))


def parameters(folder: Path) -> dict[str, np.ndarray]:
    model = load_checkpoint(folder, dtype="float32").model
    return {name: np.array(x) for name, x in tree_flatten(model.parameters())}


@pytest.fixture(params=["beside the config", "beside the tokenizer"])
def with_units(request, tmp_path) -> Path:
    """A checkpoint with a CTC branch and its text units, in either of the two places."""
    folder = write_checkpoint(tmp_path / "c", "official", CTC)
    units = "".join(f"{base64.b64encode(bytes([i])).decode()} {i}\n" for i in range(256))
    place = folder if request.param == "beside the config" else folder / "Qwen3-0.6B"
    (place / "multilingual.tiktoken").write_text(units)
    return folder


def has_word_times(folder: Path) -> bool:
    checkpoint = load_checkpoint(folder)
    return load_ctc_tokens(checkpoint.layout, checkpoint.tokenizer) is not None


def test_a_converted_checkpoint_keeps_its_word_times(with_units, tmp_path):
    assert has_word_times(with_units)
    assert has_word_times(nanoasr.convert(with_units, tmp_path / "converted"))


def test_a_fine_tuned_checkpoint_keeps_its_word_times(with_units, tmp_path):
    checkpoint = load_checkpoint(with_units)
    folder = backend.run(export, checkpoint.model, checkpoint.layout, tmp_path / "exported")
    assert has_word_times(folder)


def test_an_exported_network_has_its_weights_in_bfloat16(tmp_path):
    checkpoint = load_checkpoint(PARITY / "official", dtype="float32")
    found = parameters(backend.run(export, checkpoint.model, checkpoint.layout, tmp_path / "out"))
    for name, value in tree_flatten(checkpoint.model.parameters()):
        expected = value.astype(mx.bfloat16).astype(mx.float32)
        np.testing.assert_array_equal(found[name], np.array(expected))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_converts_without_changing_a_weight(layout, tmp_path):
    before = parameters(PARITY / layout)
    after = parameters(nanoasr.convert(PARITY / layout, tmp_path / "out"))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_folder_with_other_files_is_not_overwritten(tmp_path):
    out = nanoasr.convert(PARITY / "official", tmp_path / "out")
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="holds more than a converted checkpoint"):
        nanoasr.convert(PARITY / "official", out, overwrite=True)
    assert (out / "thesis.txt").is_file()


KILLED = """
import os, signal, sys
import nanoasr
from nanoasr.checkpoint import convert
source, out, kill_at, exchange = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "exchange"
if not exchange:  # as on a file system that cannot do it
    convert._exchange = lambda one, other: False
moves = 0
def watch(event, arguments):
    global moves
    moving = event in ("os.rename", "shutil.rmtree") or (event == "ctypes.dlsym" and "rename" in str(arguments))
    if moving and out in repr(arguments) or event == "ctypes.dlsym" and moving:
        moves += 1
        if moves == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
convert.convert(source, out, overwrite=True)
"""


@pytest.mark.parametrize("how", ["exchange", "two renames"])
def test_a_kill_while_overwriting_never_loses_the_only_copy(how, tmp_path):
    old, new = (write_checkpoint(tmp_path / name, "mlx_audio", SMALL) for name in ("old", "new"))
    out = nanoasr.convert(old, tmp_path / "folder" / "out")
    for kill_at in range(1, 9):
        arguments = [sys.executable, "-c", KILLED, new, out, str(kill_at), how]
        status = subprocess.run(arguments, cwd=HERE.parent, timeout=120).returncode
        if status == 0:
            break
        assert status == -signal.SIGKILL
        if how == "exchange":
            load_checkpoint(out)  # at any moment there is one under its name
        with pytest.raises(CheckpointError, match="not empty"):
            nanoasr.convert(new, out)  # which puts a moved one back
        load_checkpoint(out)
    assert 2 <= kill_at < 8
    assert os.listdir(out.parent) == ["out"]
