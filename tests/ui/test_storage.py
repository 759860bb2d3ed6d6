"""The folder of uploads and downloads: what is deleted when, and what never is."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from pages import CLIP
from running import ROOT, App, file_data, upload_file

from nanoasr.ui import storage
from nanoasr.ui.storage import Storage

MODEL = ("--model", str(ROOT / "tests/parity/official"))
SHORT_LIVES = "import nanoasr.ui.storage as s; s.SWEEP_SECONDS, s.KEEP_SECONDS, s.ABANDONED_SECONDS = 0.5, 2, 1"


@pytest.fixture
def folder(tmp_path):
    made = Storage(1000, tmp_path)
    yield made
    made.close()


def put(made: Storage, name: str, size: int, age: float = 0) -> Path:
    path = made.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age,) * 2)
    return path


def transcribe(app, path: object) -> str:
    return app.call("transcribe", [file_data(str(path)), "auto", "", True, True, 0, 0, 1, 0, 1, 0, 20, 1])


def wait_until(done, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def files_of(app) -> list[Path]:
    return [path for path in app.cache.rglob("*") if path.is_file() and path.name != ".lock"]


def test_the_oldest_files_make_way_when_the_folder_is_full(folder):
    old, new = put(folder, "a/old.wav", 600), put(folder, "b/new.wav", 600)
    os.utime(new, (time.time() + 10,) * 2)
    assert folder.room() == 400
    assert new.exists() and not old.exists() and not old.parent.exists()


def test_a_file_is_deleted_after_its_time(tmp_path, monkeypatch):
    assert storage.KEEP_SECONDS == 3600
    monkeypatch.setattr(storage, "KEEP_SECONDS", 0.2)
    made = Storage(1000, tmp_path)
    path = put(made, "a/x.wav", 10)
    made.sweep()
    assert path.exists()
    time.sleep(0.3)
    made.sweep()
    assert not path.exists()
    made.close()


def test_what_a_killed_server_left_is_deleted_and_what_a_running_one_has_stays(tmp_path, folder):
    left = tmp_path / f"{storage._PREFIX}dead"
    left.mkdir()
    (left / ".lock").touch()
    (left / "upload.wav").touch()
    mine = put(folder, "a/x.wav", 10)
    other = Storage(1000, tmp_path)
    assert not left.exists() and mine.exists()
    other.close()
    assert not other.folder.exists() and mine.exists()


def test_uploads_and_downloads_are_deleted_after_their_time(tmp_path):
    app = App(tmp_path, *MODEL, before=SHORT_LIVES)
    try:
        upload = Path(upload_file(app, "clip.wav", CLIP.read_bytes()))
        assert "event: complete" in transcribe(app, upload)
        wait_until(lambda: not files_of(app))
    finally:
        app.close()


def test_examples_work_however_long_the_server_runs(tmp_path, open_page):
    app = App(tmp_path, *MODEL, before=SHORT_LIVES)
    try:
        page = open_page(url=app.url)
        for _ in range(2):
            page.evaluate("document.querySelector('#status .message').outerHTML = ''")
            page.get_by_role("button", name="A phone number").first.click()
            page.wait_for_selector("#status .message")
            page.wait_for_selector("#status .message:not(.info)")
            assert "Done" in page.inner_text("#status")
            wait_until(lambda: not files_of(app))
    finally:
        app.close()


def test_an_aborted_upload_is_deleted(tmp_path):
    app = App(tmp_path, *MODEL, before=SHORT_LIVES.replace("KEEP_SECONDS, s.AB", "AB").replace("0.5, 2, 1", "0.5, 1"))
    try:
        with socket.create_connection(("127.0.0.1", app.port)) as raw:
            raw.sendall(
                b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; "
                b'name="files"; filename="x.wav"\r\nContent-Type: audio/wav\r\n\r\n' + b"x" * 300_000
            )
            wait_until(lambda: files_of(app))
        wait_until(lambda: not files_of(app))
        app.log.seek(0)
        assert "Traceback" not in app.log.read()
    finally:
        app.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_server_that_was_stopped(tmp_path, how):
    app = App(tmp_path, *MODEL)
    upload_file(app, "clip.wav", CLIP.read_bytes())
    app.process.send_signal(how)
    app.process.wait(30)
    app.log.close()
    if how == signal.SIGKILL:  # the next start deletes it
        assert files_of(app)
        App(tmp_path, *MODEL).close()
    assert not files_of(app) and not list(app.cache.glob("nanoasr-*"))
