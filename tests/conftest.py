"""Imported before any test, so that MLX gets its BLAS whatever the first test imports."""

import os
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
    """Prepare for pytest-xdist's workers, in the process that starts them."""
    if getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # products in one thread: the workers would wait for each other's
        subprocess.run([sys.executable, "-c", COMPILE], check=False)  # processes that fill numba's cache at once crash


@pytest.hookimpl(trylast=True)  # once tests/ui/conftest.py has marked its tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with most slow tests first, so that two workers end at about the same time, but those with a browser
    last: in a worker that has started Playwright, asyncio.run() fails."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    browser = {item.path for item in items if "start_browser" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path in browser, -slow[item.path]))
