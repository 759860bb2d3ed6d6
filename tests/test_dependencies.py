"""The versions of dependencies that requirements.txt allows are tested ones."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from nanoasr import backend

ROOT = Path(__file__).parents[1]
LINES = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
REQUIREMENTS = [Requirement(line) for line in LINES if line]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_a_dependency_has_a_lowest_version_and_the_installed_one_is_allowed(requirement):
    assert any(bound.operator == ">=" for bound in requirement.specifier)
    if requirement.marker is None or requirement.marker.evaluate():
        assert metadata.version(requirement.name) in requirement.specifier


@pytest.mark.slow
@pytest.mark.skipif("NANOASR_TEST_LOWEST" not in os.environ, reason="downloads 300 MB: set NANOASR_TEST_LOWEST=1")
def test_the_lowest_versions_work(tmp_path):
    def call(*command: object, **environment: str) -> None:
        done = subprocess.run(
            list(map(str, command)), cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    lowest = tmp_path / "lowest.txt"
    lowest.write_text("\n".join(line for line in LINES if not line.startswith("mkl")))  # 900 MB; this one's is used
    python = tmp_path / "venv/bin/python"
    uv = (sys.executable, "-m", "uv")
    call(*uv, "venv", "-p", sys.executable, tmp_path / "venv")
    call(*uv, "pip", "install", "-p", python, "--resolution", "lowest-direct", "-r", lowest)
    call(*uv, "pip", "install", "-p", python, "pytest", "soundfile", "hypothesis")
    blas = {"NANOASR_BLAS": backend.blas_path or "off"}
    call(python, "-m", "nanoasr", "transcribe", "assets/speech/kokoro-number.wav", **blas)
    call(python, "-c", "import nanoasr.ui.page, nanoasr.serve.app", **blas)
    tests = ("audio/test_audio.py", "checkpoint/test_quantize.py", "checkpoint/test_sources.py", "test_plots.py")
    call(python, "-m", "pytest", "-o", "addopts=-p no:cacheprovider", *(f"tests/{test}" for test in tests), **blas)
