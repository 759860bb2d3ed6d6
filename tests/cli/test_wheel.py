"""The wheel, installed into a fresh environment and run in an empty folder, without a network."""

import json
import re
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest
import soundfile

import nanoasr
from nanoasr import backend
from nanoasr.audio import load_audio

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BUNDLED_SPEECH = ROOT / "assets/speech/kokoro-number.wav"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("nanoasr", "assets", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The `nanoasr` command of an environment that has the wheel, and this environment's packages as dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    pip("--python", folder / "bin/python", "install", "--no-deps", "--no-index", wheel)
    [site_packages] = folder.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin/nanoasr"


@pytest.fixture
def empty_folder(tmp_path, monkeypatch) -> Path:
    """The working folder, with no network and nothing of this repository on Python's path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NANOASR_BLAS", backend.blas_path or "off")  # oneMKL is found in its own environment only
    return tmp_path


def pip(*arguments: object) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "-q", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def output(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_checkpoint_and_samples_but_not_the_recipe_or_pictures(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    parts = ("nano-tiny/model.safetensors", "nano-tiny/README.md", "speech/jfk.flac", "speech/README.md")
    for part in (*parts, "speaker/model.safetensors", "speaker/LICENSE.txt"):
        assert f"nanoasr/assets/{part}" in names
    assert not [name for name in names if re.search(r"recipe|screenshots|digits|\.svg", name)]
    assert wheel.stat().st_size < 30e6


def test_the_wheel_holds_every_file_of_the_package(wheel):
    files = {path for path in (ROOT / "nanoasr").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {str(path.relative_to(ROOT)) for path in files} <= set(zipfile.ZipFile(wheel).namelist()), (
        "pyproject.toml: list every package, and every kind of data file"
    )


def test_the_installed_command_has_the_version_of_the_package(installed, empty_folder):
    assert output(installed, "--version") == f"nanoasr {nanoasr.__version__}\n"


def test_info_finds_the_bundled_checkpoint_in_the_environment(installed, empty_folder):
    assert str(installed.parents[1]) in re.search(r"checkpoint +(.*)", output(installed, "info"))[1]


def test_an_mp3_is_transcribed(installed, empty_folder):
    soundfile.write("x.mp3", load_audio(BUNDLED_SPEECH).samples, 16000)
    assert output(installed, "transcribe", "x.mp3").startswith("my number is")


def test_a_file_is_transcribed_live(installed, empty_folder):
    assert output(installed, "live", "--file", BUNDLED_SPEECH).startswith("my number is")


def test_the_app_serves_its_page_and_recognizes_with_the_bundled_checkpoint(installed, empty_folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with Path("log").open("w") as log:
        process = subprocess.Popen([installed, "app", "--port", str(port)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < deadline, Path("log").read_text()
            try:
                page = urllib.request.urlopen(url, timeout=5).read().decode()
                break
            except OSError:
                time.sleep(0.2)
        assert "kokoro-number" in page
        request = urllib.request.Request(
            f"{url}/gradio_api/call/model", b'{"data": []}', {"Content-Type": "application/json"}
        )
        event = json.load(urllib.request.urlopen(request, timeout=30))["event_id"]
        answer = urllib.request.urlopen(f"{url}/gradio_api/call/model/{event}", timeout=30).read().decode()
        assert str(installed.parents[1]) in answer
    finally:
        process.terminate()
        process.wait(20)
