"""A training as a whole: it learns, it goes on after a kill as if nothing had been, it ends in a checkpoint."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from nanoasr import backend
from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.errors import CheckpointError
from nanoasr.train.augment import AugmentConfig
from nanoasr.train.batches import BatchConfig
from nanoasr.train.config import DropoutConfig
from nanoasr.train.loop import train
from nanoasr.train.lora import LoRAConfig
from nanoasr.train.optimizer import OptimizerConfig
from nanoasr.train.prompts import PromptConfig


def state_of(config):
    return {name: np.array(value) for name, value in mx.load(f"{config.out}/state.safetensors").items()}


@pytest.mark.slow
def test_it_learns_a_few_recordings_by_heart_with_both_branches(tiny_config, manifest):
    steps = OptimizerConfig(steps=220, rate=6e-3, warmup=20, average=0.9)
    config = replace(tiny_config, optimizer=steps, valid={"same": str(manifest)})
    outcome = train(config)
    assert outcome.steps == 220
    assert outcome.scores["same"].ctc == outcome.scores["same"].text == 0.0
    assert outcome.scores["same"].words == 11


def test_going_on_after_a_kill_gives_the_very_same_weights(tiny_config, tmp_path):
    everything_random = replace(
        tiny_config,
        augment=AugmentConfig(noise=1.0, reverb=1.0),
        dropout=DropoutConfig(0.1, 0.1, 0.1),
        batch=BatchConfig(seconds=4, longest=4),
        prompts=PromptConfig(),
    )
    whole = replace(everything_random, out=str(tmp_path / "whole"))
    train(whole)

    killed = replace(everything_random, out=str(tmp_path / "killed"))
    assert train(killed, stop_after=0.0).steps == 1
    train(killed)

    a, b = state_of(whole), state_of(killed)
    assert a.keys() == {"weights", "first", "second", "average"}
    for name in a:
        if backend.on_cpu:
            np.testing.assert_array_equal(a[name], b[name])
        else:  # a GPU adds up in another order each time
            assert np.linalg.norm(a[name] - b[name]) < 0.02 * np.linalg.norm(b[name])


def test_a_state_of_another_network_is_refused(tiny_config):
    train(tiny_config, stop_after=0.0)
    bigger = replace(tiny_config.model, llm=replace(tiny_config.model.llm, num_hidden_layers=3))
    with pytest.raises(CheckpointError, match="another network"):
        train(replace(tiny_config, model=bigger))


def test_the_checkpoint_is_the_average_of_the_weights_and_loads_like_any_other(tiny_config):
    outcome = train(tiny_config)
    checkpoint = load_checkpoint(str(outcome.checkpoint), dtype="float32")
    weight = np.array(checkpoint.model.audio_encoder.tp_norm.weight)
    average = state_of(tiny_config)["average"]
    found = [start for start in range(0, len(average), 64)
             if np.allclose(average[start : start + len(weight)], weight, atol=4e-3)]  # fmt: skip
    assert found
    assert checkpoint.model.config.ctc.blank_id == checkpoint.tokenizer.size


def test_lora_trains_only_its_own_weights_and_ends_merged(tiny_config, tmp_path):
    base = train(replace(tiny_config, out=str(tmp_path / "base"))).checkpoint
    config = replace(tiny_config, model=None, init=str(base), lora=LoRAConfig(rank=4))
    tuned = train(config).checkpoint
    before, after = (mx.load(f"{folder}/model.safetensors") for folder in (base, tuned))
    assert before.keys() == after.keys()
    changed = {name for name in before if not mx.array_equal(before[name], after[name])}
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert changed and all(name.split(".")[-2] in projections for name in changed)


def test_frozen_parts_stay_to_the_bit(tiny_config, tmp_path):
    base = train(replace(tiny_config, out=str(tmp_path / "base"))).checkpoint
    config = replace(tiny_config, model=None, init=str(base), freeze=("audio_encoder.", "llm."))
    tuned = train(config).checkpoint
    before, after = (mx.load(f"{folder}/model.safetensors") for folder in (base, tuned))
    changed = {name.split(".")[0] for name in before if not mx.array_equal(before[name], after[name])}
    assert changed == {"audio_adaptor", "ctc", "ctc_decoder"}
