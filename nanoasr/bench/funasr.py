"""FunASR's SenseVoice or Paraformer from the same checkpoint folder, in PyTorch."""

import contextlib
import io
import logging

import numpy as np

from .. import backend
from ..checkpoint.load import Checkpoint
from ..errors import OptionError
from .contender import Contender, title
from .timing import seconds_of


def funasr(checkpoint: Checkpoint, samples: np.ndarray) -> Contender:
    """Load the checkpoint's folder with FunASR, which reads the official layout alone."""
    if checkpoint.layout.name != "official":
        raise OptionError("--against funasr: it reads folders with model.pt and config.yaml only")
    from funasr import AutoModel

    logging.getLogger().setLevel(logging.ERROR)
    device = "cpu" if backend.on_cpu else "cuda" if backend.on_cuda else "mps"
    with contextlib.redirect_stdout(io.StringIO()):
        model = AutoModel(model=str(checkpoint.layout.folder), device=device, disable_update=True, disable_pbar=True)
    works = {"transcription": lambda: seconds_of(lambda: model.generate(input=samples))}
    return Contender(title("funasr"), works, lambda: [f"FunASR computes in float32 on {device}"])
