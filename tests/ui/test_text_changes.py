"""The text of the Transcribe tab is corrected, searched, and written anew from another token on."""

import json
import re

import numpy as np
import pytest
from pages import transcribe
from running import ROOT, read_wav, write_wav

COMMAND, NUMBER = ROOT / "assets/speech/kokoro-command.wav", ROOT / "assets/speech/kokoro-number.wav"


@pytest.fixture
def page(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    page.wait_for_selector("#text .token")  # the first example
    return page


def saved(page, suffix: str) -> str:
    with page.expect_download() as download:
        page.locator("#downloads").get_by_text(f".{suffix}", exact=True).click()
    return download.value.path().read_text()


def test_corrected_words_are_in_the_downloads_and_kept_words_keep_their_times(page):
    before = json.loads(saved(page, "json"))["segments"][0]
    page.click("#correct")
    page.locator("#text [contenteditable]").first.fill(
        "my number is eleven three one nine four one three eight eight five"
    )
    page.click("#correct")
    page.wait_for_selector(".token.corrected:text('eleven')")
    after = json.loads(saved(page, "json"))["segments"][0]
    assert "eleven three" in after["text"] and "eleven three" in saved(page, "srt") and "eleven" in saved(page, "txt")
    assert after["tokens"][3]["text"].strip() == "eleven"
    assert after["tokens"][-1]["start"] == before["tokens"][-1]["start"]


def test_another_alternative_of_a_token_shows_what_the_model_would_have_written(page):
    page.locator(".token").nth(3).focus()  # "seven", which could have been "eight"
    page.keyboard.press("ArrowDown")
    choice = page.locator("#alternatives button").first
    word = re.search("␣([a-z]+)", choice.inner_text())[1]
    page.keyboard.press("Enter")
    page.wait_for_selector(".what-if")
    first, second = page.eval_on_selector_all(
        ".what-if .paragraph", "found => found.map(e => e.dataset.text.split(' '))"
    )
    assert first[:3] == second[:3] and second[3] == word != first[3]
    page.click(".what-if .use")
    page.wait_for_selector(f"#text .token:text-is('{word}') >> nth=0")


def test_words_are_found(page):
    page.fill("#find", "eight")
    assert page.inner_text("#find + span") == "2 found"
    assert page.evaluate("[...CSS.highlights.get('found')].map(String)") == ["eight", "eight"]
    page.press("#find", "Enter")
    assert page.evaluate("CSS.highlights.get('current').size") == 1


def test_speakers_have_colours_and_a_new_name_is_in_the_downloads(page, tmp_path):
    said = np.concatenate([read_wav(NUMBER), np.zeros(24000), read_wav(COMMAND), np.zeros(24000)])
    page.locator("#settings-drawer > button").click()
    page.get_by_label("Tell speakers apart").click()
    page.get_by_role("option", name="2", exact=True).click()
    transcribe(page, write_wav(tmp_path / "two.wav", np.tile(said, 2)))
    page.wait_for_selector("#text [data-speaker='S1']")
    assert len(set(page.eval_on_selector_all("#text .paragraph", "all => all.map(e => e.className)"))) == 2
    page.locator("#text [data-speaker='S1']").first.click()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    page.wait_for_selector("#text [data-speaker='Ada']")
    assert "<v Ada>" in saved(page, "vtt") and "Ada: " in saved(page, "txt") and "S1" not in saved(page, "vtt")


def test_the_hypotheses_of_a_beam_search_are_drawn(page):
    page.locator("#settings-drawer > button").click()
    page.get_by_text("Sampling: how the next token is chosen").click()
    page.get_by_label("number input for Beams").fill("4")
    page.get_by_label("number input for Beams").press("Tab")
    transcribe(page, NUMBER)
    page.wait_for_selector("#beams .main-svg")
    assert page.locator("#beams .textpoint:has-text('score')").count() >= 2


def test_the_timeline_of_a_long_recording_opens_on_half_a_minute_and_the_strip_moves_it(page, tmp_path):
    transcribe(page, write_wav(tmp_path / "long.wav", np.tile(np.concatenate([read_wav(NUMBER), np.zeros(16000)]), 10)))
    page.wait_for_selector("#timeline .main-svg")
    shown = "document.querySelector('#timeline .js-plotly-plot')._fullLayout.xaxis.range"
    assert page.evaluate(shown) == [0, 30]
    page.locator("#overview input").focus()
    page.keyboard.press("End")
    page.wait_for_function(f"{shown}[0] > 20 && {shown}[1] - {shown}[0] > 29")
