"""Imported before any test, so that MLX gets its BLAS whatever the first test imports."""

import signal

import hypothesis

import nanoasr  # noqa: F401

# Where the tests run in the background of a shell, Ctrl-C is ignored, and so it would be by what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines for single examples: machines that test are busy.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
