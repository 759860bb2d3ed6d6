"""Attention maps: they are the weights that the layers themselves use, from whatever is asked for."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from places import PARITY, SPEECH

import nanoasr
from nanoasr import plots
from nanoasr.errors import OptionError
from nanoasr.model import qwen3, sanm
from nanoasr.results.transcript import Token

CLIP = SPEECH / "LJ002-0020.wav"
AUDIO = np.load(PARITY / "expected.npz")["audio"]


@pytest.fixture(scope="module", params=[PARITY / "official", PARITY / "transformers", None], ids=lambda p: p and p.name)
def asr(request):
    return nanoasr.load(request.param, dtype="float32")


@pytest.fixture(scope="module")
def x(asr):
    return asr.inspect(AUDIO, language="en")


@pytest.fixture
def passes(monkeypatch):
    """Every pass through a layer of the encoder or of Qwen3: the layer, what went in, what came out."""
    seen = []
    for kind in (sanm.Block, qwen3.Layer):
        call = kind.__call__

        def spy(self, x, *rest, call=call):
            y = call(self, x, *rest)
            seen.append((self, x, y))
            return y

        monkeypatch.setattr(kind, "__call__", spy)
    return seen


def mixed(weights: mx.array, v: mx.array) -> mx.array:
    """Values [heads, N, size], mixed as the weights [heads, U, N] say -> [U, heads x size]."""
    return (weights @ v).swapaxes(0, 1).reshape(weights.shape[1], -1)


def assert_close(found: mx.array, expected: mx.array):
    assert found.shape == expected.shape
    assert mx.abs(found - expected).max() < 1e-4 * mx.abs(expected).max()


def test_an_encoder_layer_gives_its_own_output_with_these_weights(asr, x, passes):
    asr.checkpoint.model.encode(x.features[None])
    blocks = passes.copy()
    assert len(blocks) == asr.encoder_layers
    for i, (block, before, after) in enumerate(blocks):
        weights = asr.attention(x, layer=i)
        heads, frames = block.self_attn.heads, len(x.features)
        assert weights.shape == (heads, frames, frames)
        v = mx.split(block.self_attn.linear_q_k_v(block.norm1(before)), 3, axis=-1)[2]
        y = mixed(weights, v.reshape(frames, heads, -1).swapaxes(0, 1))
        y = block.self_attn.linear_out(y) + block.self_attn.fsmn_block(v, None)[0]
        y = before[0] + y if before.shape == after.shape else y  # the first block has no residual
        assert_close(y + block.feed_forward(block.norm2(y)), after[0])


def test_a_layer_of_the_language_model_gives_its_own_output_with_these_weights(asr, x, passes):
    llm = asr.checkpoint.model.llm
    tokens = asr.text_attention(x).tokens
    ids = mx.array([token.id for token in tokens[:-1]])
    prompt = mx.concatenate([llm.embed(x.prefix_ids), x.audio_tokens, llm.embed(x.suffix_ids)])
    passes.clear()
    llm(mx.concatenate([prompt, llm.embed(ids)])[None])
    blocks = passes.copy()
    assert len(blocks) == asr.text_layers and len(tokens) > 1
    for i, (block, before, after) in enumerate(blocks):
        found, own = asr.text_attention(x, layer=i, tokens=tokens), block.self_attn
        qkv = own.qkv_proj(block.input_layernorm(before)).reshape(before.shape[1], -1, own.head_dim).swapaxes(0, 1)
        v = mx.repeat(qkv[own.heads + own.kv_heads :], own.heads // own.kv_heads, axis=0)
        y = before[0, len(prompt) - 1 :] + own.o_proj(mixed(found.weights, v))
        assert_close(y + block.mlp(block.post_attention_layernorm(y)), after[0, len(prompt) - 1 :])


def test_every_row_is_shared_out_whole_and_no_token_looks_ahead(asr, x):
    assert np.allclose(np.array(asr.attention(x).sum(axis=-1)), 1, atol=1e-5)
    found = asr.text_attention(x)
    assert np.allclose(np.array(found.weights.sum(axis=-1)), 1, atol=1e-5)
    weights, count = np.array(found.weights), len(found.tokens)
    start = weights.shape[2] - count + 1  # where the first written token is read
    for row in range(count):
        assert not weights[:, row, start + row :].any()
    assert (np.array(found.audio.sum(axis=-1)) < 1).all()


def test_the_audio_part_stands_behind_the_first_part_of_the_prompt(asr, x):
    found, before = asr.text_attention(x), len(x.prefix_ids)
    assert found.audio.shape[1:] == (len(found.tokens), len(x.audio_tokens))
    assert (found.audio == found.weights[:, :, before : before + len(x.audio_tokens)]).all()


def test_the_greedy_text_is_the_transcript(asr, x):
    written = asr.transcribe(AUDIO, language="en").tokens
    found = asr.text_attention(x).tokens
    assert [(token.id, token.text) for token in found] == [(token.id, token.text) for token in written]


def test_low_rate_tokens_are_all_that_the_text_can_look_at():
    asr = nanoasr.load(PARITY / "official", audio_tokens="low", dtype="float32")
    x = asr.inspect(AUDIO)
    assert asr.text_attention(x).audio.shape[2] == len(x.audio_tokens) < len(x.adapted)


@pytest.fixture(scope="module")
def small():
    return nanoasr.load(PARITY / "official", dtype="float32")


def test_a_recording_may_be_given_instead_of_an_inspection(small):
    inspected = small.inspect(CLIP)
    assert (small.attention(CLIP) == small.attention(inspected)).all()
    tokens = (Token(5, "a", 0.0), Token(6, "b", 0.0))
    found = small.text_attention(CLIP, tokens=tokens)
    assert found.tokens == tokens
    assert (found.audio == small.text_attention(inspected, tokens=tokens).audio).all()


def test_the_last_layer_can_be_counted_from_the_end(small):
    x, tokens = small.inspect(CLIP), (Token(5, "a", 0.0),)
    assert (small.attention(x) == small.attention(x, small.encoder_layers - 1)).all()
    last = small.text_attention(x, small.text_layers - 1, tokens)
    assert (small.text_attention(x, tokens=tokens).weights == last.weights).all()


@pytest.mark.parametrize("layer", [99, -99, 1.5, "2", None])
def test_a_layer_that_is_not_there_is_refused_with_those_that_are(small, layer):
    x = small.inspect(CLIP)
    with pytest.raises(OptionError, match=r"encoder has layers 0 to \d"):
        small.attention(x, layer)
    with pytest.raises(OptionError, match=r"language model has layers 0 to \d"):
        small.text_attention(x, layer, (Token(5, "a", 0.0),))


def test_tokens_of_another_checkpoint_are_refused(small):
    with pytest.raises(OptionError, match="151643"):
        small.text_attention(CLIP, tokens=(Token(151643, "", 0.0),))


@pytest.mark.parametrize("tokens", [(), (Token(5, "a", 0.0),)], ids=["no token", "one token"])
def test_a_text_may_be_short_or_empty(small, tokens):
    found = small.text_attention(CLIP, tokens=tokens)
    assert found.audio.shape[1] == len(tokens)
    assert (plots.text_attention_map(small.inspect(CLIP), found) is None) == (not tokens)


def heat(figure):
    return next(trace for trace in figure.data if trace.type == "heatmap")


def test_the_maps_show_one_head_or_the_mean_of_all(small):
    x = small.inspect(CLIP)
    weights, found = small.attention(x), small.text_attention(x)
    assert np.allclose(heat(plots.attention_map(x, weights, head=1)).z, np.array(weights[1]))
    assert np.allclose(heat(plots.attention_map(x, weights)).z, np.array(weights.mean(axis=0)))
    assert np.allclose(heat(plots.text_attention_map(x, found, head=0)).z, np.array(found.audio[0]))


def test_the_maps_stand_on_seconds_of_the_recording(small):
    x = small.inspect(CLIP)
    seconds = len(x.samples) / 16000
    encoded = heat(plots.attention_map(x, small.attention(x)))
    assert 0 < encoded.x[0] < encoded.x[-1] < seconds and list(encoded.x) == list(encoded.y)
    read = heat(plots.text_attention_map(x, small.text_attention(x)))
    assert read.x[-1] < seconds * len(x.audio_tokens) / len(x.adapted)


def test_a_written_token_is_named_at_its_row_and_its_markup_is_not_obeyed(small):
    found = small.text_attention(CLIP, tokens=(Token(5, " <b>one</b>", 0.0, 0.1, 0.3), Token(6, "two", 0.0)))
    figure = plots.text_attention_map(small.inspect(CLIP), found)
    assert list(figure.layout.yaxis.ticktext) == ["␣&lt;b&gt;one&lt;/b&gt;", "two"]
    assert "<b>one" not in figure.to_json()


def test_times_of_the_alignment_are_drawn_where_there_are_some_and_the_audio_tokens_reach():
    full = nanoasr.load(PARITY / "official", audio_tokens="full", dtype="float32")
    x, tokens = full.inspect(CLIP), (Token(5, "one", 0.0, 0.1, 0.3), Token(6, "two", 0.0))
    timed = plots.text_attention_map(x, full.text_attention(x, tokens=tokens))
    marks = [trace for trace in timed.data if trace.type == "scatter"]
    assert [list(trace.x[:2]) for trace in marks] == [[0.1, 0.3]]
    untimed = tuple(replace(token, start=None, end=None) for token in tokens)
    assert len(plots.text_attention_map(x, full.text_attention(x, tokens=untimed)).data) == 1


def test_the_share_of_the_audio_is_told(small):
    found = small.text_attention(CLIP)
    shares = plots.attention_shares(small.inspect(CLIP), found)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert shares["the audio"] == pytest.approx(float(found.audio.sum(axis=-1).mean()), abs=1e-4)


def test_a_head_that_is_not_there_is_refused_with_those_that_are(small):
    x = small.inspect(CLIP)
    for head in (-1, 99):
        with pytest.raises(OptionError, match=r"heads 0 to \d"):
            plots.attention_map(x, small.attention(x), head)
