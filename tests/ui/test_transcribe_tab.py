"""The Transcribe tab, in a browser."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from gradio_client import handle_file
from pages import (
    CLIP,
    DONE,
    DRAWN,
    FORGET,
    draw_at_random,
    enter,
    streamed,
    text_of,
    transcribe,
    transcribe_again,
    upload,
)
from running import ROOT, App, read_wav, write_wav

NUMBER = ROOT / "assets/speech/kokoro-number.wav"  # digits, which the bundled checkpoint surely reads
COMMAND = ROOT / "assets/speech/kokoro-command.wav"
PLAYER = """(() => { const find = root => [...root.querySelectorAll("*")].map(e => e.shadowRoot && (
    e.shadowRoot.querySelector("audio") ?? find(e.shadowRoot))).find(e => e); return find(document
    .querySelector("#recording")); })()"""


def listen_for_sound(page) -> None:
    """Make `window.heard` where the player was when it last began to play."""
    page.wait_for_function(f"{PLAYER}?.duration > 0")
    page.evaluate(f"() => {PLAYER}.addEventListener('playing', event => window.heard = event.target.currentTime)")


@pytest.fixture(scope="module")
def empty_app(tmp_path_factory):
    """Without a model there is no first example."""
    app = App(tmp_path_factory.mktemp("empty"), "--model", "/no/such/checkpoint")
    yield app
    app.close()


# The first screen


def test_the_page_opens_with_an_example(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    assert "seven three one" in text_of(page)
    page.wait_for_selector("#timeline .main-svg")
    page.wait_for_selector("#timings .main-svg")
    assert "An example" in page.inner_text("#status") and "A phone number" in page.inner_text("#status")
    listen_for_sound(page)
    page.locator(".token[data-start]").nth(3).click()
    page.wait_for_function("window.heard > 0.2")
    assert page.problems == []


def test_examples_are_named_by_what_they_contain(open_page):
    names = open_page().locator("#transcribe-tab .gallery-item, .gallery-item").all_inner_texts()
    assert names[0].strip() == "A phone number" and not any("kokoro" in name for name in names)


# A transcription


def test_an_uploaded_recording_becomes_text_tokens_and_plots(open_page, client):
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


def test_a_file_that_is_dropped_on_the_page_is_transcribed(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    text_of(page)
    page.evaluate("document.querySelector('#status .message').outerHTML = ''")
    data = page.evaluate_handle(
        """content => { const data = new DataTransfer(), bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
            data.items.add(new File([bytes], "dropped.wav", {type: "audio/wav"})); return data; }""",
        base64.b64encode(COMMAND.read_bytes()).decode(),
    )
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    page.wait_for_selector(DONE)
    assert "computer" in text_of(page)


def test_stages_add_up_to_the_total(open_page):
    page = open_page()
    transcribe(page, CLIP)
    page.wait_for_selector("#timings .main-svg")
    ends = page.evaluate(
        """() => { const plot = document.querySelector('#timings .js-plotly-plot');
            return [plot.data.reduce((sum, bar) => sum + bar.x[0], 0), plot.layout.xaxis.title.text]; }"""
    )
    assert f"total {ends[0]:.2f} s" in ends[1]


def test_segments_stand_apart_and_each_has_its_time(open_page, bundled_app, tmp_path):
    said = np.tile(np.concatenate([read_wav(NUMBER), np.zeros(24000)]), 3)  # longer than one segment can be
    page = open_page(url=bundled_app.url)
    transcribe(page, write_wav(tmp_path / "three.wav", said))
    paragraphs = page.locator("#text .paragraph")
    assert paragraphs.count() >= 2
    tops = [paragraphs.nth(place).bounding_box()["y"] for place in range(2)]
    assert tops[1] > tops[0]
    assert "0:0" in paragraphs.nth(1).locator(".time").inner_text()


def test_text_that_streams_in_stays_in_sight_and_moves_nothing(open_page, tmp_path):
    page = open_page()
    draw_at_random(page, most_tokens=2000)
    upload(page, write_wav(tmp_path / "long.wav", np.tile(read_wav(CLIP), 45)))
    streamed(page, 10)
    page.evaluate(
        """() => { window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(entry => {
            if (document.querySelector('#text .streaming')) window.shift += entry.value; }))
            .observe({type: 'layout-shift', buffered: false}); }"""
    )
    page.wait_for_function(
        "(e => e && e.scrollHeight > e.clientHeight + 20)(document.querySelector('#text .streaming'))"
    )
    seen = page.evaluate(
        """() => { const box = document.querySelector('#text .streaming').getBoundingClientRect(),
            end = document.querySelector('#text .streaming div').getBoundingClientRect().bottom;
            return end <= box.bottom + 2; }"""
    )
    assert seen and page.evaluate("window.shift") < 0.02


# Results belong to their recording


def test_a_new_recording_clears_the_results_of_the_old_one(open_page, tmp_path):
    page = open_page()
    draw_at_random(page, most_tokens=2000)
    transcribe(page, CLIP)
    upload(page, write_wav(tmp_path / "long.wav", np.tile(read_wav(CLIP), 45)))
    page.wait_for_selector("#text .streaming")
    assert not page.locator("#timeline").is_visible() and not page.locator("#copy").is_enabled()
    page.click("#stop")


def test_results_of_a_recording_do_not_arrive_at_another(open_page, client, tmp_path):
    page = open_page()
    draw_at_random(page)
    upload(page, write_wav(tmp_path / "long.wav", np.tile(read_wav(CLIP), 45)))
    streamed(page, 10)
    transcribe(page, CLIP)
    page.wait_for_timeout(2000)
    assert text_of(page) == client.predict(handle_file(str(CLIP)), api_name="/transcribe", **DRAWN)["text"]
    assert page.is_enabled("#transcribe") and not page.is_enabled("#stop")


def test_transcribe_cannot_be_pressed_while_it_runs(open_page, tmp_path):
    page = open_page()
    draw_at_random(page, most_tokens=2000)
    upload(page, write_wav(tmp_path / "long.wav", np.tile(read_wav(CLIP), 45)))
    page.wait_for_selector("#stop:enabled")
    assert not page.is_enabled("#transcribe")
    page.click("#stop")
    page.wait_for_selector("#transcribe:enabled")
    assert not page.is_enabled("#stop")


def test_results_are_hidden_until_there_are_some(open_page, empty_app):
    page = open_page(url=empty_app.url)
    for tab in ("Inside", "Compare", "Transcribe"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        assert page.locator(".plot-container, .stage, [id^=compare-q], #timeline").locator("visible=true").count() == 0


def test_a_recording_longer_than_the_limit_is_refused_before_any_work(open_page, tmp_path):
    page = open_page()
    draw_at_random(page, most_tokens=2000)
    said = transcribe(page, write_wav(tmp_path / "long.wav", np.tile(read_wav(CLIP), 60)), "#status .message.error")
    assert "longer than the limit of 120 s" in said
    assert page.inner_text("#text .text").strip() == ""


# Playing


def test_a_click_on_a_time_or_a_word_plays_it_in_the_one_player(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    transcribe(page, NUMBER)
    listen_for_sound(page)
    page.locator(".paragraph .time").first.click()
    page.wait_for_function("window.heard !== undefined")
    word = page.locator(".token[data-start]").nth(6)
    start, end = float(word.get_attribute("data-start")), float(word.get_attribute("data-end"))
    assert start > 0.2
    word.click()
    page.wait_for_function(f"Math.abs(window.heard - {start}) < 0.15")
    page.wait_for_function(f"{PLAYER}.paused")  # it ends with the word
    assert page.evaluate(f"{PLAYER}.currentTime") < end + 1
    players = "[...document.querySelectorAll('audio')].filter(e => e.checkVisibility()).length"
    assert page.evaluate(players) == 0  # besides that of the recording


def test_a_playhead_follows_the_sound_and_the_word_is_highlighted(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    transcribe(page, NUMBER)
    page.wait_for_selector("#timeline .main-svg")
    listen_for_sound(page)
    page.locator(".paragraph .time").first.click()
    page.wait_for_selector(".token.playing")
    first = page.evaluate("document.querySelector('.playhead').style.transform")
    page.wait_for_function(f"document.querySelector('.playhead').style.transform !== '{first}'")


def test_a_click_on_a_word_in_the_plot_plays_it(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    transcribe(page, NUMBER)
    page.wait_for_selector("#timeline .main-svg")
    listen_for_sound(page)
    page.locator("#timeline .bars .point path").nth(4).click(force=True)
    page.wait_for_function("window.heard > 0.2")


def test_tokens_are_walked_with_the_arrow_keys_and_played_with_the_space_bar(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    transcribe(page, NUMBER)
    listen_for_sound(page)
    page.locator(".token").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    focused = "[...document.querySelectorAll('.token')].indexOf(document.activeElement)"
    assert page.evaluate(focused) == 2
    assert "alternatives" in page.inner_text("#tip")
    scrolled = page.evaluate("scrollY")
    page.keyboard.press(" ")
    page.wait_for_function("window.heard !== undefined")
    assert page.evaluate("scrollY") == scrolled
    page.keyboard.press("Escape")
    assert not page.is_visible("#tip")


def test_the_plots_cannot_be_moved_before_the_beginning(open_page):
    page = open_page()
    transcribe(page, CLIP)
    page.wait_for_selector("#timeline .main-svg")
    box = page.locator("#timeline .js-plotly-plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 160)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 160, steps=4)
    page.mouse.up()
    low = page.evaluate("document.querySelector('#timeline .js-plotly-plot')._fullLayout.xaxis.range[0]")
    assert low >= 0


# Ways to go on


def test_everything_can_be_done_from_the_keyboard(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    text_of(page)
    page.locator("#transcribe").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(DONE)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('time')"):
            break
    listen_for_sound(page)
    page.keyboard.press("Enter")
    page.wait_for_function("window.heard !== undefined")


def test_an_example_is_transcribed_when_it_is_clicked(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    page.get_by_role("button", name="A command").first.click()
    page.wait_for_selector(DONE)
    assert "computer" in text_of(page)
    page.get_by_text("Sources and licences").click()
    page.wait_for_selector("text=Apache-2.0")


@pytest.mark.parametrize("by", ["pointer", "key"])
def test_what_is_said_while_the_button_is_held_is_transcribed_when_it_is_let_go(page_hearing, by):
    page = page_hearing(NUMBER)
    text_of(page)
    page.evaluate(FORGET)
    if by == "pointer":
        page.hover("#hold")
        page.mouse.down()
    else:
        page.keyboard.down("r")
    page.wait_for_timeout(6000)
    if by == "pointer":
        page.mouse.up()
    else:
        page.keyboard.up("r")
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
    for suffix in ("txt", "srt", "vtt", "tsv", "json"):
        with page.expect_download() as saved:
            page.locator("#downloads").get_by_text(f".{suffix}", exact=True).click()
        assert saved.value.suggested_filename == f"LJ002-0020.{suffix}"
    assert json.loads(Path(saved.value.path()).read_text())["text"] == text_of(page)


def test_the_text_can_be_copied(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    said = text_of(page)
    page.click("#copy")
    page.wait_for_function("async said => await navigator.clipboard.readText() === said", arg=said)


# What goes wrong


def test_a_file_that_is_not_audio_is_named_in_a_sentence_and_the_page_still_works(open_page, tmp_path):
    page = open_page()
    bad = tmp_path / "letter.wav"
    bad.write_text("Dear Sir or Madam, this is not a recording. " * 50)
    said = transcribe(page, bad, "#status .message.error")
    assert "letter.wav" in said and "not audio" in said and "Traceback" not in said
    page.wait_for_selector("#stop[disabled]")
    draw_at_random(page)
    assert "Done" in transcribe(page, CLIP)


def test_a_file_that_is_too_large_is_refused_in_the_page(open_page, tmp_path):
    page = open_page()
    upload(page, write_wav(tmp_path / "large.wav", np.zeros(3_000_000)))
    page.wait_for_selector("text=/exceeds|too large|maximum/i")


def test_pressing_the_button_without_a_recording_says_so(open_page, empty_app):
    page = open_page(url=empty_app.url)
    page.click("#transcribe")
    page.wait_for_selector("#status .message.error")
    assert "no recording yet" in page.inner_text("#status")


def test_stop_keeps_the_text_that_is_there(open_page, tmp_path):
    page = open_page()
    draw_at_random(page, most_tokens=2048)
    upload(page, write_wav(tmp_path / "long.wav", np.tile(read_wav(CLIP), 45)))
    streamed(page, 20)
    page.click("#stop")
    page.wait_for_selector("#status .message.warning:text('Stopped')")
    assert len(text_of(page)) > 20
    assert page.locator(".paragraph").count() < 20  # of more than thirty
    page.wait_for_selector("#timeline .main-svg")


def test_what_cannot_be_transcribed_is_told_apart(open_page, tmp_path):
    page, second = open_page(), 16000
    (tmp_path / "nothing.wav").write_bytes(b"")
    (tmp_path / "letter.mp3").write_text("Dear Sir or Madam, this is not a recording. " * 50)
    hiss = np.random.default_rng(0).normal(0, 0.02, 2 * second)
    wanted = {
        tmp_path / "nothing.wav": "the file is empty",
        tmp_path / "letter.mp3": "not audio",
        write_wav(tmp_path / "hollow.wav", np.zeros(0)): "0 s of audio; at least 0.025 s",
        write_wav(tmp_path / "short.wav", np.zeros(200)): "0.0125 s of audio; at least 0.025 s",
        write_wav(tmp_path / "long.wav", np.zeros(125 * second)): "longer than the limit of 120 s",
        write_wav(tmp_path / "silence.wav", np.zeros(2 * second)): "is silent",
        write_wav(tmp_path / "hiss.wav", hiss): "No speech was found",
    }
    for path, words in wanted.items():
        said = transcribe(page, path, "#status :is(.message.error, .message.warning)")
        assert words in said and "Traceback" not in said
        page.wait_for_selector("#stop[disabled]")


def test_two_visitors_at_once_do_not_mix(open_page):
    pages = [open_page(), open_page()]
    for seed, page in enumerate(pages, 1):
        draw_at_random(page, most_tokens=200, seed=seed)
        page.evaluate("document.querySelector('#status .message').outerHTML = ''")
    for page in pages:
        upload(page, CLIP)
    for page in pages:
        page.wait_for_selector(DONE)
    together = [text_of(page) for page in pages]
    for page, text in zip(pages, together, strict=True):
        transcribe_again(page)
        assert text_of(page) == text
    assert together[0] != together[1]
