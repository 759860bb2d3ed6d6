"""How fast each stage is, side by side with other implementations."""

from .stages import Plan, Subject, bench

__all__ = ["Plan", "Subject", "bench"]
