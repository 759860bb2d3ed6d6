"""The Transcribe tab, in a browser."""

import json
from pathlib import Path

import numpy as np
from gradio_client import handle_file
from pages import CLIP, DONE, DRAWN, choose, draw_at_random, enter, text_of, transcribe, transcribe_again
from running import ROOT, read_wav, write_wav

NUMBER = ROOT / "assets/speech/kokoro-number.wav"  # digits, which the bundled checkpoint surely reads


def listen_for_sound(page) -> None:
    """Make `window.heard` where the player was when it last began to play."""
    page.evaluate(
        """() => document.querySelector('#player audio').addEventListener(
            'playing', event => window.heard = event.target.currentTime)"""
    )


def test_an_uploaded_recording_becomes_text_tokens_segments_and_plots(open_page, client):
    page = open_page()
    draw_at_random(page)
    assert "Done" in transcribe(page, CLIP)
    assert text_of(page) == client.predict(handle_file(str(CLIP)), api_name="/transcribe", **DRAWN)["text"]
    page.wait_for_selector("#timeline .main-svg")
    page.wait_for_selector("#timings .main-svg")
    assert page.locator("#timeline .heatmaplayer image").count() == 2  # spectrogram and LFR features
    assert page.locator(".token").count() == 40
    page.locator(".token").nth(3).hover()
    assert page.inner_text("#tip").count("%") == 6  # its own probability and those of five alternatives
    assert page.problems == []


def test_stages_add_up_to_the_total(open_page):
    page = open_page()
    transcribe(page, CLIP)
    page.wait_for_selector("#timings .main-svg")
    ends = page.evaluate(
        """() => { const plot = document.querySelector('#timings .js-plotly-plot');
            return [plot.data.reduce((sum, bar) => sum + bar.x[0], 0), plot.layout.xaxis.title.text]; }"""
    )
    assert f"total {ends[0]:.2f} s" in ends[1]


def test_a_click_on_a_segment_or_a_word_plays_it(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    transcribe(page, NUMBER)
    listen_for_sound(page)
    page.locator(".segment").first.click()
    page.wait_for_function("window.heard !== undefined")
    word = page.locator(".token[data-start]").nth(6)
    start = float(word.get_attribute("data-start"))
    assert start > 0.2
    word.click()
    page.wait_for_function(f"Math.abs(window.heard - {start}) < 0.15")
    page.wait_for_function("document.querySelector('#player audio').paused")  # it ends with the word
    end = float(word.get_attribute("data-end"))
    assert page.evaluate("document.querySelector('#player audio').currentTime") < end + 1


def test_a_click_on_a_word_in_the_plot_plays_it(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    transcribe(page, NUMBER)
    page.wait_for_selector("#timeline .main-svg")
    listen_for_sound(page)
    page.locator("#timeline .bars .point path").nth(4).click(force=True)
    page.wait_for_function("window.heard > 0.2")


def test_tokens_are_walked_with_the_arrow_keys(open_page):
    page = open_page()
    draw_at_random(page)
    transcribe(page, CLIP)
    page.locator(".token").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    focused = "[...document.querySelectorAll('.token')].indexOf(document.activeElement)"
    assert page.evaluate(focused) == 2
    assert "weighed" in page.inner_text("#tip")
    page.keyboard.press("Escape")
    assert not page.is_visible("#tip")


def test_everything_can_be_done_from_the_keyboard(open_page):
    page = open_page()
    choose(page, "#recording", CLIP)
    page.locator("#transcribe").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(DONE)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('segment')"):
            break
    listen_for_sound(page)
    page.keyboard.press("Enter")
    page.wait_for_function("window.heard !== undefined")


def test_an_example_is_transcribed_when_it_is_clicked(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    page.get_by_text("kokoro-number").first.click()
    page.wait_for_selector(DONE)
    assert "seven three one" in text_of(page)
    page.get_by_text("Sources and licences").click()
    page.wait_for_selector("text=Apache-2.0")


def test_the_microphone_is_transcribed(page_hearing):
    page = page_hearing(NUMBER)
    page.locator("#recording").get_by_label("Record audio").click()
    page.locator("#recording").get_by_role("button", name="Record").first.click()
    page.wait_for_timeout(6000)
    with page.expect_response("**/upload**"):
        page.locator("#recording").get_by_role("button", name="Stop").first.click()
    page.wait_for_selector("#recording audio", state="attached")
    page.click("#transcribe")
    page.wait_for_selector(DONE)
    assert "seven three one" in text_of(page)
    assert page.problems == []


def test_another_seed_draws_another_text_and_the_same_seed_the_same(open_page):
    page = open_page()
    draw_at_random(page)
    transcribe(page, CLIP)
    texts = [text_of(page)]
    for seed in ("2", "1"):
        enter(page, page.get_by_label("Seed"), seed)
        transcribe_again(page)
        texts.append(text_of(page))
    assert texts[0] == texts[2] != texts[1]


def test_reset_puts_the_knobs_back(open_page):
    page = open_page()
    draw_at_random(page)
    page.click("#reset")
    page.wait_for_function("[...document.querySelectorAll('input[type=number]')].some(e => e.value === '512')")
    assert page.get_by_label("number input for Temperature").input_value() == "0"
    assert page.get_by_label("Seed").input_value() == ""


def test_downloads_hold_the_text(open_page):
    page = open_page()
    draw_at_random(page)
    transcribe(page, CLIP)
    for suffix in ("txt", "srt", "vtt", "json"):
        with page.expect_download() as saved:
            page.get_by_text(f".{suffix}", exact=True).click()
        assert saved.value.suggested_filename == f"LJ002-0020.{suffix}"
    assert json.loads(Path(saved.value.path()).read_text())["text"] == text_of(page)


def test_a_file_that_is_not_audio_is_named_in_a_sentence_and_the_page_still_works(open_page, tmp_path):
    page = open_page()
    bad = tmp_path / "letter.wav"
    bad.write_text("Dear Sir or Madam, this is not a recording. " * 50)
    said = transcribe(page, bad, "#status .message.error")
    assert "letter.wav" in said and "not audio" in said and "Traceback" not in said
    page.wait_for_selector("#stop[disabled]")
    page.locator("#recording").get_by_label("Clear").click()
    draw_at_random(page)
    assert "Done" in transcribe(page, CLIP)


def test_a_file_that_is_too_large_is_refused_in_the_page(open_page, tmp_path):
    page = open_page()
    large = write_wav(tmp_path / "large.wav", np.zeros(3_000_000))
    page.set_input_files("#recording input[type=file]", str(large))
    page.wait_for_selector("text=/exceeds|too large|maximum/i")


def test_pressing_the_button_without_a_recording_says_so(open_page):
    page = open_page()
    page.click("#transcribe")
    page.wait_for_selector("#status .message.error")
    assert "no recording yet" in page.inner_text("#status")


def test_stop_keeps_the_text_that_is_there(open_page, tmp_path):
    page = open_page()
    draw_at_random(page, most_tokens=2048)
    choose(page, "#recording", write_wav(tmp_path / "long.wav", np.tile(read_wav(CLIP), 45)))
    page.click("#transcribe")
    page.wait_for_function("document.querySelector('#text textarea').value.length > 20")
    page.click("#stop")
    page.wait_for_selector("#status .message.warning:text('Stopped')")
    assert len(text_of(page)) > 20
    assert page.locator(".segment").count() < 20  # of more than thirty
    page.wait_for_selector("#timeline .main-svg")


def test_what_cannot_be_transcribed_is_told_apart(open_page, tmp_path):
    page, second = open_page(), 16000
    (tmp_path / "nothing.wav").write_bytes(b"")
    (tmp_path / "letter.mp3").write_text("Dear Sir or Madam, this is not a recording. " * 50)
    hiss = np.random.default_rng(0).normal(0, 0.02, 2 * second)
    wanted = {
        tmp_path / "nothing.wav": "the file is empty",
        tmp_path / "letter.mp3": "not audio",
        write_wav(tmp_path / "hollow.wav", np.zeros(0)): "0 s of sound; at least 0.025 s",
        write_wav(tmp_path / "short.wav", np.zeros(200)): "0.0125 s of sound; at least 0.025 s",
        write_wav(tmp_path / "long.wav", np.zeros(125 * second)): "longer than the limit of 120 s",
        write_wav(tmp_path / "silence.wav", np.zeros(2 * second)): "is silent",
        write_wav(tmp_path / "hiss.wav", hiss): "Nobody speaks",
    }
    for path, words in wanted.items():
        said = transcribe(page, path, "#status :is(.message.error, .message.warning)")
        assert words in said and "Traceback" not in said
        page.wait_for_selector("#stop[disabled]")
        page.locator("#recording").get_by_label("Clear").click()


def test_two_visitors_at_once_do_not_mix(open_page):
    pages = [open_page(), open_page()]
    for seed, page in enumerate(pages, 1):
        draw_at_random(page, most_tokens=200, seed=seed)
        choose(page, "#recording", CLIP)
    for page in pages:
        page.click("#transcribe")
    for page in pages:
        page.wait_for_selector(DONE)
    together = [text_of(page) for page in pages]
    for page, text in zip(pages, together, strict=True):
        transcribe_again(page)
        assert text_of(page) == text
    assert together[0] != together[1]


def test_text_that_streams_in_moves_nothing(open_page):
    page = open_page()
    draw_at_random(page, most_tokens=400)
    choose(page, "#recording", CLIP)
    page.evaluate(
        """() => { window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(entry => {
            if (!document.querySelector('#results').checkVisibility()) window.shift += entry.value; }))
            .observe({type: 'layout-shift', buffered: false}); }"""
    )
    page.click("#transcribe")
    page.wait_for_selector(DONE)
    assert page.evaluate("window.shift") < 0.02
