"""Recognizer families behind one interface (base.py)."""

from ..checkpoint.load import Checkpoint
from .base import Family
from .nano import NanoFamily

_FAMILIES = {"nano": NanoFamily}


def make_family(checkpoint: Checkpoint) -> Family:
    """The recognizer of a loaded checkpoint's family."""
    return _FAMILIES[checkpoint.family](checkpoint)
