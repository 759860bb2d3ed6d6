"""Prompts of the small random network, as embeddings: the audio between the words around it."""

from functools import cache

import mlx.core as mx
import numpy as np
from places import PARITY

from nanoasr.checkpoint.load import load_checkpoint

EXPECTED = np.load(PARITY / "expected.npz")


@cache
def model():
    return load_checkpoint(str(PARITY / "official"), dtype="float32").model


@cache
def embeddings(prompt: str) -> mx.array:
    audio = mx.array(EXPECTED["adapted"])
    if prompt.endswith("low"):
        audio = audio[: int(EXPECTED["low_rate_tokens"])]
    before, after = (model().llm.embed(mx.array(EXPECTED[f"{prompt}.{part}"])) for part in ("prefix", "suffix"))
    return mx.concatenate([before, audio, after])
