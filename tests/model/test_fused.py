"""All layers of the decoder as one kernel, against the layers themselves. The kernel needs an NVIDIA GPU."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from nearness import differs

from nanoasr import backend
from nanoasr.model import fused
from nanoasr.model.cache import Cache
from nanoasr.model.config import LLMConfig
from nanoasr.model.fused import FusedCache
from nanoasr.model.qwen3 import Qwen3

FULL = LLMConfig(vocab_size=300, num_hidden_layers=3)
SMALL = replace(FULL, hidden_size=256, intermediate_size=640, num_attention_heads=4, num_key_value_heads=2, head_dim=64)
GROUPED = replace(FULL, hidden_size=512, num_attention_heads=8, num_key_value_heads=2, intermediate_size=1024)
on_cuda = pytest.mark.skipif(not backend.on_cuda, reason="no NVIDIA GPU")


def a_decoder(config: LLMConfig, dtype: mx.Dtype = mx.bfloat16) -> Qwen3:
    mx.random.seed(1)
    llm = Qwen3(config)
    for layer in llm.model.layers:
        for norm in (layer.input_layernorm, layer.self_attn.q_norm, layer.self_attn.k_norm):
            norm.weight = mx.random.uniform(0.5, 1.5, norm.weight.shape)
    llm.set_dtype(dtype)
    llm.eval()
    return llm


def embeddings(config: LLMConfig, rows: int, steps: int) -> mx.array:
    return mx.random.normal((rows, steps, config.hidden_size), key=mx.random.key(rows * steps)).astype(mx.bfloat16)


@on_cuda
@pytest.mark.parametrize("config", [FULL, SMALL, GROUPED], ids=["full", "small", "grouped"])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_passes_of_any_width_give_what_the_layers_give(config, rows):
    llm = a_decoder(config)
    plain, kernel = Cache(config), llm.new_cache()
    assert isinstance(kernel, FusedCache)
    for steps in (9, 1, 1, 5, 300 // rows, 1):
        x = embeddings(config, rows, steps)
        assert differs(llm(x, kernel), llm(x, plain)) < 0.03
    assert kernel.length == plain.length


@on_cuda
def test_rows_of_unequal_prompts_forget_leave_and_join_as_with_the_layers():
    llm = a_decoder(FULL)
    gaps = [3, 0, 7, 1]
    plain, kernel = Cache(FULL, mx.array(gaps)), llm.new_cache(gaps)
    changes = [
        lambda cache: None,
        lambda cache: cache.drop_last([2, 0, 1, 3]),
        lambda cache: cache.keep_rows([3, 0, 1]),
        lambda cache: cache.keep_rows([2]),
    ]
    rows, mx_rows = 4, [12, 6, 1, 4, 1]
    for steps, change in zip(mx_rows, [*changes, changes[0]], strict=True):
        x = embeddings(FULL, rows, steps)
        ours, theirs = llm(x, kernel), llm(x, plain)
        own = np.arange(steps) >= np.array(gaps)[:, None] if steps == 12 else np.ones((rows, steps), bool)
        ours, theirs = (np.array(y.astype(mx.float32))[own] for y in (ours, theirs))
        assert differs(mx.array(ours), mx.array(theirs)) < 0.03
        change(kernel), change(plain)
        rows = len(kernel.lengths)
    prompt, others = embeddings(FULL, 2, 20), (llm.new_cache([0, 4]), Cache(FULL, mx.array([0, 4])))
    for cache, other in zip((kernel, plain), others, strict=True):
        llm(prompt, other)
        cache.join(other)
    x = embeddings(FULL, 3, 1)
    assert differs(llm(x, kernel), llm(x, plain)) < 0.03


@on_cuda
@pytest.mark.parametrize("gaps", [[0, 0], [30, 0]])
def test_long_prompts_take_the_layers_and_go_on_in_the_kernel(gaps):
    llm = a_decoder(FULL)
    plain, kernel = Cache(FULL, mx.array(gaps) if any(gaps) else None), llm.new_cache(gaps)
    prompt, x = embeddings(FULL, 2, fused.MOST_TOKENS), embeddings(FULL, 2, 1)
    assert differs(llm(prompt, kernel)[:, 30:], llm(prompt, plain)[:, 30:]) < 0.03
    assert differs(llm(x, kernel), llm(x, plain)) < 0.03


@on_cuda
def test_new_weights_are_noticed():
    llm = a_decoder(SMALL)
    x = embeddings(SMALL, 1, 4)
    before = llm(x, llm.new_cache())
    down = llm.model.layers[1].mlp.down_proj
    down.weight = -3 * down.weight
    assert differs(llm(x, llm.new_cache()), llm(x)) < 0.03
    assert differs(llm(x), before) > 0.1


@on_cuda
def test_it_does_not_take_what_it_cannot_read():
    llm = a_decoder(SMALL)
    llm.model.layers[0].mlp.down_proj = llm.model.layers[0].mlp.down_proj.to_quantized(bits=8)
    assert isinstance(llm.new_cache(), Cache)
    assert isinstance(a_decoder(SMALL, mx.float32).new_cache(), Cache)


def test_without_an_nvidia_gpu_it_is_not_used():
    if not backend.on_cuda:
        assert isinstance(a_decoder(SMALL).new_cache(), Cache)


def test_its_cache_keeps_rows_as_long_as_they_are():
    """What the kernel does not do: prompts taken over from the layers, rows that leave, come again and join."""
    config = replace(SMALL, num_hidden_layers=1)

    def adopted(gaps: list[int], steps: int, value: float) -> FusedCache:
        cache = FusedCache(config, gaps)
        step = mx.broadcast_to(mx.arange(steps)[None, None, :, None], (len(gaps), 2, steps, 64))
        row = 100 * mx.arange(len(gaps))[:, None, None, None]
        cache.adopt([step + row + value, -step - row - value], steps)
        return cache

    def steps(cache: FusedCache, row: int) -> list[int]:
        return cache.data[0, cache.slots[row], 1, : cache.lengths[row], 5].tolist()

    cache = adopted([2, 0], 4, 1000)
    assert [steps(cache, row) for row in (0, 1)] == [[1002, 1003], [1100, 1101, 1102, 1103]]
    cache.drop_last([1, 0])
    cache.join(adopted([0], 300, 2000))
    assert [len(steps(cache, row)) for row in (0, 1, 2)] == [1, 4, 300]
    cache.keep_rows([2, 0])
    assert steps(cache, 0)[-1] == 2299
    assert steps(cache, 1) == [1002]
    cache.keep_rows([1, 1])
    assert [steps(cache, row) for row in (0, 1)] == [[1002], [1002]]
    assert cache.data[1, cache.slots[0], 0, 0, 0].item() == -1002


def test_rows_that_join_are_written_beside_those_that_are_there(monkeypatch):
    """Rows come and go at random: each holds what it was given, in an array that seldom moves."""
    monkeypatch.setattr(fused, "_MOST_SPARE", 4)
    monkeypatch.setattr(FusedCache, "GROWTH", 16)
    config = replace(SMALL, num_hidden_layers=1, num_key_value_heads=1, head_dim=64)
    random = np.random.default_rng(0)
    cache, held, moves, last = None, [], 0, None
    for n in range(60):
        if len(held) < 12:
            count, steps = random.integers(1, 4), int(random.integers(2, 12))
            gaps = random.integers(0, steps, count).tolist()
            new = cache.open(gaps, steps) if cache and n % 5 else FusedCache(config, gaps)
            values = 100 * n + 12 * np.arange(count)[:, None] + np.arange(steps)
            array = mx.broadcast_to(mx.array(values.astype(np.float32))[:, None, :, None], (int(count), 1, steps, 64))
            new.adopt([array, -array], steps)
            staying = list(range(0, count, 2))
            new.keep_rows(staying)
            held += [values[row, gaps[row] :].tolist() for row in staying]
            cache = cache or new
            if cache is not new:
                cache.join(new)
        else:
            staying = sorted(random.choice(len(held), 6, replace=False).tolist())
            cache.keep_rows(staying)
            held = [held[row] for row in staying]
        moves, last = moves + (cache.data.shape != last), cache.data.shape
        for i, values in enumerate(held):
            assert cache.data[1, cache.slots[i], 0, : cache.lengths[i], 3].tolist() == [-value for value in values]
    assert moves <= 6


@on_cuda
@pytest.mark.parametrize("config", [FULL, SMALL, GROUPED], ids=["full", "small", "grouped"])
def test_wide_passes_give_what_the_layers_give_before_and_after_narrow_ones(config, monkeypatch):
    monkeypatch.setattr(fused, "WIDE_TOKENS", 40)
    llm, gaps = a_decoder(config), [3, 0, 7, 1] * 5
    plain, kernel = Cache(config, mx.array(gaps)), llm.new_cache(gaps)
    for steps in (12, 1, 9, 2, 1, 30):
        x = embeddings(config, 20, steps)
        own = np.arange(steps) >= np.array(gaps)[:, None] if steps == 12 else np.ones((20, steps), bool)
        ours, theirs = (np.array(y.astype(mx.float32))[own] for y in (llm(x, kernel), llm(x, plain)))
        assert differs(mx.array(ours), mx.array(theirs)) < 0.03
        forgotten = [steps // 2 - 1 if i % 3 else 0 for i in range(20)] if steps == 9 else [0] * 20
        kernel.drop_last(forgotten), plain.drop_last(forgotten)
    assert kernel.lengths == [length - 3 if i % 3 else length for i, length in enumerate([55 - gap for gap in gaps])]


@on_cuda
def test_prompts_are_written_beside_rows_that_go_on(monkeypatch):
    monkeypatch.setattr(fused, "WIDE_TOKENS", 40)
    llm = a_decoder(FULL)
    alone = llm.new_cache([0])
    together, rest = llm.new_cache([0]), embeddings(FULL, 1, 1)
    prompt = embeddings(FULL, 1, 20)
    llm(prompt, alone), llm(prompt, together)
    for steps in (30, 300):  # wide, and too long for it
        new = llm.new_cache([0, 2], steps, together)
        x = embeddings(FULL, 2, steps)
        states = llm(x, new)
        mx.eval(states, new.state())
        together.join(new)
    assert len(together.lengths) == 5
    wanted = llm(rest, alone)
    assert differs(llm(mx.broadcast_to(rest, (5, *rest.shape[1:])), together)[:1], wanted) < 0.03


@on_cuda
def test_less_shared_memory_is_enough_where_a_block_takes_fewer_rows_at_once(monkeypatch):
    monkeypatch.setattr(fused, "_tiles", lambda config: (1, 1))
    llm, plain = a_decoder(FULL), Cache(FULL)
    kernel = llm.new_cache()
    for steps in (9, 1, 40):
        x = embeddings(FULL, 2, steps)
        assert differs(llm(x, kernel), llm(x, plain)) < 0.03
