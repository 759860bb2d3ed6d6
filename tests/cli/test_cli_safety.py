"""Hostile names, checkpoints and recordings cannot control the terminal, forge lines, or end a command untidily."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from commands import COMMAND, ENVIRONMENT, EXPECTED, complaints, run, transcribe
from places import PARITY

from nanoasr.audio import files
from nanoasr.cli.live import Screen
from nanoasr.live.session import Latency, Update
from nanoasr.results import Segment

ESCAPE = "\x1b]0;owned\x07"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_info_prints_no_control_characters_or_forged_lines_of_a_checkpoint(capsys):
    source = Path(f"model{ESCAPE}\ndevice      forged")
    shutil.copytree(PARITY / "mlx_audio", source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"nanoasr_card": f"{ESCAPE}\ndevice      forged"}))
    assert run("info", "--model", source) == 0
    printed = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in printed)
    assert len([line for line in printed.splitlines() if line.startswith("device")]) == 1


def test_a_failing_recording_cannot_forge_a_message_by_its_name(capsys):
    assert transcribe("a.wav\nnanoasr: all is well") == 1
    assert len(complaints(capsys)) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_live_text_of_a_model_cannot_control_the_terminal(terminal):
    out = io.StringIO()
    out.isatty = lambda: terminal
    screen = Screen(out)
    screen.show(Update("so\x1b[2J", "far\x9b2J", (), (), None, Latency()))
    screen.show(Update("", "", (Segment("all\x1b[2J\rdone", 0, 1),), (), None, Latency()))
    assert "[2J" in out.getvalue()
    assert not {"\x1b[2J", "\x9b", "\rdone"} & {out.getvalue()[i : i + n] for i in range(999) for n in (1, 4, 5)}


def test_a_damaged_transport_stream_is_heard_live_as_far_as_it_goes_or_refused_in_a_line(capsys):
    stream = transport_stream(np.tile(EXPECTED["audio"], 2))
    outcomes = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        damaged = bytearray(stream)
        for place in rng.integers(0, len(stream), size=int(rng.integers(1, len(stream) // 20))):
            damaged[place] = rng.integers(256)
        Path("damaged.ts").write_bytes(damaged)
        status = run("live", "--model", PARITY / "official", "--file", "damaged.ts", "--interval", 5)
        outcomes.add(status)
        assert len(complaints(capsys)) == (1 if status else 0)
    assert outcomes <= {0, 2} and 0 in outcomes


def transport_stream(samples: np.ndarray) -> bytes:
    """Encode samples as AAC in MPEG-TS."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for start in range(0, len(samples) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_endless_standard_input_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(files, "MAX_PIPE_BYTES", 1 << 20)
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(endless.stdout))
        assert transcribe("-") == 1
        endless.terminate()
    assert "MB from a pipe" in capsys.readouterr().err


def test_ctrl_c_during_the_imports_prints_no_traceback():
    os.mkfifo("blas")  # loading it as a library blocks the import of nanoasr until something is written
    process = subprocess.Popen(
        [*COMMAND, "info"], env=ENVIRONMENT | {"NANOASR_BLAS": "./blas"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            writer = os.open("blas", os.O_WRONLY | os.O_NONBLOCK)  # fails until the import opens it to read
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    os.close(writer)
    assert process.communicate(timeout=10) == (b"", b"")
    assert process.returncode == -signal.SIGINT
