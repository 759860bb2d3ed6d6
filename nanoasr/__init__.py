"""nanoasr: Fun-ASR-Nano speech recognition in MLX. Start with `asr = nanoasr.load()`."""

from . import backend as backend  # first of all: on a Linux CPU it gives MLX an optimised BLAS
