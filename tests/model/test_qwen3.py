"""The decoder against a plain statement in numpy of Qwen3, and its cache against doing without one."""

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from checkpoints import SMALL, random_tensors, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_map
from nearness import differs

from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.model.cache import KV, Cache
from nanoasr.model.config import LLMConfig
from nanoasr.model.qwen3 import Qwen3

LONG = 40


def by_definition(config: LLMConfig, tensors: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Embeddings [L, hidden] -> logits [L, vocabulary], in float64."""
    tensors = {name.removeprefix("llm."): value.astype(np.float64) for name, value in tensors.items()}

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.rms_norm_eps) * tensors[f"{name}.weight"]

    def heads(name: str, count: int, x: np.ndarray) -> np.ndarray:
        return (x @ tensors[f"{name}.weight"].T).reshape(len(x), count, config.head_dim).transpose(1, 0, 2)

    def rotate(x: np.ndarray) -> np.ndarray:
        half = config.head_dim // 2
        angles = np.arange(x.shape[1])[:, None] * config.rope_theta ** (-np.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)

    x = x.astype(np.float64)
    future = np.triu(np.full((len(x), len(x)), -np.inf), 1)
    groups = config.num_attention_heads // config.num_key_value_heads
    for i in range(config.num_hidden_layers):
        layer = f"model.layers.{i}"
        y = norm(f"{layer}.input_layernorm", x)
        q = rotate(norm(f"{layer}.self_attn.q_norm", heads(f"{layer}.self_attn.q_proj", config.num_attention_heads, y)))
        k = rotate(norm(f"{layer}.self_attn.k_norm", heads(f"{layer}.self_attn.k_proj", config.num_key_value_heads, y)))
        v = heads(f"{layer}.self_attn.v_proj", config.num_key_value_heads, y)
        weights = np.exp(q @ np.repeat(k, groups, 0).transpose(0, 2, 1) / config.head_dim**0.5 + future)
        mixed = weights / weights.sum(-1, keepdims=True) @ np.repeat(v, groups, 0)
        x = x + mixed.transpose(1, 0, 2).reshape(len(x), -1) @ tensors[f"{layer}.self_attn.o_proj.weight"].T
        y = norm(f"{layer}.post_attention_layernorm", x)
        gate, up = (y @ tensors[f"{layer}.mlp.{part}_proj.weight"].T for part in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ tensors[f"{layer}.mlp.down_proj.weight"].T
    head = "model.embed_tokens" if config.tie_word_embeddings else "lm_head"
    return norm("model.norm", x) @ tensors[f"{head}.weight"].T


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tie_word_embeddings": False},
        {"num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 10},
        {"num_key_value_heads": 4, "rope_theta": 1e4, "intermediate_size": 32},
    ],
    ids=["tied", "untied", "deeper", "without_groups"],
)
def test_logits_are_what_qwen3_is_defined_to_give(changed, tmp_path):
    config = replace(SMALL, llm=replace(SMALL.llm, **changed))
    tensors = random_tensors(config)
    llm = load_checkpoint(write_checkpoint(tmp_path / "c", "official", config, tensors), dtype="float32").model.llm
    ids = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    expected = by_definition(config.llm, tensors, tensors["llm.model.embed_tokens.weight"][ids])
    found = np.array(llm.logits(llm(llm.embed(mx.array(ids))[None]))[0])
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.fixture(scope="module")
def llm() -> Qwen3:
    mx.random.seed(0)
    return Qwen3(SMALL.llm)


def embeddings(rows: int, seed: int = 1) -> mx.array:
    return mx.random.normal((rows, LONG, SMALL.llm.hidden_size), key=mx.random.key(seed))


def alone(llm: Qwen3, x: mx.array) -> np.ndarray:
    """The state of the last step of one row, without a cache."""
    return np.array(llm(x[None]))[0, -1]


@pytest.mark.parametrize("steps", [[1] * 12, [5, 7], [1, 11], [3, 1, 1, 4, 1, 2]])
def test_a_cache_gives_what_one_pass_gives_however_the_steps_come(llm, steps):
    x, cache, done = embeddings(2), Cache(SMALL.llm), 0
    whole = np.array(llm(x[:, :12]))
    for count in steps:
        found = np.array(llm(x[:, done : done + count], cache))
        assert np.allclose(found, whole[:, done : done + count], atol=1e-4)
        done += count


def test_a_cache_grows_over_the_edge_of_its_buffers_and_copies_only_there():
    kv, written = KV(), []
    for i in range(KV.GROWTH + 44):
        one = mx.full((1, 1, 1, 2), float(i))
        keys, values = kv.append(one, -one, i)
        written.append(float(i))
        assert kv.keys.shape[2] in (KV.GROWTH, 2 * KV.GROWTH)
    assert keys[0, 0, :, 0].tolist() == written
    assert (-values[0, 0, :, 1]).tolist() == written


def test_rows_of_unequal_prompts_stand_flush_right(llm):
    x, lengths = embeddings(3), [9, 4, 1]
    padded = mx.stack([mx.pad(x[row, :n], [(9 - n, 0), (0, 0)]) for row, n in enumerate(lengths)])
    cache = Cache(SMALL.llm, mx.array([9 - n for n in lengths]))
    states = np.array(llm(padded, cache))
    assert np.isfinite(states).all()
    step = np.array(llm(mx.stack([x[row, n] for row, n in enumerate(lengths)])[:, None], cache))
    for row, n in enumerate(lengths):
        assert np.allclose(states[row, -1], alone(llm, x[row, :n]), atol=1e-4)
        assert np.allclose(step[row, 0], alone(llm, x[row, : n + 1]), atol=1e-4)


def test_what_is_dropped_is_forgotten(llm):
    x, other = embeddings(1), embeddings(1, seed=2)
    cache = Cache(SMALL.llm)
    llm(x[:, :6], cache)
    llm(other[:, :5], cache)
    cache.drop_last([5])
    found = np.array(llm(x[:, 6:7], cache))
    assert np.allclose(found[0, 0], alone(llm, x[0, :7]), atol=1e-4)
    assert cache.length == 7


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_rows_come_and_go_and_each_goes_on_as_if_alone(llm, data):
    """Any order of prompts joining, rows leaving and steps; `lengths` is what each row of the cache has heard."""
    x = embeddings(6)
    first = data.draw(st.integers(1, 8), label="first prompt")
    cache, rows, lengths, waiting = Cache(SMALL.llm), [0], [first], [1, 2, 3, 4, 5]
    llm(x[:1, :first], cache)
    for _ in range(data.draw(st.integers(1, 6), label="events")):
        event = data.draw(st.sampled_from(["join", "keep", "drop", "step"]))
        if event == "join" and waiting:
            row, length = waiting.pop(), data.draw(st.integers(1, 12), label="prompt")
            other = Cache(SMALL.llm)
            llm(x[row : row + 1, :length], other)
            cache.join(other)
            rows, lengths = [*rows, row], [*lengths, length]
        elif event == "keep" and len(rows) > 1:
            kept = data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=1, unique=True), label="kept")
            cache.keep_rows(kept)
            rows, lengths = [rows[i] for i in kept], [lengths[i] for i in kept]
        elif event == "drop":
            counts = [data.draw(st.integers(0, n - 1), label="dropped") for n in lengths]
            cache.drop_last(counts)
            lengths = [n - count for n, count in zip(lengths, counts, strict=True)]
        states = np.array(llm(mx.stack([x[row, n] for row, n in zip(rows, lengths, strict=True)])[:, None], cache))
        lengths = [n + 1 for n in lengths]
        for state, row, n in zip(states[:, 0], rows, lengths, strict=True):
            assert np.allclose(state, alone(llm, x[row, :n]), atol=1e-4)


def step_by_step(llm: Qwen3, x: mx.array) -> mx.array:
    cache = Cache(llm.config)
    return mx.concatenate([llm(x[:, i : i + 1], cache) for i in range(x.shape[1])], axis=1)


def changeable() -> Qwen3:
    """A decoder of the test's own."""
    mx.random.seed(3)
    llm = Qwen3(SMALL.llm)
    llm.eval()
    return llm


def test_single_steps_follow_a_change_of_the_layers_kind():
    llm = changeable()
    x = embeddings(2)[:, :9]
    assert differs(step_by_step(llm, x), llm(x)) < 1e-5
    plain = llm(x)
    nn.quantize(llm, group_size=32, bits=4, class_predicate=lambda path, part: path.endswith("down_proj"))
    assert differs(llm(x), plain) > 1e-3
    assert differs(step_by_step(llm, x), llm(x)) < 1e-5


def test_single_steps_go_through_layers_that_are_quantized_unlike_each_other():
    llm = changeable()
    x = embeddings(2)[:, :9]
    for layer, bits in zip(llm.model.layers, (4, 8), strict=False):
        nn.quantize(layer, group_size=32, bits=bits, class_predicate=lambda path, part: path.endswith("o_proj"))
    assert differs(step_by_step(llm, x), llm(x)) < 1e-5


def test_single_steps_see_weights_that_were_changed_after_others():
    llm = changeable()
    x = embeddings(1)[:, :5]
    step_by_step(llm, x)
    llm.update(tree_map(lambda weight: weight * 1.5, llm.parameters()))
    assert differs(step_by_step(llm, x), llm(x)) < 1e-5
