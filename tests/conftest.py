"""Imported before any test, so that MLX gets its BLAS whatever the first test imports."""

import signal
import subprocess
import sys
from collections import Counter

import hypothesis
import pytest

import nanoasr  # noqa: F401

# Where the tests run in the background of a shell, Ctrl-C is ignored, and so it would be by what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines for single examples: machines that test are busy.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


COMPILE = "import numpy as np; from nanoasr.audio.sound import describe_sound; describe_sound(np.zeros(16000), 16000)"


def pytest_configure(config: pytest.Config) -> None:
    """Fill numba's cache before pytest-xdist starts its workers: processes that fill it at once crash."""
    if getattr(config.option, "numprocesses", None):  # in the process that starts workers, and only there
        subprocess.run([sys.executable, "-c", COMPILE], check=False)


@pytest.hookimpl(trylast=True)  # once tests/ui/conftest.py has marked its tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have most slow tests, so that two workers end at about the same time."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
