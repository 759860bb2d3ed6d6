"""What strangers may send, raw: addresses, paths, files and payloads of every kind."""

import json
import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from gradio_client import handle_file
from running import SPEECH, App, ask, file_data, write_wav

CLIP = SPEECH / "LJ002-0020.wav"
SECRET = "root:"  # of /etc/passwd
DRAWN = {"temperature": 1.0, "seed": 1, "max_tokens": 40}


def wish(path: str) -> list:
    """All of `/transcribe`'s arguments, so that the path is looked at."""
    return [file_data(path), "auto", "", True, True, 0, 0, 1, 0, 1, 0, 512, None]


def join(app, body: dict) -> str:
    """The same by the way that the page goes."""
    status, said = ask(app.url, "POST", "/gradio_api/queue/join", json.dumps(body).encode())
    if status != 200:
        return f"error {status}: {said}"
    return ask(app.url, "GET", f"/gradio_api/queue/data?session_hash={quote(str(body['session_hash']))}")[1]


# Addresses and paths


@pytest.mark.parametrize(
    "path", ["/etc/passwd", str(CLIP), "{cache}/../log.txt", "file:///etc/passwd", "~/.bashrc", "\0", "", "."]
)
def test_no_file_outside_the_upload_folder_is_read(app, path):
    answer = app.call("transcribe", wish(path.format(cache=app.cache)))
    assert answer.startswith("event: error") and SECRET not in answer


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/config", "https://huggingface.co/x.wav"])
def test_a_web_address_in_the_place_of_a_file_is_not_fetched(app, address):
    answer = app.call("transcribe", wish(address.format(port=app.port)))
    assert answer.startswith("event: error") and "Web addresses are not read here" in answer


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/gradio_api/file={cache}/../log.txt",
        "/gradio_api/file={cache}/%2e%2e/log.txt",
        "/gradio_api/file=https://huggingface.co/",
        "/gradio_api/file=http://127.0.0.1:{port}/config",
        "/gradio_api/file//etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:{port}/config",
        "/gradio_api/proxy=https://x.hf.space/",
        "/static/../../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/gradio_api/custom_component/1/client/component/..%2f..%2fetc%2fpasswd",
        "/gradio_api/stream/x/y/1/playlist-file",
    ],
)
def test_no_route_gives_other_files_or_other_sites(app, path):
    status, said = ask(app.url, "GET", path.format(cache=app.cache, port=app.port))
    assert status >= 400 and SECRET not in said and "version" not in said


# Uploads


def test_an_uploaded_file_stays_in_its_folder_whatever_its_name(app):
    for name in ("../../../evil.wav", "/etc/evil.wav", "..\\..\\evil.wav", "a/../../evil.wav", "x" * 4000 + ".wav"):
        form = (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n'
            b"Content-Type: audio/wav\r\n\r\nRIFF\r\n--b--\r\n"
        )
        status, said = ask(app.url, "POST", "/gradio_api/upload", form, "multipart/form-data; boundary=b")
        assert status in (200, 400)
        if status == 200:
            (path,) = json.loads(said)
            assert app.cache in Path(path).parents and ".." not in Path(path).parts and Path(path).is_file()


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        (b"", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\n", "multipart/form-data; boundary=b"),
        (b"--b\r\nContent-Disposition: nonsense", "multipart/form-data; boundary=b"),
        (b"x" * 100_000, "multipart/form-data"),
        (b"\xff\xfe", "application/json"),
        (b"x", "text/plain; boundary=b"),
    ],
)
def test_a_malformed_upload_is_answered(app, form, kind):
    status, said = ask(app.url, "POST", "/gradio_api/upload", form, kind)
    assert status and "Traceback" not in said and "site-packages" not in said


def test_uploads_beyond_the_limit_are_refused(client, tmp_path):
    large = write_wav(tmp_path / "large.wav", np.zeros(3_000_000))
    with pytest.raises(Exception, match=r"413|exceed|too large|Large"):
        client.predict(handle_file(str(large)), api_name="/transcribe")


# Payloads


@pytest.mark.parametrize(
    "data",
    [[], [None], [17], [{}], [{"path": 5}], [[["x"]]], [None] * 50, [{"path": "x" * 5000}], None, {}, b"{", b"[]", b""],
)
def test_malformed_payloads_are_answered(app, data):
    answer = app.call("transcribe", data)
    assert "error" in answer and "Traceback" not in answer


def test_ffmpegs_programs_are_not_given_recordings(tmp_path, monkeypatch):
    programs, started = tmp_path / "bin", tmp_path / "started"
    programs.mkdir()
    for name in ("ffmpeg", "ffprobe"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} $@ >> {started}\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    app = App(tmp_path)  # which offers example recordings
    app.close()
    assert not started.exists(), started.read_text()
