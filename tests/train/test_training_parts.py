"""The parts of a training step by themselves: packing rows, the optimizer, LoRA, scoring, settings."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from nanoasr.errors import OptionError
from nanoasr.model.ctc import collapse
from nanoasr.model.nano import Nano
from nanoasr.train.batches import Batch
from nanoasr.train.config import read_config
from nanoasr.train.evaluate import word_error_rate
from nanoasr.train.lora import LoRAConfig, add_lora, merge_lora
from nanoasr.train.memory import depthwise
from nanoasr.train.network import fit_together, freeze
from nanoasr.train.optimizer import OptimizerConfig, Packing, clip, first_state, update
from nanoasr.train.step import text_states


@pytest.fixture
def model(tiny_config):
    mx.random.seed(3)
    return Nano(fit_together(tiny_config.model, 40)).eval()


def test_padded_rows_are_told_their_texts_as_each_is_alone(model):
    rng = np.random.default_rng(0)
    counts = [(3, 5, 2, 4), (2, 7, 3, 2)]  # prefix, audio, suffix, text
    audio = mx.random.normal((2, 8, 32), key=mx.random.key(1))
    ids = [[rng.integers(0, 40, n).tolist() for n in (p, s, u)] for p, _, s, u in counts]

    def row(lists, width):
        return mx.array([ids + [0] * (width - len(ids)) for ids in lists])

    lengths = mx.array(counts)
    batch = Batch(
        0, None, None, None, lengths[:, 1], row([i[0] for i in ids], 4), lengths[:, 0],
        row([i[1] for i in ids], 3), lengths[:, 2], row([i[2] for i in ids], 6), lengths[:, 3],
    )  # fmt: skip
    states = text_states(model, batch, audio)
    for i, (p, a, s, u) in enumerate(counts):
        embed = model.llm.embed
        prefix, suffix, text = (embed(mx.array(part)) for part in ids[i])
        alone = model.llm(mx.concatenate([prefix, audio[i, :a], suffix, text])[None])[0]
        expected = alone[p + a + s - 1 : p + a + s - 1 + u]
        np.testing.assert_allclose(np.array(states[i, :u]), np.array(expected), atol=2e-5)


def test_the_depthwise_gradient_is_that_of_the_convolution():
    v, kernel = mx.random.normal((2, 9, 6), key=mx.random.key(0)), mx.random.normal((11, 6), key=mx.random.key(1))
    weights = mx.random.normal((2, 9, 6), key=mx.random.key(2))

    def reference(v, kernel):
        return mx.conv1d(v, kernel.T[..., None], padding=5, groups=6)

    np.testing.assert_allclose(np.array(depthwise(v, kernel)), np.array(reference(v, kernel)), atol=1e-5)
    ours, theirs = (
        mx.grad(lambda v, k, f=f: (f(v, k) * weights).sum(), argnums=(0, 1))(v, kernel) for f in (depthwise, reference)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), atol=1e-4)


def test_packing_gives_back_every_tensor_and_knows_matrices_from_vectors():
    tree = {"a": {"weight": mx.arange(6.0).reshape(2, 3), "bias": mx.ones(70)}, "b": [mx.full((1, 1, 2), 5.0)]}
    packing = Packing(tree)
    vector = packing.pack(tree)
    assert vector.size == packing.size == 64 + 128 + 64
    back = packing.unpack(vector)
    np.testing.assert_array_equal(back["a"]["weight"], tree["a"]["weight"])
    np.testing.assert_array_equal(back["b"][0], tree["b"][0])
    assert float(packing.matrices().sum()) == 6 + 2


def test_adamw_is_the_textbook_formula():
    config = OptimizerConfig(betas=(0.9, 0.99), weight_decay=0.1, average=0.5)
    w, state = np.array([1.0, -2.0]), first_state(mx.array([1.0, -2.0]), average=True)
    m = v = np.zeros(2)
    average = w.copy()
    for step in (1, 2, 3):
        g = np.array([0.5, -1.0]) * step
        scalars = (mx.array(x) for x in (0.01, 0.5, float(step)))
        state = update(state, mx.array(g, dtype=mx.float32), mx.array([1.0, 0.0]), *scalars, config)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        direction = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.99**step)) + 1e-8)
        w = w - 0.01 * (direction + 0.1 * np.array([1.0, 0.0]) * w)
        average = 0.5 * average + 0.5 * w
    np.testing.assert_allclose(np.array(state["weights"]), w, rtol=1e-5)
    np.testing.assert_allclose(np.array(state["average"]), average, rtol=1e-5)


def test_a_gradient_is_clipped_to_its_norm_and_dropped_where_it_is_not_finite():
    clipped, norm = clip(mx.array([3.0, 4.0]), 1.0)
    assert float(norm) == 5.0
    np.testing.assert_allclose(np.array(clipped), [0.6, 0.8], rtol=1e-5)
    np.testing.assert_array_equal(np.array(clip(mx.array([mx.nan, 1.0]), 1.0)[0]), [0, 0])


def test_the_rate_rises_then_falls_to_its_end():
    config = OptimizerConfig(steps=100, rate=1.0, warmup=10, final=0.1)
    rates = [config.rate_at(step) for step in range(101)]
    assert rates[0] == 0.1 and max(rates) == rates[10] == 1.0 and rates[100] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_merged_lora_does_what_it_did_beside_the_weights(model):
    add_lora(model, LoRAConfig(rank=2, scale=3.0))
    for layer in model.llm.model.layers:
        layer.mlp.down_proj.lora_b = mx.random.normal((2, 32), key=mx.random.key(9))
        layer.self_attn.qkv_proj.lora_b = mx.random.normal((2, 64), key=mx.random.key(8))
    x = mx.random.normal((1, 5, 32), key=mx.random.key(7))
    beside = np.array(model.llm(x))
    merge_lora(model)
    np.testing.assert_allclose(np.array(model.llm(x)), beside, atol=1e-4)
    assert "lora" not in str(model.parameters().keys()) + str(model.llm.model.layers[0].parameters())


def test_freezing_a_part_that_does_not_exist_is_an_error(model):
    with pytest.raises(OptionError, match="audio_decoder"):
        freeze(model, ("audio_decoder.",))


def test_a_ctc_path_becomes_labels():
    assert collapse([9, 1, 1, 9, 1, 2, 2, 9], blank=9) == [1, 1, 2]
    assert collapse([9, 9], blank=9) == collapse([], blank=9) == []


def test_word_errors_ignore_case_and_punctuation_and_count_characters_of_chinese():
    assert word_error_rate(["Hello, World!"], ["hello world"]) == 0
    assert word_error_rate(["a b c d"], ["a x c"]) == 50
    assert word_error_rate(["几点了"], ["几点"]) == pytest.approx(100 / 3)


def test_word_errors_count_what_was_heard_where_nothing_was_said():
    assert word_error_rate(["a b", ""], ["a b", "c"]) == 50


SETTINGS = """
out: runs/one
train: [data/a.jsonl, {manifest: data/b.jsonl, weight: 2, join: 0.5, pieces: [2, 6]}]
valid: {held out: data/v.jsonl}
init: FunAudioLLM/Fun-ASR-Nano-2512
lora: {rank: 8}
optimizer: {steps: 100, rate: 1e-4, betas: [0.9, 0.99]}
augment: null
"""


def test_settings_are_read_with_paths_beside_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text(SETTINGS, encoding="utf-8")
    config = read_config(tmp_path / "c.yaml")
    assert config.out == str(tmp_path / "runs/one")
    assert [s.manifest for s in config.train] == [str(tmp_path / "data" / f"{x}.jsonl") for x in "ab"]
    assert config.train[1].weight == 2.0 and config.train[1].pieces == (2, 6)
    assert config.optimizer.rate == 1e-4 and config.lora.rank == 8 and config.augment is None
    assert config.init == "FunAudioLLM/Fun-ASR-Nano-2512"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps: 100", "stops: 100"), r"optimizer: no setting stops; there are steps, "),
        (("rate: 1e-4", "rate: fast"), r"optimizer\.rate: expected float"),
        (("pieces: [2, 6]", "pieces: [2]"), r"train\[1\]\.pieces: expected 2 values"),
        (("init: FunAudioLLM/Fun-ASR-Nano-2512", ""), r"either init .* or model"),
        (("lora: {rank: 8}", "lora: 8"), r"lora: expected settings by name"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, change, message):
    (tmp_path / "c.yaml").write_text(SETTINGS.replace(*change), encoding="utf-8")
    with pytest.raises(OptionError, match=message):
        read_config(tmp_path / "c.yaml")


def test_a_training_has_either_a_beginning_or_sizes(tiny_config):
    with pytest.raises(OptionError, match="not both"):
        replace(tiny_config, init="somewhere")
