"""Imported before any test, so that MLX gets its BLAS whatever the first test imports."""

from pathlib import Path

import nanoasr  # noqa: F401

PARITY = Path(__file__).parent / "parity"
