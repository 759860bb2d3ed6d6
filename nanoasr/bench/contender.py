"""Another package with the weights of ours, ready to be timed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from .. import backend
from ..audio.features import features
from ..checkpoint.assemble import split_fused
from ..checkpoint.load import Checkpoint
from ..decode.prompt import build_prompt
from .timing import Work

STAGES = ("encoder", "adaptor", "decoding step", "transcription")


@dataclass(frozen=True)
class Contender:
    """A package's work on one recording by stage, and remarks to ask for when it is done."""

    name: str
    works: Mapping[str, Work]
    notes: Callable[[], list[str]]


@dataclass(frozen=True)
class Inputs:
    """Inputs of the stages for one recording."""

    features: mx.array  # [1, T', 560]
    encoded: mx.array  # [1, T', D], random: the adaptor's time does not depend on it
    embedded: mx.array  # [1, P, L], random, as long as our prompt
    audio_tokens: int


def make_inputs(checkpoint: Checkpoint, samples: np.ndarray) -> Inputs:
    """Compute the features of a recording and draw the other stages' inputs."""
    model, prompt = checkpoint.model, build_prompt(checkpoint.tokenizer)
    frames = features(mx.array(samples), cmvn=checkpoint.cmvn)[None]
    count, dtype = model.audio_token_count(frames.shape[1]), model.llm.model.norm.weight.dtype
    length = len(prompt.prefix) + count + len(prompt.suffix)
    encoded = mx.random.normal((1, frames.shape[1], model.config.encoder.output_size), dtype)
    embedded = mx.random.normal((1, length, model.config.llm.hidden_size), dtype)
    mx.eval(frames, encoded, embedded)
    return Inputs(frames, encoded, embedded, count)


def official_tensors(checkpoint: Checkpoint) -> dict[str, mx.array]:
    """Return the network's tensors under their official names, which mlx-audio keeps."""
    flat = tree_flatten(checkpoint.model.parameters())
    return {part: x for name, value in flat for part, x in split_fused(name, value, checkpoint.layout).items()}


def encoder_difference(peer: str, ours: mx.array, theirs: mx.array) -> list[str]:
    """Compare two encoder outputs, in words."""
    ours, theirs = ours.astype(mx.float32), theirs.astype(mx.float32)
    difference = (mx.abs(ours - theirs).max() / mx.abs(ours).max()).item()
    return [f"the encoders of nanoasr and {peer} differ by at most {difference:.1e} of the largest value"]


def on_worker(works: Mapping[str, Work]) -> dict[str, Work]:
    """Make each work run on the worker thread."""
    return {stage: lambda work=work: backend.run(work) for stage, work in works.items()}


def title(package: str) -> str:
    """Return the package's name and version."""
    return f"{package} {metadata.version(package)}"
