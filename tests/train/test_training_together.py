"""Several processes that train as one, here on the CPU through MLX's `ring`."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import yaml

import nanoasr
from nanoasr.train.batches import BatchConfig, Source
from nanoasr.train.loop import train
from nanoasr.train.optimizer import OptimizerConfig

LAUNCH = Path(sys.executable).with_name("mlx.launch")
pytestmark = pytest.mark.skipif(not LAUNCH.exists(), reason="MLX is not installed in this environment as a package")
SHARED = """
import sys
import mlx.core as mx
from nanoasr.train.config import read_config
from nanoasr.train.loop import _Training
training = _Training(read_config(sys.argv[1]))
apart = []
for batch, after in training.batches():
    training.do_step(batch, after)
    mean = mx.distributed.all_sum(mx.array(float(batch.lengths.sum())))
    apart.append(mean.item() != 2 * batch.lengths.sum())
weights = training.state["weights"]
spread = mx.abs(mx.distributed.all_max(weights) - mx.distributed.all_min(weights)).max().item()
print("spread", spread, "unlike", any(apart))
"""


def launch(*command: str) -> str:
    both = [LAUNCH, "-n", "2", "--backend", "ring", "--", *command]
    project = os.environ | {"PYTHONPATH": str(Path(nanoasr.__file__).parents[1])}
    found = subprocess.run(both, capture_output=True, text=True, timeout=120, env=project)
    assert found.returncode == 0, found.stderr
    return found.stdout + found.stderr


def write_config(config, path: Path) -> Path:
    """The settings that `tiny_config` changes, as a file."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value

    path.write_text(yaml.safe_dump(plain(asdict(config))), encoding="utf-8")
    return path


def state_of(config) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in mx.load(f"{config.out}/state.safetensors").items()}


@pytest.mark.slow
def test_two_that_see_the_same_do_what_one_does(tiny_config, manifest, tmp_path):
    one = tmp_path / "one.jsonl"
    first = json.loads(manifest.read_text(encoding="utf-8").splitlines()[0])
    one.write_text(json.dumps(first | {"audio": f"{manifest.parent}/{first['audio']}"}), encoding="utf-8")
    alone = replace(tiny_config, train=(Source(str(one)),), out=str(tmp_path / "alone"))
    train(alone)
    together = replace(alone, out=str(tmp_path / "together"))
    told = launch(sys.executable, "-m", "nanoasr", "train", str(write_config(together, tmp_path / "c.yaml")))
    assert told.count("by 2 processes") == 1
    a, b = state_of(alone), state_of(together)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    assert (tmp_path / "together" / "checkpoint" / "model.safetensors").is_file()


@pytest.mark.slow
def test_two_that_see_different_batches_keep_the_same_weights(tiny_config, tmp_path):
    steps = OptimizerConfig(steps=6, rate=3e-3, warmup=2, average=0.9)
    config = replace(tiny_config, batch=BatchConfig(seconds=2, longest=4), optimizer=steps)
    script = tmp_path / "shared.py"
    script.write_text(SHARED, encoding="utf-8")
    told = launch(sys.executable, str(script), str(write_config(config, tmp_path / "c.yaml")))
    assert told.count("spread 0.0 unlike True") == 2
