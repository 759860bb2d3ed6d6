"""Where checkpoints come from; the hub is never reached here, only its cache and its absence."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import HERE, PARITY

from nanoasr.checkpoint import sources
from nanoasr.checkpoint.sources import PRESETS, find_checkpoint
from nanoasr.errors import CheckpointError, HubError

UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_TELEMETRY": "1"}


def find(source: str, cache: Path, **environment: str) -> str:
    """What find_checkpoint says in a new process, since the hub's library reads its environment only once."""
    code = (
        "import sys\nfrom nanoasr.checkpoint.sources import find_checkpoint\nfrom nanoasr.errors import HubError\n"
        "try:\n    print(find_checkpoint(sys.argv[1]))\nexcept HubError as error:\n    print('HubError', error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source],
        env=os.environ | {"HF_HUB_CACHE": str(cache)} | environment,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def put_into_cache(cache: Path, name: str, revision: str = "main") -> Path:
    """The parity checkpoint as the hub's library keeps what it downloaded: a snapshot of links to blobs."""
    repository, commit = cache / f"models--{name.replace('/', '--')}", "0123456789abcdef0123456789abcdef01234567"
    snapshot = repository / "snapshots" / commit
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text(commit)
    for number, path in enumerate(p for p in sorted((PARITY / "official").rglob("*")) if p.is_file()):
        blob = repository / "blobs" / f"{number:040x}"
        blob.write_bytes(path.read_bytes())
        link = snapshot / path.relative_to(PARITY / "official")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


@pytest.mark.parametrize("environment", [{"HF_HUB_OFFLINE": "1"}, UNREACHABLE], ids=["offline", "unreachable"])
def test_a_cached_checkpoint_needs_no_network(environment, tmp_path):
    snapshot = put_into_cache(tmp_path, "FunAudioLLM/Fun-ASR-Nano-2512")
    assert find("nano", tmp_path, **environment) == str(snapshot)
    assert find("FunAudioLLM/Fun-ASR-Nano-2512", tmp_path, **environment) == str(snapshot)


def test_a_version_is_found_under_its_name(tmp_path):
    snapshot = put_into_cache(tmp_path, "somebody/model", revision="v2")
    assert find("somebody/model@v2", tmp_path, HF_HUB_OFFLINE="1") == str(snapshot)
    assert find("somebody/model", tmp_path, HF_HUB_OFFLINE="1").startswith("HubError somebody/model: ")


@pytest.mark.parametrize("environment", [{"HF_HUB_OFFLINE": "1"}, UNREACHABLE], ids=["offline", "unreachable"])
def test_what_the_hub_cannot_give_is_soon_told(environment, tmp_path):
    start = time.perf_counter()
    said = find("nobody/nothing-at-all", tmp_path, **environment)
    assert time.perf_counter() - start < 15
    assert said.startswith("HubError nobody/nothing-at-all: could not be downloaded from Hugging Face")
    assert "name a local folder" in said
    assert "\n" not in said


def test_a_name_that_the_hub_would_not_take_is_told(monkeypatch):
    with pytest.raises(HubError, match="a--b/c"):
        find_checkpoint("a--b/c")


def test_presets_are_hub_ids():
    assert PRESETS["nano"] == ("FunAudioLLM/Fun-ASR-Nano-2512", "FunAudioLLM/Fun-ASR-Nano-2512")
    assert PRESETS["mlt-nano"][0] == "FunAudioLLM/Fun-ASR-MLT-Nano-2512"
    ids = [name for both in PRESETS.values() for name in both if name]
    assert all(re.fullmatch(r"[\w-]+/[\w.-]+", name) for name in ids)
    assert all(any(both) for both in PRESETS.values())


def test_a_folder_is_taken_as_it_is(tmp_path, monkeypatch):
    assert find_checkpoint(tmp_path) == find_checkpoint(str(tmp_path)) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "nano").mkdir()
    assert find_checkpoint("~/nano") == tmp_path / "nano"
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("nano") == Path("nano")  # a folder comes before a preset of that name


@pytest.mark.parametrize("source", ["./gone", "/no/such/folder", "nanno", "a/b/c", "", "owner/../name", "x" * 5000])
def test_what_is_no_source_lists_the_presets(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"presets? \(nano, "):
        find_checkpoint(source)


def test_a_file_is_not_a_folder():
    with pytest.raises(CheckpointError, match="name the checkpoint's folder"):
        find_checkpoint(PARITY / "official" / "model.pt")


def test_without_a_source_it_is_the_one_that_ships():
    assert find_checkpoint() == sources.BUNDLED
    assert (find_checkpoint() / "config.json").is_file()


def test_everything_that_loading_reads_is_fetched():
    from fnmatch import fnmatch

    for layout in ("official", "mlx_audio", "mlx_audio_plus", "transformers"):
        for path in (p.relative_to(PARITY / layout) for p in (PARITY / layout).rglob("*") if p.is_file()):
            unused = path.name in ("generation_config.json", "processor_config.json")
            assert unused or any(fnmatch(str(path), pattern) for pattern in sources.NEEDED_FILES)
    assert any(fnmatch("model-00001-of-00002.safetensors", pattern) for pattern in sources.NEEDED_FILES)
    assert not any(fnmatch("Qwen3-0.6B/model.safetensors", pattern) for pattern in sources.NEEDED_FILES)
