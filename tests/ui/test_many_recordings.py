"""Several recordings at once: a list, and one file with all texts."""

import io
import zipfile

from pages import DONE, FORGET, text_of
from running import ROOT

SPEECH = ROOT / "assets/speech"


def test_several_recordings_become_a_list_and_one_zip(open_page, bundled_app, tmp_path):
    page = open_page(url=bundled_app.url)
    text_of(page)
    (tmp_path / "letter.wav").write_text("Dear Sir or Madam")
    page.evaluate(FORGET)
    page.set_input_files(
        "[data-testid='Upload recordings-upload-button']",
        [SPEECH / "kokoro-number.wav", SPEECH / "kokoro-command.wav", tmp_path / "letter.wav"],
    )
    page.wait_for_selector(DONE)
    assert "2 of 3 recordings, 1 failed" in page.inner_text("#status")
    rows = page.locator("#files tr")
    assert rows.count() == 3 and "not audio" in rows.filter(has_text="letter.wav").inner_text()
    page.get_by_label("Open kokoro-number.wav").click()
    page.wait_for_function("document.querySelector('#text').innerText.includes('seven three one')")
    with page.expect_download() as saved:
        page.click("#zip")
    archive = zipfile.ZipFile(io.BytesIO(saved.value.path().read_bytes()))
    assert len(archive.namelist()) == 10 and "computer" in archive.read("kokoro-command.txt").decode()


def test_a_whole_folder_is_transcribed(open_page, bundled_app, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.wav").write_bytes((SPEECH / "kokoro-command.wav").read_bytes())
    page = open_page(url=bundled_app.url)
    text_of(page)
    page.evaluate(FORGET)
    with page.expect_file_chooser() as chooser:
        page.click("#upload-folder")
    chooser.value.set_files(tmp_path)
    page.wait_for_selector(DONE)
    assert page.locator("#files [data-open]").count() == 2
