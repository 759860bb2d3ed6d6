"""Imported before any test, so that MLX gets its BLAS whatever the first test imports."""

import nanoasr  # noqa: F401
