"""How the app starts, and the model that all visitors share."""

import re
import threading

from pages import CLIP
from running import ROOT, App, ask, file_data, upload_file


def test_with_auth_nobody_is_let_in_without_the_password(tmp_path):
    app = App(tmp_path, "--model", str(ROOT / "tests/parity/official"), "--auth", "ada:lovelace")
    try:
        assert ask(app.url, "GET", "/config")[0] == 401
        assert ask(app.url, "POST", "/gradio_api/call/model", b'{"data": []}')[0] == 401
        status, _ = ask(app.url, "POST", "/login", b"username=ada&password=x", "application/x-www-form-urlencoded")
        assert status == 400
        status, _ = ask(
            app.url, "POST", "/login", b"username=ada&password=lovelace", "application/x-www-form-urlencoded"
        )
        assert status == 200
    finally:
        app.close()


def test_a_page_that_others_can_reach_lets_nobody_load_a_checkpoint(tmp_path):
    app = App(tmp_path, "--model", str(ROOT / "tests/parity/official"), "--host", "0.0.0.0")
    try:
        assert "error" in app.call("load_model", ["bundled", "as stored", ""])
        recording = file_data(upload_file(app, "clip.wav", CLIP.read_bytes()))
        answer = app.call("compare", [[recording], "", 1, [{"checkpoint": "bundled"}]])
        assert answer.startswith("event: error") and "no other checkpoint is loaded" in answer
        assert "event: complete" in app.call("compare", [[recording], "", 1, [{"name": "loaded"}]])
    finally:
        app.close()


def test_a_failed_load_leaves_the_old_model_working(open_page):
    page = open_page()
    page.get_by_role("tab", name="Model").click()
    page.get_by_label("Checkpoint").fill("/no/such/folder")
    page.get_by_label("Checkpoint").press("Enter")
    page.click("#load")
    page.wait_for_selector("#model-status .message.error")
    assert "/no/such/folder" in page.inner_text("#model-status")
    assert "still there" in page.inner_text("#model-status")
    assert "official" in page.inner_text("#model-line")


def test_the_presets_are_listed_with_their_repositories_and_the_model_with_its_size(open_page):
    page = open_page()
    page.get_by_role("tab", name="Model").click()
    assert re.search(r"[\d,]+ MB stored, [\d,]+ MB in memory", page.inner_text("#model-table"))
    page.locator("#presets > button").click()
    row = page.locator("#presets tr", has_text="iic/SenseVoiceSmall")
    assert "sensevoice" in row.inner_text() and re.search("not downloaded|MB from", row.inner_text())


def test_every_open_page_learns_of_another_model(open_page, tmp_path):
    app = App(
        tmp_path,
        "--model",
        str(ROOT / "tests/parity/official"),
        before="import nanoasr.ui.model as m; m.CHECK_SECONDS = 1",
    )
    try:
        page = open_page(url=app.url)
        assert "official" in page.inner_text("#model-line")
        assert "event: complete" in app.call("load_model", [str(ROOT / "tests/parity/mlx_audio"), "as stored", ""])
        page.wait_for_selector("#model-line :text('mlx_audio')")
    finally:
        app.close()


def test_without_a_model_the_page_opens_and_says_what_to_do(open_page, tmp_path):
    app = App(tmp_path, "--model", "/no/such/checkpoint")
    try:
        page = open_page(url=app.url)
        page.get_by_role("tab", name="Model").click()
        page.wait_for_selector("#model-status .message.error")
        assert "neither a folder, nor a hub id, nor a preset" in page.inner_text("#model-status")
        assert page.locator("#load").is_visible()
    finally:
        app.close()


def test_model_holder_refuses_a_second_load_while_one_is_running():
    from nanoasr.errors import CheckpointError
    from nanoasr.ui.models import SharedModel

    shared, problems = SharedModel(), []
    folder = str(ROOT / "tests/parity/official")

    def load() -> None:
        try:
            shared.load(folder)
        except CheckpointError as error:
            problems.append(str(error))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.recognizer and all("being loaded right now" in problem for problem in problems)
