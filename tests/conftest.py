"""Imported before any test, so that MLX gets its BLAS whatever the first test imports."""

from pathlib import Path

import nanoasr  # noqa: F401

HERE = Path(__file__).parent
PARITY = HERE / "parity"
SPEECH = HERE / "data" / "speech"
