"""What is measured: a checkpoint, or the full-size network with random weights, on synthetic speech."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .. import backend
from ..audio.files import SAMPLE_RATE
from ..checkpoint.ctc_tokens import CTCTokens
from ..checkpoint.layouts import Layout
from ..checkpoint.load import DTYPES, Checkpoint, check_dtype, load_checkpoint
from ..checkpoint.quantize import Quantization, parse_quantization
from ..errors import OptionError
from ..model.config import CTCConfig, ModelConfig
from ..model.nano import Nano
from ..recognizer import Recognizer

_TO_LETTERS = str.maketrans("0123456789abcdef", "bdfhklmnprstvwxz")


@dataclass(frozen=True)
class Plan:
    """What to measure: every stage for each length and batch size, then `recordings` of the first length at once."""

    seconds: tuple[float, ...] = (10.0,)
    batches: tuple[int, ...] = (1, 8)
    tokens: int = 60
    repeats: int = 7
    recordings: int | None = None  # None: 64, on a CPU 4
    against: str | None = None  # "mlx-audio", "transformers" or "funasr"
    draft: str | float | None = None  # "auto", or how likely each token of a draft is right


@dataclass(frozen=True)
class Subject:
    """Which network: a checkpoint, or with `random` one of `config`'s sizes with random weights."""

    source: str | None = None
    random: bool = False
    quantize: str | None = None
    dtype: str | None = None
    config: ModelConfig = field(default_factory=lambda: ModelConfig(ctc=CTCConfig()))

    def load(self) -> Checkpoint:
        """Load or build it, without end tokens: every text has the planned length. Call on the worker thread."""
        if not self.random:
            checkpoint = load_checkpoint(self.source, self.quantize, self.dtype)
            if checkpoint.family != "nano":
                return checkpoint
            return replace(checkpoint, tokenizer=_EndlessTokenizer(checkpoint.tokenizer))
        if self.source is not None:
            raise OptionError("--model names a network and --random builds one: use either")
        return _random_checkpoint(self.config, parse_quantization(self.quantize), self.dtype)

    def recognizer(self) -> Recognizer:
        """Load it as a recognizer. A random network's CTC branch gets as many text units as it has ids."""
        recognizer = Recognizer(backend.run(self.load))
        if self.random and self.config.ctc:
            recognizer.model_family.ctc_tokens = _random_units(self.config.ctc.blank_id)
        return recognizer


def synthetic_speech(seconds: float) -> np.ndarray:
    """Return vowels in a man's voice, five a second, which a VAD takes for speech."""
    t = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.4 * t) + 10 * np.sin(2 * np.pi * 2.4 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    vowels = np.array([(730, 1090, 2440), (300, 870, 2240), (270, 2290, 3010), (530, 1840, 2480), (570, 840, 2410)])
    formants = vowels[(t * 5).astype(int) * 2 % 5]
    x = np.random.default_rng(0).normal(0, 0.01, len(t))
    for k in range(1, 30):
        loud = sum(g / (1 + ((k * pitch - formants[:, i]) / (60 + 40 * i)) ** 2) for i, g in enumerate((1, 0.6, 0.3)))
        x += loud / np.sqrt(k) * np.sin(k * phase) * np.sqrt(np.abs(np.sin(np.pi * 5 * t)))
    return np.resize((0.4 * x / np.abs(x).max()).astype(np.float32), round(seconds * SAMPLE_RATE))


def _random_checkpoint(config: ModelConfig, quantization: Quantization | None, dtype: str | None) -> Checkpoint:
    check_dtype(dtype)
    used = "float32" if backend.on_cpu else dtype or "bfloat16"
    mx.random.seed(0)  # another process can build the same
    model = Nano(config)
    model.set_dtype(DTYPES[used])
    mx.eval(model.parameters())
    precision = f"random weights in {used}"
    if quantization and not backend.on_cpu:

        def choice(path: str, module: nn.Module) -> "bool | dict[str, int]":
            matrix = isinstance(module, nn.Linear | nn.Embedding)
            group = quantization.group_for(f"{path}.weight", module.weight.shape) if matrix else None
            return {"group_size": group, "bits": quantization.bits} if group else False

        nn.quantize(model, class_predicate=choice)
        mx.eval(model.parameters())
        precision += f", some in {quantization.bits} bits"
    model.eval()
    mx.clear_cache()
    layout = Layout("random", Path("random network"), config, Path())
    return Checkpoint(layout, model, _RandomTokenizer(config.llm.vocab_size), None, used, precision)


def _random_units(count: int) -> CTCTokens:
    """Return every byte, the words that the stand-in tokenizer's texts are made of, and others up to the count."""
    words = (f" {i:02x}".translate(_TO_LETTERS).encode() for i in range(count))
    return CTCTokens([*(bytes([i]) for i in range(256)), *words][:count])


class _EndlessTokenizer:
    """A checkpoint's tokenizer without end tokens."""

    end_ids = None

    def __init__(self, tokenizer: object):
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)


class _RandomTokenizer:
    """A tokenizer for random networks: about as many ids as Qwen3's for a text, and one of 128 words for each id."""

    end_ids = None

    def __init__(self, size: int):
        self.size = size

    def encode(self, text: str) -> list[int]:
        pieces = re.findall(r"<\|\w+\|>| ?\w+|\W", text)
        return [sum(map(ord, piece)) % self.size for piece in pieces]

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return "".join(f" {i % 128:02x}".translate(_TO_LETTERS) for i in ids)

    def token(self, token_id: int) -> str:
        return f"{token_id:04x}"
