"""Every tab has its address, and the browser keeps the last results."""

from pages import go_to, text_of, transcribe
from running import ROOT

COMMAND = ROOT / "assets/speech/kokoro-command.wav"
SELECTED = "document.querySelector('#tabs [role=tab][aria-selected=true]').textContent.trim() === '{}'"


def test_a_tab_has_an_address_and_back_returns_to_the_one_before(open_page, app):
    page = open_page()
    go_to(page, "Compare")
    assert page.url.endswith("#compare")
    go_to(page, "Live")
    page.go_back()
    page.wait_for_function(SELECTED.format("Compare"))
    page.go_back()
    page.wait_for_function(SELECTED.format("Transcribe"))
    page = open_page(url=f"{app.url}/#live")
    page.wait_for_function(SELECTED.format("Live"))


def test_a_reload_brings_the_last_result_back_and_clear_forgets_it(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    text_of(page)
    transcribe(page, COMMAND)
    page.wait_for_selector("#recent summary")
    page.reload()
    page.wait_for_selector("#status :text('From this browser: kokoro-command.wav')")
    assert "computer" in text_of(page)
    page.wait_for_selector("#timeline .main-svg")  # with its recording
    page.click("#recent summary")
    page.get_by_role("button", name="Clear").click()
    page.reload()
    page.wait_for_selector("#status :text('An example')")
    assert "seven three one" in text_of(page)


def test_a_result_that_the_browser_kept_outlives_its_recording(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    text_of(page)
    transcribe(page, COMMAND)
    page.wait_for_selector("#recent summary")
    for file in bundled_app.cache.rglob("kokoro-command.wav"):
        file.unlink()
    page.reload()
    page.wait_for_selector("#status :text('no longer on the server')")
    assert "computer" in text_of(page) and page.problems == []
