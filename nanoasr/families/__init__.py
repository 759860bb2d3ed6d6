"""Recognizer families behind one interface (base.py)."""

from ..checkpoint.load import Checkpoint
from .base import Family
from .nano import NanoFamily
from .paraformer import ParaformerFamily
from .sensevoice import SenseVoiceFamily

_FAMILIES = {family.name: family for family in (NanoFamily, SenseVoiceFamily, ParaformerFamily)}


def make_family(checkpoint: Checkpoint) -> Family:
    """Make the family of a loaded checkpoint."""
    return _FAMILIES[checkpoint.family](checkpoint)
