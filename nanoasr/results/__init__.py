"""Transcripts, subtitles, error rates, and the one rule for what a word is."""

from .segments import Candidate, Segment, Tags
from .timings import Timings
from .transcript import FORMATS, Transcript, write_all
from .words import Alternative, Token, Word, join_texts

__all__ = [
    "FORMATS",
    "Alternative",
    "Candidate",
    "Segment",
    "Tags",
    "Timings",
    "Token",
    "Transcript",
    "Word",
    "join_texts",
    "write_all",
]
