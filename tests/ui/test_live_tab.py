"""The Live tab in a browser whose microphone hears a recording."""

import json
import re

import numpy as np
import pytest
from pages import go_to
from running import ROOT, read_wav, write_wav

COMMAND, NUMBER = ROOT / "assets/speech/kokoro-command.wav", ROOT / "assets/speech/kokoro-number.wav"
PAUSE = np.zeros(16000)
COMMITTED = "[...document.querySelectorAll('.live-text .committed')].some(e => e.textContent.includes('{}'))"


def write_said(folder, *recordings):
    """A recording of these, with a second of silence around each."""
    said = [part for recording in recordings for part in (PAUSE, read_wav(recording))]
    return write_wav(folder / "said.wav", np.concatenate([*said, PAUSE, PAUSE]))


def start(page):
    go_to(page, "Live")
    page.click("#live-start")
    return page


def listen(page_hearing, folder, *recordings):
    """A page that is being told these recordings."""
    return start(page_hearing(write_said(folder, *recordings)))


def stop(page) -> str:
    page.click("#live-stop")
    page.wait_for_selector("#live-status .message.done")
    return page.inner_text(".live-text")


def follow_a_session(page) -> None:
    """A command and a number are said, text appears meanwhile, and Stop is pressed. -> `page.said`, `page.buttons`."""
    start(page)
    page.wait_for_function("document.querySelector('#level [role=meter]').ariaValueNow > -30")
    page.wait_for_selector(".live-text .tentative, .live-text .committed")
    page.buttons = page.is_enabled("#live-start"), page.is_enabled("#live-stop")
    page.wait_for_function(COMMITTED.format("computer"))
    page.wait_for_selector("#live-segments li")  # the first is over while the second is spoken
    page.wait_for_function(COMMITTED.format("seven three one"))
    page.wait_for_function("document.querySelector('#level [role=meter]').ariaValueNow == -60")
    page.said = stop(page)


@pytest.fixture
def session(keep, hearing, bundled_app, tmp_path):
    """The page after that session."""
    return keep("session", bundled_app.url, follow_a_session, lambda: hearing(write_said(tmp_path, COMMAND, NUMBER)))


def test_words_appear_while_somebody_speaks_and_stay_after_stop(session):
    assert session.buttons == (False, True)
    assert "computer" in session.said and "seven three one" in session.said
    segments = session.locator("#live-segments li")
    assert segments.count() >= 2 and re.search(r"\d:\d\d\.\d\d–\d:\d\d\.\d\d", segments.last.inner_text())
    assert re.search(r"\d\.\d\d s", session.inner_text("#live-figures"))
    session.locator("#latency-fold > button").click()  # folded away
    session.wait_for_selector("#latency .main-svg")
    assert session.problems == [] and session.elsewhere == []


def test_what_was_said_can_be_saved_and_copied(session):
    saved = {}
    for suffix in ("txt", "srt", "vtt", "json"):
        with session.expect_download() as download:
            session.get_by_role("button", name=f".{suffix}").locator("visible=true").click()
        saved[suffix] = download.value.path().read_text()
    assert saved["txt"].strip() == json.loads(saved["json"])["text"] == session.said
    assert "-->" in saved["srt"] and saved["vtt"].startswith("WEBVTT")
    session.context.grant_permissions(["microphone", "clipboard-read", "clipboard-write"])
    session.click("#live-copy")
    session.wait_for_function("async said => await navigator.clipboard.readText() === said", arg=session.said)


def test_what_may_change_does_not_look_like_what_is_settled(session):
    looks = [
        session.eval_on_selector(
            f"#live-text .legend .{kind}",
            "e => [getComputedStyle(e).fontStyle, getComputedStyle(e).textDecorationLine, getComputedStyle(e).color]",
        )
        for kind in ("committed", "tentative")
    ]
    assert all(settled != open_ for settled, open_ in zip(*looks, strict=True))


def test_the_sound_is_kept_its_segments_play_and_it_opens_in_other_tabs(session):
    page = session
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
    page.go_back()


def test_it_can_be_started_again_after_stop(session):  # the last one on this page, since it clears the text
    session.click("#live-start")
    session.wait_for_selector("#live-status .message.recording")
    assert session.locator("#live-segments li").count() == 0
    session.get_by_text(re.compile(r"Listening… 0:0[1-9]")).wait_for()
    session.click("#live-stop")
    session.wait_for_selector("#live-status .message.done, #live-status .message.warning")
    assert session.problems == []


def lose(page, address: str, times: int, how) -> list[int]:
    """Let the next requests to an address go wrong. -> how many are left, which becomes negative after the last."""
    left = [times]

    def handle(route) -> None:
        left[0] -= 1
        how(route) if left[0] >= 0 else route.continue_()

    page.route(address, handle)
    return left


def test_a_live_session_goes_on_after_lost_packets(page_hearing, tmp_path):
    page = listen(page_hearing, tmp_path, COMMAND, NUMBER)
    page.get_by_text(re.compile(r"Listening… 0:0[1-9]")).wait_for()
    requests = lose(page, "**/queue/join*", 2, lambda route: route.abort())
    page.wait_for_selector("#live-segments li")
    answers = lose(page, "**/queue/data*", 2, lambda route: route.abort())
    page.wait_for_function(COMMITTED.format("three"))
    assert requests[0] < 0 and answers[0] < 0
    said = stop(page)
    assert "computer" in said and "seven three one" in said
    assert "lost" not in page.inner_text("#live-status")


def test_a_live_session_goes_on_without_a_piece_that_was_lost_for_good_and_says_so(page_hearing, tmp_path):
    page = listen(page_hearing, tmp_path, COMMAND, NUMBER)
    page.wait_for_selector("#live-segments li")
    left = lose(page, "**/queue/join*", 1, lambda route: route.fulfill(status=502))
    page.wait_for_selector("#live-status .message.recording:text('of sound were lost on the way')")
    page.wait_for_function(COMMITTED.format("eight five"))
    said = stop(page)
    assert left[0] < 0 and "computer" in said and "eight five" in said
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
    page = start(open_page(url=bundled_app.url))
    page.wait_for_selector("#live-status .message.error")
    assert "microphone" in page.inner_text("#live-status")
    assert page.is_enabled("#live-start") and not page.is_enabled("#live-stop")
