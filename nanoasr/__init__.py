"""nanoasr: Fun-ASR-Nano speech recognition in MLX. Start with `asr = nanoasr.load()`."""

import os
import signal
import sys

_is_command = sys.argv[:1] == ["-m"] or os.path.basename((sys.argv or [""])[0]) == "nanoasr"
if _is_command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports prints no traceback; cli.main resets it

import importlib  # noqa: E402 (after the signal)
from typing import TYPE_CHECKING, Any  # noqa: E402

from . import backend as backend  # noqa: E402 (before mlx: on a Linux CPU it loads an optimised BLAS)

if TYPE_CHECKING:
    from .audio.vad import VadOptions
    from .checkpoint.convert import convert
    from .checkpoint.quantize import Quantization
    from .decode.sampling import Sampling
    from .errors import NanoASRError
    from .families.base import Inspection
    from .introspection.attention import TextAttention
    from .live.session import LiveOptions, LiveSession, Update
    from .recognizer import Recognizer, load
    from .results import Segment, Timings, Token, Transcript, Word

__version__ = "0.2.0"
__all__ = [
    "Inspection",
    "LiveOptions",
    "LiveSession",
    "NanoASRError",
    "Quantization",
    "Recognizer",
    "Sampling",
    "Segment",
    "TextAttention",
    "Timings",
    "Token",
    "Transcript",
    "Update",
    "VadOptions",
    "Word",
    "convert",
    "load",
]
_HOME = {
    "load": "recognizer",
    "Recognizer": "recognizer",
    "Inspection": "families.base",
    "TextAttention": "introspection.attention",
    "Sampling": "decode.sampling",
    "Quantization": "checkpoint.quantize",
    "convert": "checkpoint.convert",
    "Transcript": "results",
    "Segment": "results",
    "Token": "results",
    "Word": "results",
    "Timings": "results",
    "VadOptions": "audio.vad",
    "LiveOptions": "live.events",
    "LiveSession": "live.session",
    "Update": "live.events",
    "NanoASRError": "errors",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `import nanoasr` is quick."""
    if name not in _HOME:
        raise AttributeError(f"module 'nanoasr' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
