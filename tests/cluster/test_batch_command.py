"""`nanoasr batch` on the local engine: one row a recording, whatever happens in between."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster.rows import rounded
from commands import ENVIRONMENT, complaints, run

import nanoasr
from nanoasr.cluster import Input, Job, OutputFolder, Settings
from nanoasr.cluster.job import local_engine
from nanoasr.cluster.rows import Row, make_row
from nanoasr.errors import NanoASRError, OptionError
from nanoasr.resources import assets_folder

DIGITS = sorted((assets_folder() / "speech" / "digits").glob("test-*.opus"))[:6]
SETTINGS = Settings().to_dict()


@pytest.fixture(scope="module")
def expected() -> list[dict]:
    """The rows that `transcribe_batch` gives."""
    results = nanoasr.load().transcribe_batch(DIGITS)
    return [rounded(make_row(Input(str(path)), result).to_dict()) for path, result in zip(DIGITS, results, strict=True)]


def read(folder: Path) -> list[dict]:
    return [rounded(json.loads(line)) for path in sorted(folder.glob("part-*.jsonl")) for line in path.open()]


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_rows_are_those_of_transcribe_batch_and_the_same_command_adds_nothing(tmp_path, expected, capsys):
    command = ("batch", *DIGITS, "--out", tmp_path)
    assert run(*command) == 0
    assert read(tmp_path) == expected
    assert set(expected[0]) == {"source", "text", "segments", "language", "duration", "error"}
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
    speed = summary(tmp_path)["real_time_factor"]
    assert speed > 0
    assert run(*command) == 0
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
    assert summary(tmp_path)["real_time_factor"] == speed
    assert "6 of 6 recordings are done already" in capsys.readouterr().err


def test_texts_of_a_manifest_give_error_rates(tmp_path):
    manifest = tmp_path / "m.jsonl"
    texts = ["nine seven four eight five", "six nine six zero six plus three words"]
    lines = [json.dumps({"audio": str(path), "text": text}) for path, text in zip(DIGITS, texts, strict=False)]
    manifest.write_text("\n".join(lines))
    assert run("batch", manifest, "--out", tmp_path / "out") == 0
    found = summary(tmp_path / "out")
    assert found["recordings"] == 2 and found["failed"] == 0
    assert found["wer"] == pytest.approx(3 / 13)
    assert found["hours"] == pytest.approx(sum(row["duration"] for row in read(tmp_path / "out")) / 3600)


def test_a_line_of_a_manifest_that_comes_twice_has_two_rows(tmp_path):
    manifest = tmp_path / "m.jsonl"
    manifest.write_text((json.dumps({"audio": str(DIGITS[0])}) + "\n") * 2)
    for _ in range(2):
        assert run("batch", manifest, "--out", tmp_path / "out") == 0
        assert len(read(tmp_path / "out")) == 2


def test_bad_inputs_are_error_rows_and_named_and_the_status_is_1(tmp_path, expected, capsys):
    (tmp_path / "broken.wav").write_bytes(b"RIFF nonsense")
    inputs = [tmp_path / "broken.wav", DIGITS[0], tmp_path / "none.wav"]
    assert run("batch", *inputs, "--out", tmp_path / "out") == 1
    broken, good, missing = read(tmp_path / "out")
    assert good == expected[0]
    assert "broken.wav" in broken["error"] and "no such file" in missing["error"]
    assert broken["text"] is None and broken["segments"] == []
    named = complaints(capsys)
    assert any("broken.wav: " in line for line in named) and any("none.wav: there is no such" in line for line in named)
    assert summary(tmp_path / "out")["failed"] == 2

    assert run("batch", *inputs, "--out", tmp_path / "out") == 1, "failed recordings stay failed"
    (tmp_path / "none.wav").write_bytes(DIGITS[1].read_bytes())
    assert run("batch", *inputs, "--out", tmp_path / "out", "--retry-errors") == 1
    rows = {Path(row["source"]).name: row for row in read(tmp_path / "out")}
    assert len(rows) == len(read(tmp_path / "out")) == 3
    assert rows["none.wav"]["text"] == expected[1]["text"]


def test_changed_settings_in_the_same_folder_are_refused(tmp_path, capsys):
    OutputFolder(tmp_path, SETTINGS).__exit__()
    assert run("batch", DIGITS[0], "--out", tmp_path, "--language", "en") == 2
    assert "begun with other settings (language was None, now 'en')" in capsys.readouterr().err
    assert not read(tmp_path)


def test_a_part_of_a_recording_has_its_offset_in_its_row(tmp_path):
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps({"audio": str(DIGITS[0]), "offset": o}) + "\n" for o in (0, 1.5)))
    assert run("batch", manifest, "--out", tmp_path / "out") == 0
    whole, part = read(tmp_path / "out")
    assert (whole["offset"], part["offset"]) == (0, 1.5)
    assert part["duration"] == pytest.approx(whole["duration"] - 1.5, abs=1e-3)


def test_parquet_holds_the_same_rows(tmp_path, expected):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run("batch", *DIGITS[:2], "--out", tmp_path, "--format", "parquet") == 0
    rows = parquet.read_table(tmp_path / "part-00000.parquet").to_pylist()
    assert [rounded({name: row[name] for name in expected[0]}) for row in rows] == expected[:2]
    assert run("batch", *DIGITS[:2], "--out", tmp_path, "--format", "parquet") == 0
    assert len(list(tmp_path.glob("part-*"))) == 1


def test_a_run_that_was_killed_is_continued_without_loss_or_repetition(tmp_path, expected):
    code = f"""
import os, signal
from nanoasr.cluster import Input, Job, OutputFolder, Settings
from nanoasr.cluster.job import local_engine
seen = []
def on_row(row):
    seen.append(row)
    if len(seen) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
with OutputFolder({str(tmp_path)!r}, Settings().to_dict(), part_rows=2) as output:
    Job([Input(path) for path in {list(map(str, DIGITS))!r}], output).run(local_engine(Settings()), on_row)
"""
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT).returncode == -signal.SIGKILL
    before = {path: path.read_bytes() for path in tmp_path.glob("part-*")}
    assert len(read(tmp_path)) == 4
    (tmp_path / ".nanoasr-left.tmp").write_bytes(b"half a row")
    assert run("batch", *DIGITS, "--out", tmp_path) == 0
    assert all(path.read_bytes() == content for path, content in before.items())
    assert read(tmp_path) == expected
    assert not list(tmp_path.glob("*.tmp"))


def test_a_full_disk_leaves_whole_parts_that_the_next_run_continues(tmp_path, expected):
    with OutputFolder(tmp_path, SETTINGS) as output:
        output.add(Row.from_dict(expected[0]))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    output = OutputFolder(tmp_path, SETTINGS)
    output.add(Row.from_dict(expected[1]))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limit[1]))  # as a full disk, a write fails midway
        with pytest.raises(NanoASRError, match=r"cannot be written .*; the parts before it are complete"):
            output.__exit__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "part-00000.jsonl", "settings.json"]
    with OutputFolder(tmp_path, SETTINGS) as output:
        job = Job([Input(str(path)) for path in DIGITS[:2]], output)
        assert [item.source for item in job.missing] == [str(DIGITS[1])]
        job.run(local_engine(Settings()))
    assert read(tmp_path) == expected[:2]


def test_two_runs_cannot_write_to_one_folder(tmp_path):
    with (
        OutputFolder(tmp_path, SETTINGS),
        pytest.raises(OptionError, match="another run is writing"),
    ):
        OutputFolder(tmp_path, SETTINGS)


def test_a_file_name_that_is_not_utf8_is_found_again(tmp_path):
    row = Row(source="caf\udce9.wav", text="x")
    with OutputFolder(tmp_path, SETTINGS) as output:
        output.add(row)
        output.flush()
        assert output.done() == {row.key: 1}


@pytest.mark.parametrize("option", [("--workers", "2"), ("--address", "auto"), ("--gpus-per-worker", "1")])
def test_options_of_ray_need_its_engine(tmp_path, option, capsys):
    assert run("batch", DIGITS[0], "--out", tmp_path / "out", *option) == 2
    assert "needs --engine ray" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_terminal_prints_no_progress_bar(tmp_path, capsys):
    assert run("batch", DIGITS[0], "--out", tmp_path) == 0
    assert [line for line in complaints(capsys) if "%|" in line] == []
