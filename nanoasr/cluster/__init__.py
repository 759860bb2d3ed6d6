"""Batch transcription: many recordings into part files, in one process or on a Ray cluster."""

from .inputs import Input, is_manifest, is_uri, list_uri, read_manifest
from .job import Job, Settings
from .outputs import OutputFolder
from .rows import Row
from .summary import Summary

__all__ = [
    "Input",
    "Job",
    "OutputFolder",
    "Row",
    "Settings",
    "Summary",
    "is_manifest",
    "is_uri",
    "list_uri",
    "read_manifest",
]
