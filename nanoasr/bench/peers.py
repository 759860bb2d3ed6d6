"""Other packages to measure against."""

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence

import mlx.nn as nn
import numpy as np

from .. import backend
from ..audio.files import SAMPLE_RATE
from ..checkpoint.load import Checkpoint
from ..errors import NanoASRError, OptionError
from .contender import Contender
from .funasr import funasr
from .mlx_audio import mlx_audio, mlx_audio_process
from .subject import Subject
from .transformers import transformers

PEERS = {"nano": ("mlx-audio", "transformers"), "sensevoice": ("funasr",), "paraformer": ("funasr",)}  # by family
_NEEDED = {
    "funasr": ("torch", "torchaudio", "funasr"),
    "mlx-audio": ("mlx_audio.stt.models.fun_asr_nano.fun_asr_nano",),
    "transformers": ("torch", "transformers.models.fun_asr_nano.modeling_fun_asr_nano"),
}


def check_family(package: str, family: str) -> None:
    """Raise OptionError unless the package's models of this family can be measured."""
    if package not in PEERS[family]:
        raise OptionError(f"--against {package}: with {family} use {' or '.join(PEERS[family])}")


def check_installed(package: str) -> None:
    """Raise NanoASRError naming what is missing unless the package can be measured here."""
    for module in _NEEDED[package]:
        try:
            found = importlib.util.find_spec(module)  # imports the parent package
        except ImportError as error:
            found, module = None, error.name or module
        if not found:
            raise NanoASRError(
                f"--against {package}: there is no {module} here; `pip install {package}` with all its dependencies"
            )


@contextlib.contextmanager
def contenders(
    package: str, checkpoint: Checkpoint, subject: Subject, samples: np.ndarray, tokens: int
) -> Iterator[Sequence[Contender]]:
    """Yield the ways to run a package with the weights of `checkpoint`, which another process loads from `subject`.

    On a Linux CPU mlx-audio benefits from the BLAS that nanoasr gives to MLX, so there it is measured twice: in its own
    process without it, as its users run it, and in this one with it.
    """
    if any(isinstance(module, (nn.QuantizedLinear, nn.QuantizedEmbedding)) for module in checkpoint.model.modules()):
        raise OptionError("--against compares networks that are not quantized")
    if package == "funasr":
        yield [funasr(checkpoint, samples)]
    elif package == "transformers":
        yield [backend.run(transformers, checkpoint, samples, tokens)]
    elif backend.on_cpu and backend.blas_path:
        here = backend.run(mlx_audio, checkpoint, samples, tokens, label=", our BLAS")
        with mlx_audio_process(subject, len(samples) / SAMPLE_RATE, tokens) as own:
            yield [own, here]
    else:
        yield [backend.run(mlx_audio, checkpoint, samples, tokens)]
