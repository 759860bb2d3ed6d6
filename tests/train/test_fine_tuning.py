"""Fine-tuning the checkpoint that ships, as a newcomer would: recordings, a manifest, LoRA, a checkpoint that loads."""

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

import nanoasr
from nanoasr.errors import NanoASRError
from nanoasr.train.config import read_config
from nanoasr.train.curve import read_curve
from nanoasr.train.evaluate import word_error_rate
from nanoasr.train.loop import train
from nanoasr.train.network import expand_quantized

ASSETS = Path(__file__).parents[2] / "assets"
DIGITS = ASSETS / "speech" / "digits"
ENGLISH = "zero one two three four five six seven eight nine".split()
ITALIAN = "zero uno due tre quattro cinque sei sette otto nove".split()
SETTINGS = f"""
out: run
init: {ASSETS / "nano-tiny"}
train: [{{manifest: train.jsonl, weight: 4}}]
valid: {{unheard: test.jsonl}}
lora: {{rank: 8}}
optimizer: {{steps: 90, rate: 3e-3, warmup: 10, average: 0.9}}
loss: {{text_ramp: 1, label_smoothing: 0}}
batch: {{seconds: 12, longest: 8, silence: 0}}
augment: null
prompts: {{hotwords: 0}}
log_every: 4
"""


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (DIGITS / name).read_text(encoding="utf-8").splitlines()]


def in_italian(text: str) -> str:
    return " ".join(ITALIAN[ENGLISH.index(word)] for word in text.split())


@pytest.fixture(scope="module")
def italian(tmp_path_factory) -> Path:
    """Digits spoken in English, to be written in Italian: nothing that any checkpoint does by itself."""
    folder = tmp_path_factory.mktemp("italian")
    for name in ("train.jsonl", "test.jsonl"):
        rows = [{"audio": str(DIGITS / row["audio"]), "text": in_italian(row["text"])} for row in lines(name)]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "italian.yaml").write_text(SETTINGS, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_lora_teaches_the_bundled_checkpoint_what_it_could_not_do_before(italian):
    outcome = train(read_config(italian / "italian.yaml"))
    before, *_, after = (
        e["wer unheard llm"] for e in read_curve(italian / "run" / "curve.jsonl") if "wer unheard llm" in e
    )
    assert before > 70
    assert after < 45 and outcome.scores["unheard"].text == after
    losses = [entry["text"] for entry in read_curve(italian / "run" / "curve.jsonl") if "text" in entry]
    assert losses[-1] < losses[0] / 8

    asr = nanoasr.load(outcome.checkpoint)
    rows = lines("test.jsonl")
    heard = [t.text for t in asr.transcribe_batch([DIGITS / row["audio"] for row in rows], batch_size=4)]
    assert word_error_rate([in_italian(row["text"]) for row in rows], heard) < 45
    assert any("demonstration" in note for note in asr.info().notes)
    assert (italian / "run" / "curve.html").stat().st_size > 1000


@pytest.mark.slow
def test_the_settings_that_ship_can_be_trained_with(tmp_path):
    text = (DIGITS / "finetune.yaml").read_text(encoding="utf-8")
    for name in ("train.jsonl", "test.jsonl", "../../nano-tiny"):
        text = text.replace(name, str((DIGITS / name).resolve()))
    (tmp_path / "c.yaml").write_text(text.replace("../../../runs/george", "run"), encoding="utf-8")
    config = read_config(tmp_path / "c.yaml")
    outcome = train(config, stop_after=0.0)
    assert outcome.steps == 1
    assert nanoasr.load(outcome.checkpoint).transcribe(DIGITS / "test-00.opus").text


def test_a_recording_that_is_missing_is_named(italian, tmp_path):
    (tmp_path / "train.jsonl").write_text('{"audio": "gone.wav", "text": "hello"}\n', encoding="utf-8")
    (tmp_path / "c.yaml").write_text(SETTINGS.replace("valid: {unheard: test.jsonl}", ""), encoding="utf-8")
    with pytest.raises(NanoASRError, match=r"gone\.wav"):
        train(read_config(tmp_path / "c.yaml"))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 64)
        self.layers = [nn.Linear(64, 32), nn.Linear(64, 32, bias=False)]


def test_quantized_layers_become_plain_ones_that_can_be_trained():
    model = Two()
    plain = dict(tree_flatten(model.parameters()))
    nn.quantize(model, group_size=32, bits=8)
    x = mx.random.normal((3, 64), key=mx.random.key(0))
    quantized = [np.array(layer(x)) for layer in model.layers]
    expand_quantized(model)
    again = dict(tree_flatten(model.trainable_parameters()))
    assert again.keys() == plain.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(np.array(again[name]), np.array(value), atol=0.02)
    for layer, expected in zip(model.layers, quantized, strict=True):
        np.testing.assert_allclose(np.array(layer(x)), expected, atol=1e-4)
