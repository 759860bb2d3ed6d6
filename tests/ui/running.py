"""`python app.py` as a process, and recordings to give it."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
import wave
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "tests/data/speech"


class App:
    """`python app.py` in a process of its own, with Gradio's folder in a place of its own."""

    def __init__(self, folder: Path, *flags: str):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url, self.cache = f"http://127.0.0.1:{port}", folder / "gradio"
        self.log = (folder / "log.txt").open("w+")
        environment = os.environ | {"GRADIO_TEMP_DIR": str(self.cache), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), *flags]
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=self.log, stderr=self.log)
        started = time.monotonic()
        while True:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() - started > 60:
                    self.log.seek(0)
                    raise AssertionError(self.log.read()) from None
                time.sleep(0.1)
        self.seconds_to_start = time.monotonic() - started

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def write_wav(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def read_wav(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)
