"""Downloads from Hugging Face and ModelScope, by a server on this machine that answers as they do."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoints import SMALL, SMALL_CTC, random_tensors, write_checkpoint
from hubs import Hub, serve
from places import HERE, PARITY

import nanoasr
from nanoasr.checkpoint import modelscope
from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.checkpoint.sources import locate
from nanoasr.errors import CheckpointError, HubError

NAME = "FunAudioLLM/Fun-ASR-Nano-2512"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Hub:
    """ModelScope with one checkpoint, and an empty cache."""
    monkeypatch.setenv("NANOASR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(modelscope.time, "sleep", lambda seconds: None)  # between attempts
    with serve(FunAudioLLM__x=PARITY / "official") as state:
        state.repositories = {NAME: PARITY / "official"}
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", state.url)
        yield state


def content(folder: Path) -> dict[str, str]:
    """The files of a folder, by path, as their hashes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_checkpoint_of_modelscope_is_downloaded_and_loads(hub):
    checkpoint = load_checkpoint(f"ms:{NAME}")
    assert content(checkpoint.layout.folder) == content(PARITY / "official")
    assert checkpoint.layout.hub_id == NAME
    assert [language.code for language in nanoasr.load(f"ms:{NAME}").languages] == ["zh", "en", "ja"]


def test_only_the_files_of_a_checkpoint_are_downloaded(hub):
    locate(f"ms:{NAME}")
    assert {path for path, _ in hub.asked} == content(PARITY / "official").keys()


def test_a_downloaded_checkpoint_is_not_downloaded_again(hub):
    first = locate(f"ms:{NAME}").folder
    hub.asked.clear()
    assert locate(f"ms:{NAME}").folder == first
    assert not hub.asked


def test_a_changed_file_is_downloaded_alone(hub, tmp_path):
    first = locate(f"ms:{NAME}").folder
    newer = Path(shutil.copytree(PARITY / "official", tmp_path / "newer"))
    (newer / "config.yaml").write_text((newer / "config.yaml").read_text() + "# newer\n")
    hub.repositories[NAME] = newer
    hub.asked.clear()
    second = locate(f"ms:{NAME}").folder
    assert [path for path, _ in hub.asked] == ["config.yaml"]
    assert content(second) == content(newer) and content(first) == content(PARITY / "official")


def test_a_cached_checkpoint_of_modelscope_needs_no_network(hub, monkeypatch):
    folder = locate(f"ms:{NAME}").folder
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert locate(f"ms:{NAME}").folder == folder
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    assert locate(f"ms:{NAME}").folder == folder


def test_a_revision_has_a_snapshot_of_its_own(hub, monkeypatch):
    folder = locate(f"ms:{NAME}@v2").folder
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert locate(f"ms:{NAME}@v2").folder == folder
    with pytest.raises(HubError, match="not in the local cache"):
        locate(f"ms:{NAME}")


def test_an_interrupted_connection_is_resumed_where_it_broke(hub):
    hub.break_after = 100_000
    assert content(locate(f"ms:{NAME}").folder) == content(PARITY / "official")
    assert ("model.pt", "bytes=100000-") in hub.asked


def test_an_interrupted_process_is_resumed_by_the_next(hub):
    data = (PARITY / "official" / "model.pt").read_bytes()
    blobs = modelscope.cache_folder() / "modelscope" / NAME.replace("/", "--") / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(data).hexdigest()}.incomplete").write_bytes(data[:54_321])
    assert content(locate(f"ms:{NAME}").folder) == content(PARITY / "official")
    assert ("model.pt", "bytes=54321-") in hub.asked


def test_a_server_without_ranges_sends_the_whole_file_again(hub):
    hub.ranges, hub.break_after = False, 100_000
    assert content(locate(f"ms:{NAME}").folder) == content(PARITY / "official")


def test_a_server_that_fails_for_a_moment_is_asked_again(hub):
    hub.failing = 2  # both attempts at the list of files
    with pytest.raises(HubError, match="could not be downloaded from ModelScope"):
        locate(f"ms:{NAME}")
    hub.failing, hub.break_after = 1, 1000  # no list at first, then half of one
    with pytest.raises(HubError, match="could not be downloaded from ModelScope"):
        locate(f"ms:{NAME}")
    hub.failing = 1
    assert content(locate(f"ms:{NAME}").folder) == content(PARITY / "official")


def test_a_file_without_its_checksum_is_refused(hub):
    hub.corrupt = True
    with pytest.raises(HubError, match=r"from ModelScope does not have its checksum; download it again"):
        locate(f"ms:{NAME}")
    hub.corrupt = False
    assert content(locate(f"ms:{NAME}").folder) == content(PARITY / "official")


@pytest.mark.parametrize(
    "path", ["../config.json", "model/../../../x.safetensors", "/etc/config.json", "a\\..\\x", 7, ""]
)
def test_a_list_of_files_cannot_lead_out_of_the_cache(path, hub, tmp_path):
    hub.listed = [{"Path": path, "Type": "blob", "Size": 1, "Sha256": "0" * 64}]
    with pytest.raises(HubError, match=r"outside of its repository|cannot be read"):
        locate(f"ms:{NAME}")
    assert not hub.asked


@pytest.mark.parametrize("entry", [{"Size": -1}, {"Size": "1"}, {"Sha256": ""}, {"Sha256": "../../x"}, {"Size": 2**60}])
def test_a_list_of_files_without_sizes_and_checksums_is_refused(entry, hub):
    hub.listed = [{"Path": "tokens.json", "Type": "blob", "Size": 1, "Sha256": "0" * 64} | entry]
    with pytest.raises(HubError, match=rf"{NAME}: .*(no size and checksum|bytes in)"):
        locate(f"ms:{NAME}")
    assert not hub.asked


def test_an_unknown_repository_or_revision_is_one_error_that_names_the_hub(hub):
    for source in ("ms:nobody/nothing", f"ms:{NAME}@v9"):
        with pytest.raises(HubError, match=r"no such repository or revision .* on ModelScope") as caught:
            locate(source)
        assert str(caught.value).isprintable()


def test_an_unreachable_modelscope_is_one_error_that_names_it(hub, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"could not be downloaded from ModelScope, and is not in the local cache"):
        locate(f"ms:{NAME}")


def test_presets_come_from_modelscope_where_it_is_asked_for(hub, monkeypatch):
    monkeypatch.setenv("NANOASR_HUB", "modelscope")
    assert locate("nano").folder == locate(f"ms:{NAME}").folder
    monkeypatch.setenv("NANOASR_HUB", "elsewhere")
    with pytest.raises(CheckpointError, match="NANOASR_HUB='elsewhere': use huggingface or modelscope"):
        locate("nano")


def test_two_processes_may_download_at_once(hub):
    code = "import sys; from nanoasr.checkpoint.sources import locate; print(locate(sys.argv[1]).folder)"
    command = [sys.executable, "-c", code, f"ms:{NAME}"]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) for _ in range(2)]
    folders = {process.communicate(timeout=120)[0].strip() for process in pair}
    assert len(folders) == 1
    assert content(Path(folders.pop())) == content(PARITY / "official")


# Hugging Face: its library reads the environment once, so each case is a process of its own

INFO = """
import json, sys
import nanoasr
asr = nanoasr.load(sys.argv[1])
layout = asr.checkpoint.layout
print(json.dumps([str(layout.folder), layout.hub_id, [x.code for x in asr.languages], asr.checkpoint.notes]))
"""


def load_in_a_process(source: str, cache: Path, **environment: str) -> list:
    done = subprocess.run(
        [sys.executable, "-c", INFO, source],
        env=os.environ | {"HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"} | environment,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("source", [f"hf:{NAME}", "nano"])
def test_a_checkpoint_of_hugging_face_is_downloaded_and_loads(source, tmp_path):
    with serve() as hub:
        hub.repositories = {NAME: PARITY / "transformers"}
        folder, hub_id, languages, notes = load_in_a_process(source, tmp_path, HF_ENDPOINT=hub.url)
    assert hub_id == NAME and languages == ["zh", "en", "ja"]
    needed = content(PARITY / "transformers").keys() - {"generation_config.json", "processor_config.json"}
    assert content(Path(folder)).keys() == needed
    [note] = notes  # the copy on Hugging Face has no CTC branch
    assert "words have no times" in note and f"ms:{NAME}" in note


def test_the_command_line_says_where_the_copy_with_word_times_is(tmp_path):
    config = replace(SMALL, ctc=SMALL_CTC)
    tensors = {name: x for name, x in random_tensors(config).items() if not name.startswith("ctc")}
    folder = write_checkpoint(tmp_path / "c", "official", config, tensors)  # as the files on Hugging Face are
    recording = next((HERE / "data" / "speech").glob("*.wav"))
    command = [sys.executable, "-m", "nanoasr", "transcribe", "--model", folder, recording]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stderr.count(f"ms:{NAME}") == 1
    assert any("words have no times" in note for note in nanoasr.load(folder).info().notes)
