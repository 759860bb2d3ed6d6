"""The command line."""

from .run import main

__all__ = ["main"]
