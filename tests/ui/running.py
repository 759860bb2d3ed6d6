"""`python app.py` as a process, and recordings to give it."""

import http.client
import json
import os
import re
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
    """`python app.py` in a process of its own, with Gradio's folder in a place of its own.

    `before`: Python to run first, in the same process.
    """

    def __init__(self, folder: Path, *flags: str, before: str = ""):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url, self.cache = f"http://127.0.0.1:{self.port}", folder / "gradio"
        self.log = (folder / "log.txt").open("w+")
        environment = os.environ | {"GRADIO_TEMP_DIR": str(self.cache), "PYTHONUNBUFFERED": "1"}
        path = str(ROOT / "app.py")
        run = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); {before or 'pass'}\n"
        run += f"runpy.run_path({path!r}, run_name='__main__')"
        command = [sys.executable, *(["-c", run] if before else [path]), "--port", str(self.port), *flags]
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=self.log, stderr=self.log)
        started = time.monotonic()
        while True:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() - started > 60:
                    self.process.kill()
                    self.log.seek(0)
                    raise AssertionError(self.log.read()) from None
                time.sleep(0.1)
        self.seconds_to_start = time.monotonic() - started

    def call(self, name: str, data: object, **headers: str) -> str:
        """What a named endpoint answers to a program, as it comes; `data` in bytes is sent as it is."""
        body = data if isinstance(data, bytes) else json.dumps({"data": data}).encode()
        headers = {"Content-Type": "application/json"} | headers
        path = f"/gradio_api/call/{name}"
        status, _, said = send(self.url, "POST", path, body, headers)
        event = re.fullmatch(r'\{"event_id":"(\w+)"\}', said)
        return send(self.url, "GET", f"{path}/{event[1]}", None, headers)[2] if event else f"error {status}: {said}"

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def ask(
    url: str, method: str, path: str, body: bytes | None = None, kind: str = "application/json", timeout: float = 60
) -> tuple[int, str]:
    """One raw request, its path as it stands. -> the status and what was answered."""
    status, _, said = send(url, method, path, body, {"Content-Type": kind}, timeout)
    return status, said


def send(
    url: str, method: str, path: str, body: bytes | None, headers: dict[str, str], timeout: float = 60
) -> tuple[int, list[tuple[str, str]], str]:
    """One raw request. -> status, headers and content of the answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=timeout)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read().decode(errors="replace")
    finally:
        connection.close()


def file_data(path: object, **more: object) -> dict:
    """An uploaded file, as payloads name it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}} | more


def upload_file(app: App, name: str, content: bytes) -> str:
    """Upload as the page does. -> the path that the app gave it."""
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: audio/wav\r\n\r\n'
    form = head.encode() + content + b"\r\n--b--\r\n"
    return json.loads(ask(app.url, "POST", "/gradio_api/upload", form, "multipart/form-data; boundary=b")[1])[0]


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
