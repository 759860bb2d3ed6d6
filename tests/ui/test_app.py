"""How the app starts, and the model that all visitors share."""

import threading

from pages import CLIP, choose
from running import ROOT, App


def test_inside_shows_every_stage(open_page):
    page = open_page()
    page.get_by_role("tab", name="Inside").click()
    choose(page, "#inside-recording", CLIP)
    page.click("#look-inside")
    page.wait_for_selector("#inside-status .message.done")
    page.wait_for_function("document.querySelectorAll('.stage .js-plotly-plot .main-svg').length >= 7")
    assert "152 × 80" in page.inner_text("#shapes")
    assert "audio tokens" in page.inner_text("#prompt")
    assert page.problems == []


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
