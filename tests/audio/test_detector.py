"""Silero's probabilities of speech."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from places import SPEECH

from nanoasr.audio import detector
from nanoasr.audio.detector import FRAME, Detector, DetectorPool
from nanoasr.audio.files import load_audio

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
    assert np.abs(np.array(Detector().hear(FRAMES)[::2]) - EXPECTED).max() < 0.01


def test_grouping_frames_makes_no_difference_to_the_last_bit():
    together, apart = Detector(), Detector()
    one_by_one = [probability for frame in FRAMES for probability in apart.hear(frame[None])]
    assert together.hear(FRAMES) == one_by_one
    assert together.hear(FRAMES[:0]) == []


def test_a_reset_detector_is_a_new_one():
    detector = Detector()
    first = detector.hear(FRAMES)
    assert detector.hear(FRAMES) != first
    detector.reset()
    assert detector.hear(FRAMES) == first


def test_detectors_in_other_processes_hear_the_same():
    pool = DetectorPool(2, in_processes=True)
    for _ in range(2):  # a process is used again for the next recording
        with pool.detector() as remote:
            np.testing.assert_allclose(remote.hear(FRAMES), Detector().hear(FRAMES), atol=1e-6)
    pool.close()


HEARS_AFTER_CTRL_C = """
import numpy as np
from detector import RemoteDetector

remote, frames = RemoteDetector(), np.zeros((3, 512), np.float32)
before = remote.hear(frames)
try:
    print("listening", flush=True)
    input()
except KeyboardInterrupt:
    remote.reset()
    print(remote.hear(frames) == before)
remote.close()
"""


def test_ctrl_c_does_not_reach_detectors_in_other_processes():
    with subprocess.Popen(
        [sys.executable, "-c", HEARS_AFTER_CTRL_C],
        cwd=Path(detector.__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == "listening\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.read() == "True\n"
