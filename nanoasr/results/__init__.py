"""Transcripts: what was said and when, subtitles, error rates, and the one rule for what a word is."""

from .transcript import FORMATS, Segment, Timings, Transcript, write_all
from .words import Alternative, Token, Word, join_texts

__all__ = ["FORMATS", "Alternative", "Segment", "Timings", "Token", "Transcript", "Word", "join_texts", "write_all"]
