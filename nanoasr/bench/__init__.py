"""Benchmarks: how long each stage takes, also beside other packages with the same weights."""

from .live import bench_live
from .stages import bench
from .subject import Plan, Subject

__all__ = ["Plan", "Subject", "bench", "bench_live"]
