"""A world small enough to train in: words that are chords, and a network of a few thousand weights."""

import json

import numpy as np
import pytest

from nanoasr.model.config import AdaptorConfig, CTCConfig, EncoderConfig, LLMConfig, ModelConfig
from nanoasr.train.batches import BatchConfig, Source
from nanoasr.train.config import TrainConfig
from nanoasr.train.loss import ctc_loss  # noqa: F401 (loads MLX the right way before the tests do)
from nanoasr.train.optimizer import OptimizerConfig
from nanoasr.train.prompts import PromptConfig
from nanoasr.train.step import LossConfig

WORDS = ("alpha", "bravo", "charlie", "delta", "echo")
TEXTS = ("alpha bravo", "charlie", "delta echo alpha", "echo echo", "bravo", "delta charlie")


def speak(text: str, rng: np.random.Generator) -> np.ndarray:
    """int16 at 16 kHz: each word is a chord of its own, 0.3 s long, and 0.1 s of pause."""
    time = np.arange(4800) / 16000
    clips = []
    for word in text.split():
        pitch = 200 * 1.6 ** WORDS.index(word)
        tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 3)) * np.hanning(len(time))
        clips += [tone * 6000 + rng.normal(0, 20, len(time)), np.zeros(1600)]
    return np.concatenate(clips).astype(np.int16)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    """Six recordings in one shard, by two speakers."""
    folder, rng = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    clips = [speak(text, rng) for text in TEXTS]
    np.save(folder / "shard.npy", np.concatenate(clips))
    starts = np.cumsum([0, *map(len, clips)])
    lines = [
        {"audio": f"shard.npy#{start}:{len(clip)}", "text": text, "speaker": f"s{i % 2}", "language": "en"}
        for i, (start, clip, text) in enumerate(zip(starts, clips, TEXTS, strict=False))
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder / "train.jsonl"


@pytest.fixture
def tiny_config(manifest, tmp_path):
    """A training of a small network from scratch, all kinds of augmentation and dropout off."""
    decoder = AdaptorConfig(llm_dim=32, ffn_dim=64, n_layer=1, attention_heads=4)
    return TrainConfig(
        out=str(tmp_path / "out"),
        train=(Source(str(manifest)),),
        tokenizer=300,
        model=ModelConfig(
            encoder=EncoderConfig(output_size=32, attention_heads=4, linear_units=64, num_blocks=2, tp_blocks=1),
            adaptor=AdaptorConfig(downsample_rate=2, ffn_dim=64, n_layer=1, attention_heads=4),
            llm=LLMConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=8,
            ),
            ctc=CTCConfig(decoder=decoder),
            audio_tokens="full",
        ),
        batch=BatchConfig(seconds=12, longest=4, speed=(1.0, 1.0), margin=0.0, silence=0.0),
        augment=None,
        prompts=PromptConfig(language=0.0, hotwords=0.0),
        loss=LossConfig(text_ramp=1, label_smoothing=0.0),
        optimizer=OptimizerConfig(steps=6, rate=3e-3, warmup=5, average=0.9),
    )
