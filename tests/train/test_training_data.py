"""Manifests, the pool of audio, and batches as a function of (seed, epoch)."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nanoasr.checkpoint.tokenizer import Tokenizer
from nanoasr.errors import AudioFormatError, OptionError
from nanoasr.train.batches import BatchConfig, Data, Source
from nanoasr.train.manifest import Utterance, read_manifest
from nanoasr.train.pool import ROW, load_pool
from nanoasr.train.prompts import PromptConfig, Prompts
from nanoasr.train.tokenizer import make_tokenizer

PLAIN = BatchConfig(seconds=6, longest=4, speed=(1.0, 1.0), margin=0.0, silence=0.0)


def data_of(manifest, batch=PLAIN, **source):
    utterances = read_manifest(manifest)
    return Data([(Source(str(manifest), **source), utterances)], load_pool(utterances), batch)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["alpha bravo charlie delta echo", "delta echo alpha"] * 50
    return Tokenizer(make_tokenizer(texts, 330, tmp_path_factory.mktemp("tokenizer")))


def prompts_of(data, tokenizer, **config):
    return Prompts(tokenizer, PromptConfig(**config), lambda samples: samples // 1920, data.utterances)


def write(folder, *lines):
    (folder / "m.jsonl").write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    return folder / "m.jsonl"


def test_a_line_of_our_own_kind_is_read_with_all_its_fields(tmp_path):
    path = write(
        tmp_path,
        {"audio": "a.npy#160:800", "text": "hi", "language": "en", "hotwords": ["MLX"], "itn": False, "speaker": "x"},
    )
    expected = Utterance(tmp_path / "a.npy", "hi", 160, 800, "en", ("MLX",), False, "x")
    assert read_manifest(path) == [expected]


def test_lines_of_funasr_fine_tuning_are_read(tmp_path):
    def chat(prompt):
        audio = f"{prompt}<|startofspeech|>!a.wav<|endofspeech|>"
        said = [("system", "You are a helpful assistant."), ("user", audio), ("assistant", "几点了？")]
        messages = [{"role": role, "content": content} for role, content in said]
        return {"messages": messages, "speech_length": 145, "text_length": 3}

    path = write(
        tmp_path,
        chat("语音转写："),
        chat("语音转写成英文："),
        chat("语音转写，不进行文本规整："),
        {"key": "k", "source": "a.wav", "source_len": 1, "target": "几点了？", "target_len": 2},
    )
    plain = Utterance(tmp_path / "a.wav", "几点了？")
    assert read_manifest(path) == [plain, replace(plain, language="英文"), replace(plain, itn=False), plain]


@pytest.mark.parametrize(
    "line",
    ['{"audio": "a.wav"}', "nonsense", '["a.wav", "hi"]', '{"audio": "https://x/a.wav", "text": "hi"}',
     '{"messages": [{"role": "user", "content": "no audio"}]}'],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio": "a.wav", "text": "fine"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"m\.jsonl:2: "):
        read_manifest(path)


def test_the_pool_holds_every_recording_at_its_row(manifest):
    utterances = read_manifest(manifest)
    pool = load_pool(utterances)
    shard = np.load(manifest.parent / "shard.npy")
    for utterance, start, length in zip(utterances, pool.starts, pool.lengths, strict=True):
        expected = shard[utterance.offset : utterance.offset + utterance.length]
        np.testing.assert_array_equal(pool.rows.reshape(-1)[start * ROW :][:length], expected)
    assert not pool.rows[0].any()


def test_a_shard_that_is_too_short_is_named(manifest):
    beyond = replace(read_manifest(manifest)[0], offset=10**9)
    with pytest.raises(AudioFormatError, match=r"shard\.npy"):
        load_pool([beyond])


def test_an_epoch_is_the_same_every_time_and_unlike_the_next(manifest):
    varied = BatchConfig(seconds=6, longest=4)
    first, again, other = (data_of(manifest, varied, join=0.5) for _ in range(3))
    assert first.epoch(7, 3) == again.epoch(7, 3)
    assert first.epoch(7, 3) != other.epoch(7, 4)


def test_every_recording_comes_in_an_epoch_as_often_as_its_weight_says(manifest):
    data = data_of(manifest, replace(PLAIN, seconds=40), weight=2.0)
    pieces = sorted(item.pieces[0] for _, items in data.epoch(0, 0) for item in dict.fromkeys(items))
    assert pieces == sorted(list(range(6)) * 2)


def test_joined_recordings_follow_each_other_with_silence_between(manifest, tokenizer):
    data = data_of(manifest, join=1.0, pieces=(2, 2), gap=(0.1, 0.3))
    prompts = prompts_of(data, tokenizer)
    for bucket, items in data.epoch(0, 0):
        batch = data.compose(bucket, items, prompts, seed=1)
        sound = data.pool.rows[batch.rows].reshape(len(items), -1)
        for item, text, samples, length in zip(items, batch.texts, sound, batch.lengths, strict=True):
            first, *rest = item.pieces
            said = [data.utterances[piece] for piece in (first, *rest)]
            assert text == " ".join(u.text for u in said)
            assert len({u.speaker for u in said}) == 1
            start = (item.gaps[0] + -(-data.pool.lengths[first] // ROW)) * ROW
            gap = item.gaps[1] * ROW
            assert rest and gap >= 1600 and not samples[start : start + gap].any()
            assert samples[start + gap :].any() and not samples[length:].any()


def test_speed_changes_the_length_that_a_recording_is_bucketed_by(manifest):
    slow = data_of(manifest, replace(PLAIN, speed=(0.9, 0.9)))
    for bucket, items in slow.epoch(0, 0):
        for item in items:
            rows = -(-slow.pool.lengths[item.pieces[0]] // ROW)
            assert item.samples == pytest.approx(rows * ROW / 0.9, rel=1e-3)
            assert item.samples <= bucket.samples


def test_silence_has_no_text_and_no_sound(manifest, tokenizer):
    data = data_of(manifest, replace(PLAIN, silence=1.0))
    prompts = prompts_of(data, tokenizer)
    silent = 0
    for bucket, items in data.epoch(0, 0):
        batch = data.compose(bucket, items, prompts, seed=1)
        for item, rows, text, length in zip(items, batch.rows, batch.texts, batch.text_lengths, strict=True):
            if not item.pieces:
                silent += 1
                assert text == "" and length == 1 and not rows.any()
    assert silent


def test_evaluation_takes_every_recording_once_as_it_is(manifest, tokenizer):
    data = data_of(manifest)
    items = [item for _, items in data.plain() for item in items]
    assert sorted(item.pieces[0] for item in items) == list(range(6))
    assert all(item.samples == data.pool.lengths[item.pieces[0]] for item in items)


def test_training_prompts_list_hotwords_and_name_languages_only_when_drawn(manifest, tokenizer):
    data = data_of(manifest)
    [*_, (bucket, items)] = data.epoch(0, 0)
    plain = data.compose(bucket, items, prompts_of(data, tokenizer), seed=None)
    always = prompts_of(data, tokenizer, hotwords=1.0, language=1.0, present=1.0)
    batch = data.compose(bucket, items, always, seed=5)
    again = data.compose(bucket, items, always, seed=5)
    for row, length, other in zip(batch.prefix, batch.prefix_lengths, plain.prefix, strict=True):
        assert "热词列表" in tokenizer.decode(row[:length].tolist())
        assert "成英文" in tokenizer.decode(row[:length].tolist())
        assert "热词列表" not in tokenizer.decode(other.tolist())
    np.testing.assert_array_equal(batch.prefix, again.prefix)


def test_the_tokenizer_writes_a_prompt_in_few_pieces_and_any_text_in_bytes(tokenizer):
    prefix = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n语音转写："
    assert len(tokenizer.encode(prefix)) == 9
    for text in ("alpha echo", "Größe 漢字 1234", "tab\there"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.end_ids) == 2
