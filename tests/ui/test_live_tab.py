"""The Live tab in a browser whose microphone hears a recording."""

import json
import re

import numpy as np
import pytest
from running import ROOT, read_wav, write_wav

COMMAND, NUMBER = ROOT / "assets/speech/kokoro-command.wav", ROOT / "assets/speech/kokoro-number.wav"
PAUSE = np.zeros(16000)
COMMITTED = "[...document.querySelectorAll('.live-text .committed')].some(e => e.textContent.includes('{}'))"


def listen(page_hearing, tmp_path, *recordings):
    """A page that is being told these recordings, a second of silence around each."""
    said = [part for recording in recordings for part in (PAUSE, read_wav(recording))]
    page = page_hearing(write_wav(tmp_path / "said.wav", np.concatenate([*said, PAUSE, PAUSE])))
    page.get_by_role("tab", name="Live").click()
    page.click("#live-start")
    return page


def stop(page) -> str:
    page.click("#live-stop")
    page.wait_for_selector("#live-status .message.done")
    return page.inner_text(".live-text")


def test_words_appear_while_somebody_speaks_and_stay_after_stop(page_hearing, tmp_path):
    page = listen(page_hearing, tmp_path, COMMAND, NUMBER)
    page.wait_for_selector(".live-text .tentative, .live-text .committed")
    assert page.is_enabled("#live-stop") and not page.is_enabled("#live-start")
    page.wait_for_function(COMMITTED.format("computer"))
    page.wait_for_selector("#live-segments li")  # the first is over while the second is spoken
    page.wait_for_function(COMMITTED.format("seven three one"))
    said = stop(page)
    assert "computer" in said and "seven three one" in said
    segments = page.locator("#live-segments li")
    assert segments.count() >= 2 and re.search(r"\d:\d\d\.\d\d–\d:\d\d\.\d\d", segments.last.inner_text())
    assert re.search(r"\d\.\d\d s", page.inner_text("#live-figures"))
    page.locator("#latency-fold > button").click()  # folded away
    page.wait_for_selector("#latency .main-svg")
    assert page.problems == [] and page.elsewhere == []


def test_what_was_said_can_be_saved(page_hearing, tmp_path):
    page = listen(page_hearing, tmp_path, COMMAND)
    page.wait_for_selector("#live-segments li")
    said = stop(page)
    saved = {}
    for suffix in ("txt", "srt", "vtt", "json"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f".{suffix}").locator("visible=true").click()
        saved[suffix] = download.value.path().read_text()
    assert saved["txt"].strip() == json.loads(saved["json"])["text"] == said
    assert "-->" in saved["srt"] and saved["vtt"].startswith("WEBVTT")


def test_the_sound_is_kept_its_segments_play_and_it_opens_in_other_tabs(page_hearing, tmp_path):
    page = listen(page_hearing, tmp_path, NUMBER)
    page.wait_for_selector("#live-segments li")
    said = stop(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])  # which takes the microphone away
    page.click("#live-copy")
    page.wait_for_function("async said => await navigator.clipboard.readText() === said", arg=said)
    page.wait_for_selector("#live-recording #waveform", state="attached")
    page.locator("#live-segments button.time").last.click()
    page.wait_for_function(
        """() => [...document.querySelectorAll('#live-recording #waveform *')].some(
            e => e.shadowRoot?.querySelector('audio')?.currentTime > 0.2)"""
    )
    page.click("#to-inside")
    page.wait_for_function("location.hash === '#inside'")
    page.wait_for_selector("#inside-recording #waveform", state="attached")
    page.go_back()
    page.click("#to-transcribe")
    page.wait_for_selector("#status .message.done")
    assert "seven three one" in page.inner_text("#text") and page.url.endswith("#transcribe")


def test_what_may_change_does_not_look_like_what_is_settled(page_hearing, tmp_path):
    page = listen(page_hearing, tmp_path, COMMAND)
    looks = [
        page.eval_on_selector(
            f"#live-text .legend .{kind}",
            "e => [getComputedStyle(e).fontStyle, getComputedStyle(e).textDecorationLine, getComputedStyle(e).color]",
        )
        for kind in ("committed", "tentative")
    ]
    assert all(settled != open_ for settled, open_ in zip(*looks, strict=True))


def test_the_level_follows_the_sound(page_hearing, tmp_path):
    page = listen(page_hearing, tmp_path, COMMAND)
    page.wait_for_function("document.querySelector('#level [role=meter]').ariaValueNow > -30")
    page.wait_for_function("document.querySelector('#level [role=meter]').ariaValueNow == -60")


def test_it_can_be_started_again_after_stop(page_hearing, tmp_path):
    page = listen(page_hearing, tmp_path, COMMAND)
    page.wait_for_selector("#live-segments li")
    stop(page)
    page.click("#live-start")
    page.wait_for_selector("#live-status .message.recording")
    assert page.locator("#live-segments li").count() == 0
    page.get_by_text(re.compile(r"Listening… 0:0[1-9]")).wait_for()
    page.click("#live-stop")
    page.wait_for_selector("#live-status .message.done, #live-status .message.warning")
    assert page.problems == []


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_live_session_goes_on_after_lost_packets(page_hearing, tmp_path, lost):
    page, left = listen(page_hearing, tmp_path, COMMAND, NUMBER), [2]

    def lose(route) -> None:
        left[0] -= 1
        if left[0] >= 0:
            route.abort()
        else:
            route.continue_()

    page.get_by_text(re.compile(r"Listening… 0:0[1-9]")).wait_for()
    page.route("**/queue/join*" if lost == "request" else "**/queue/data*", lose)
    page.wait_for_function(COMMITTED.format("three"))
    assert left[0] < 0
    assert "seven three one" in stop(page)


def test_a_live_session_goes_on_without_a_piece_that_was_lost_for_good_and_says_so(page_hearing, tmp_path):
    page, lost = listen(page_hearing, tmp_path, COMMAND, NUMBER), []
    page.wait_for_selector("#live-segments li")

    def lose(route) -> None:
        if lost:
            route.continue_()
        else:
            lost.append(route.request)
            route.fulfill(status=502)

    page.route("**/queue/join*", lose)
    page.wait_for_selector("#live-status .message.recording:text('of sound were lost on the way')")
    page.wait_for_function(COMMITTED.format("eight five"))
    said = stop(page)
    assert lost and "computer" in said and "eight five" in said
    assert "of sound were lost on the way" in page.inner_text("#live-status")


def test_two_visitors_at_once_do_not_mix(page_hearing, tmp_path):
    pages = []
    for name, recording in (("a", COMMAND), ("b", NUMBER)):
        (tmp_path / name).mkdir()
        pages.append(listen(page_hearing, tmp_path / name, recording))
    for page in pages:
        page.wait_for_selector("#live-segments li")
    pages[1].wait_for_function(COMMITTED.format("seven three one"))
    said = [stop(page) for page in pages]
    assert "computer" in said[0] and "seven" not in said[0]
    assert "seven three one" in said[1] and "computer" not in said[1]


def test_without_a_microphone_it_says_so(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    page.get_by_role("tab", name="Live").click()
    page.click("#live-start")
    page.wait_for_selector("#live-status .message.error")
    assert "microphone" in page.inner_text("#live-status")
    assert page.is_enabled("#live-start") and not page.is_enabled("#live-stop")
