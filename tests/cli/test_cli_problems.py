"""The command line when something is wrong: each failure is told in a line, and the rest is done all the same."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import COMMAND, ENVIRONMENT, EXPECTED, MODEL, complaints, run, transcribe, transcript, write_speech

import nanoasr


@pytest.fixture
def speech(tmp_path, monkeypatch) -> Path:
    """A recording in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return write_speech()


@pytest.fixture
def wanted() -> nanoasr.Transcript:
    return transcript()


# Interruption


def test_ctrl_c_leaves_finished_transcripts_whole(speech):
    names = [f"{number:02}.wav" for number in range(40)]
    for name in names:
        shutil.copy(speech, name)
    slow = ("--max-tokens", "300", "--temperature", "1.5", "--batch-size", "1", "--format", "json", "--out", "texts")
    process = subprocess.Popen(
        [*COMMAND, "transcribe", *MODEL, *slow, *names], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    deadline = time.monotonic() + 60
    while not Path("texts/00.json").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    assert process.stderr.read() == "nanoasr: interrupted\n"
    process.stderr.close()
    written = sorted(os.listdir("texts"))
    assert 1 <= len(written) < len(names)
    assert written == [f"{number:02}.json" for number in range(len(written))]
    assert all(nanoasr.Transcript.from_json(Path("texts", name)).text for name in written)


# Bad input


def test_each_bad_recording_is_told_in_a_line_and_the_others_are_transcribed(speech, wanted, capsys):
    loud, half = EXPECTED["audio"], len(EXPECTED["audio"]) // 2
    shutil.copy(speech, "last.wav")
    Path("empty.wav").touch()
    Path("loop.wav").symlink_to("loop.wav")
    Path("page.mp3").write_text("<!DOCTYPE html><title>404 Not Found</title>")
    Path("header.wav").write_bytes(speech.read_bytes()[:30])
    Path("notes.wav").write_text("This is no recording. " * 100)
    soundfile.write("nothing.wav", loud[:0], 16000)
    soundfile.write("click.wav", loud[:300], 16000)
    soundfile.write("nan.wav", np.where(np.arange(len(loud)) == half, np.nan, loud), 16000, subtype="FLOAT")
    soundfile.write("infinity.wav", np.where(np.arange(len(loud)) == half, np.inf, loud), 16000, subtype="FLOAT")
    soundfile.write("long.wav", np.tile(loud, 4), 16000)
    Path("folder").mkdir()
    bad = {
        "empty.wav": "empty",
        "loop.wav": "cannot be opened (Too many levels of symbolic links)",
        "page.mp3": "not audio",
        "header.wav": "not audio",
        "notes.wav": "not audio",
        "nothing.wav": "0.025 s are needed",
        "click.wav": "0.025 s are needed",
        "nan.wav": "NaN or infinity at",
        "infinity.wav": "NaN or infinity at",
        "long.wav": "longer than the limit of 6 s",
        "gone.wav": "no such file",
        "https://example.org/a.wav": "download it",
        "folder": "no recordings in it",
        "*.opus": "no file matches",
    }
    assert transcribe(speech, *bad, "last.wav", "--max-minutes", "0.1", "--out", "texts") == 1
    lines = complaints(capsys)
    assert len(lines) == len(bad)
    for name, reason in bad.items():
        [line] = [line for line in lines if line.startswith(f"nanoasr: {name}: ")]
        assert reason in line
    assert sorted(os.listdir("texts")) == ["last.txt", "speech.txt"]
    assert {Path("texts", name).read_text(encoding="utf-8") for name in os.listdir("texts")} == {wanted.to_txt()}


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read everything")
def test_files_and_folders_that_may_not_be_read_are_told(speech, capsys):
    shutil.copy(speech, "secret.wav")
    Path("locked").mkdir()
    for name in ("secret.wav", "locked"):
        os.chmod(name, 0)
    assert transcribe("secret.wav", "locked", speech, "--out", "texts") == 1
    os.chmod("locked", 0o700)
    assert complaints(capsys) == [
        "nanoasr: locked: cannot be looked into (Permission denied)",
        "nanoasr: secret.wav: cannot be opened (Permission denied).",
    ]
    assert os.listdir("texts") == ["speech.txt"]


@pytest.mark.parametrize(
    ("sent", "said"), [(b"", "empty"), (b"no sound " * 1000, "not audio"), (bytes(range(256)) * 9, "not audio")]
)
def test_what_comes_in_by_a_pipe_and_is_no_recording_is_told(sent, said, speech, wanted, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sent)))
    assert transcribe("-", speech) == 1
    printed = capsys.readouterr()
    assert printed.out == wanted.to_txt()
    [line] = printed.err.splitlines()
    assert line.startswith("nanoasr: -: ") and said in line


def test_a_truncated_mp3_is_transcribed_as_far_as_it_goes(speech, capsys):
    soundfile.write("whole.mp3", np.tile(EXPECTED["audio"], 3), 16000)
    Path("half.mp3").write_bytes(Path("whole.mp3").read_bytes()[: os.path.getsize("whole.mp3") // 2])
    assert transcribe("half.mp3", "--format", "json") == 0
    assert 3 < nanoasr.Transcript.from_json(capsys.readouterr().out).duration < 7


def test_a_file_name_cannot_move_the_cursor(speech, capsys):
    assert transcribe("a\x1b[2J\nb.wav") == 1
    [line] = complaints(capsys)
    assert line.startswith("nanoasr: a?[2J b.wav: ")
    shutil.copy(speech, "a\x1b[2J.wav")
    assert transcribe("a\x1b[2J.wav", "--verbose", "--format", "json") == 0
    assert "\x1b" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "FILE"),
        (("speech.wav", "--format", "doc"), "doc"),
        (("speech.wav", "--format", "txt,srt"), "--out"),
        (("speech.wav", "--skip-existing"), "--out"),
        (("speech.wav", "--out", "speech.wav"), "is a file"),
        (("speech.wav", "--batch-size", "0"), "1 or more"),
        (("speech.wav", "--temperature", "-1"), "temperature"),
        (("speech.wav", "--temperature", "hot"), "hot"),
        (("speech.wav", "--max-minutes", "0"), "--max-minutes"),
        (("speech.wav", "--language", "klingon"), "English"),
        (("speech.wav", "--hotwords-file", "gone.txt"), "gone.txt"),
        (("speech.wav", "--hotwords-file", "speech.wav"), "cannot be read as UTF-8 text"),
        (("speech.wav", "--hotwords", "<|im_end|>"), "special tokens"),
        (("speech.wav", "--hotwords", ",".join(map(str, range(501)))), "501 hotwords: at most 500"),
        (("speech.wav", "--temperature", "nan"), "temperature=nan: must be"),
        (("speech.wav", "--top-p", "inf"), "top_p=inf: must be"),
        (("speech.wav", "--max-minutes", "nan"), "--max-minutes"),
        (("speech.wav", "--model", "no such model"), "neither a folder"),
        (("speech.wav", "--quantize", "3-bit"), "3-bit"),
        (("speech.wav", "--unknown"), "--unknown"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(arguments, said, speech, capsys):
    assert transcribe(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err


def test_no_command_is_wrong_usage(capsys):
    assert run() == 2
    assert "COMMAND" in capsys.readouterr().err


def test_no_room_for_another_thread_is_one_line(speech, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")  # as Python does

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert transcribe(speech) == 2
    assert complaints(capsys) == ["nanoasr: can't start new thread: out of memory, or too many processes"]
