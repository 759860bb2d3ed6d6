"""The Compare tab in a browser, and as an API."""

import csv
import io
import re

import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from pages import CLIP, width_left_over
from running import ROOT, file_data, read_wav, write_wav

NUMBER = ROOT / "assets/speech/kokoro-number.wav"


def choose_recording(page, path) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.set_input_files("#compare-recordings input[type=file]", str(path))
    page.wait_for_selector("#compare-recordings .file-preview")


def test_settings_are_compared_side_by_side(bundled_app, open_page):
    page = open_page(url=bundled_app.url)
    choose_recording(page, NUMBER)
    page.fill("#references textarea", "Your number is seven three one nine four one three eight eight five")
    page.get_by_role("button", name="Chunk lengths").click()
    page.wait_for_selector("#settings input[value='30 s']")
    page.click("#compare")
    page.wait_for_selector("#compare-status .message.done")
    rows = page.locator("#compare-rows tbody tr:not(.recording)")
    assert rows.count() == 1 and "3 × the same" in rows.inner_text()
    first = rows.first
    assert first.locator("del").first.inner_text() == "Your" and first.locator("ins").first.inner_text() == "my"
    assert "%" in first.inner_text()
    page.wait_for_selector("#compare-quality .main-svg")
    page.wait_for_selector("#compare-speed .main-svg")
    with page.expect_download() as saved:
        page.click("#compare-csv")
    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text("utf-8-sig"))))
    assert [row["max_segment"] for row in rows] == ["5.0", "15.0", "30.0"] and float(rows[0]["wer"]) > 0
    assert width_left_over(page) <= 0 and page.problems == []


def test_without_a_recording_it_says_so(app, open_page):
    page = open_page()
    page.get_by_role("tab", name="Compare").click()
    page.click("#compare")
    page.wait_for_selector("#compare-status .message.error")
    assert "no recording yet" in page.inner_text("#compare-status")


def test_programs_compare_too(client):
    settings = [{"name": "cold"}, {"name": "warm", "temperature": 1, "chunk, s": 5}]
    found = client.predict([handle_file(str(CLIP))], "in eighteen thirteen", 2, settings, api_name="/compare")
    assert [(row["setting"], row["seed"]) for row in found["results"]] == [("cold", None), ("warm", 1), ("warm", 2)]
    assert all(row["wer"] > 0 for row in found["results"])
    assert [summary["repeats"] for summary in found["summary"]] == [1, 2]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([{"temprature": 1}], "'temprature' is unknown"),
        ([{"temperature": "hot"}], "Row 1 of the settings: a number"),
        ([{"chunk, s": 1000}], "must be from 2 to 30"),
        ([{"quantize": "1bit"}], "llm-8bit"),
        ([], "no setting"),
        ("x", "list of objects"),
    ],
)
def test_unusable_settings_are_answered_with_a_sentence(client, settings, said):
    with pytest.raises(AppError, match=said):
        client.predict([handle_file(str(CLIP))], "", 1, settings, api_name="/compare")


def test_a_text_of_the_same_name_is_what_is_said(client, tmp_path):
    recording, text = tmp_path / "clip.wav", tmp_path / "clip.txt"
    recording.write_bytes(CLIP.read_bytes())
    text.write_text("in eighteen\nthirteen\n")
    found = client.predict([handle_file(str(text)), handle_file(str(recording))], "", 1, [{}], api_name="/compare")
    assert [(row["recording"], row["reference"]) for row in found["results"]] == [("clip.wav", "in eighteen thirteen")]


def test_a_folder_of_recordings_and_texts_is_compared(app, open_page, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.wav").write_bytes(CLIP.read_bytes())
        (tmp_path / f"{name}.txt").write_text("in eighteen thirteen")
    (tmp_path / "notes.md").write_text("nothing to hear")
    page = open_page()
    page.get_by_role("tab", name="Compare").click()
    with page.expect_file_chooser() as chooser:
        page.click("#compare-folder")
    chooser.value.set_files(tmp_path)
    page.wait_for_selector("#compare-recordings .file-preview tr >> nth=3")
    page.get_by_role("button", name="Chunk lengths").click()
    page.wait_for_selector("#settings input[value='30 s']")
    page.click("#compare")
    page.wait_for_selector("#compare-status .message.done")
    assert page.locator("#compare-rows tbody tr:not(.recording)").count() >= 2
    assert page.locator("#compare-rows tr.recording").all_inner_texts() == ["▶a.wav", "▶b.wav"]
    assert "Compared with the reference" in page.inner_text("#compare-rows")


def test_another_checkpoint_is_compared_and_one_that_is_missing_is_that_rows_error(client):
    other = str(ROOT / "tests/parity/mlx_audio")
    settings = [{"name": "loaded"}, {"name": "other", "checkpoint": other}, {"name": "none", "checkpoint": "/no/such"}]
    found = client.predict([handle_file(str(CLIP))], "", 1, settings, api_name="/compare")
    loaded, second, missing = found["results"]
    assert loaded["source"].endswith("official") and second["source"] == other and not second["error"]
    assert "neither a folder, nor a hub id, nor a preset" in missing["error"]


def test_the_page_tells_few_bits_that_were_made_from_few_bits(bundled_app, open_page):
    page = open_page(url=bundled_app.url)
    choose_recording(page, NUMBER)
    page.get_by_role("button", name="Quantizations").click()
    page.wait_for_selector("#settings input[value='llm-4bit']")
    page.click("#compare")
    page.wait_for_selector("#compare-status .message.done")
    assert page.locator("#compare-summary tbody tr").count() == 5
    assert page.inner_text("#compare-summary").count("4-bit made from 6-bit") == 1


@pytest.mark.parametrize("path", ["/etc/passwd", "{cache}/../log.txt", "http://127.0.0.1:{port}/config"])
def test_no_file_of_the_machine_is_compared(app, path):
    recording = file_data(path.format(cache=app.cache, port=app.port))
    answer = app.call("compare", [[recording], "", 1, [{"name": "cold"}]])
    assert answer.startswith("event: error")


def test_stop_keeps_what_was_done(bundled_app, open_page, tmp_path):
    page = open_page(url=bundled_app.url)
    choose_recording(page, write_wav(tmp_path / "long.wav", np.tile(read_wav(NUMBER), 10)))  # 21 runs take long
    page.get_by_label("number input for Repeats").fill("10")
    page.get_by_label("number input for Repeats").press("Tab")
    page.click("#compare")
    page.wait_for_selector("#compare-rows tbody tr")
    page.click("#compare-stop")
    page.wait_for_selector("#compare-status .message.warning")
    assert "Stopped after" in page.inner_text("#compare-status")
    done = int(re.search(r"after (\d+) of 21 runs", page.inner_text("#compare-status"))[1])
    assert 1 <= page.locator("#compare-rows tbody tr:not(.recording)").count() <= done < 21


def test_rows_of_settings_are_added_edited_and_removed_from_the_keyboard(app, open_page):
    page = open_page()
    choose_recording(page, CLIP)
    page.locator("#settings .add-row").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("mine")  # the name of the new row has the focus
    page.get_by_label("quantize, row 4").select_option("llm-4bit")
    for _ in range(2):
        page.get_by_label("Remove row 2").focus()
        page.keyboard.press("Enter")
    page.click("#compare")
    page.wait_for_selector("#compare-status .message.done")
    assert [name.splitlines()[0] for name in page.locator("#compare-summary tbody th").all_inner_texts()] == [
        "greedy",
        "mine",
    ]


def test_a_recording_can_be_played_and_a_text_copied(bundled_app, open_page):
    page = open_page(url=bundled_app.url)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose_recording(page, NUMBER)
    page.click("#compare")
    page.wait_for_selector("#compare-status .message.done")
    page.locator("#compare-rows [data-copy]").first.click()
    page.wait_for_function("async () => (await navigator.clipboard.readText()).includes('seven three one')")
    with page.expect_response(lambda answer: "kokoro-number.wav" in answer.url) as sound:
        page.get_by_label("Play kokoro-number.wav").click()
    assert sound.value.ok
