import json
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from running import ROOT, SPEECH, App, read_wav, write_wav

CLIP = SPEECH / "LJ002-0020.wav"
DRAWN = {"temperature": 1.0, "seed": 1, "max_tokens": 40}  # the test checkpoint's weights are noise: it babbles


def transcribe(page, path, wanted: str = ".message.done, #status .message.warning") -> str:
    choose(page, "#recording", path)
    page.click("#transcribe")
    page.wait_for_selector(f"#status {wanted}")
    return page.inner_text("#status")


def choose(page, where: str, path) -> None:
    page.set_input_files(f"{where} input[type=file]", str(path))
    page.wait_for_selector(f"{where} audio", state="attached")


def draw_at_random(page, most_tokens: int = 40) -> None:
    """Open the fold and set a temperature, a seed and a limit."""
    page.get_by_text("Sampling: how the next token is chosen").click()
    for label, value in (("Temperature", "1"), ("Most tokens", str(most_tokens))):
        page.get_by_label(f"number input for {label}").fill(value)
        page.get_by_label(f"number input for {label}").press("Tab")
    page.get_by_label("Seed").fill("1")
    page.get_by_label("Seed").press("Tab")


def width_left_over(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


# In the browser


def test_the_page_opens_without_errors_and_asks_no_other_site(open_page):
    page = open_page()
    assert "official" in page.inner_text("#model-line")
    for tab in ("Inside", "Model", "Transcribe"):
        page.get_by_role("tab", name=tab).click()
    assert page.problems == [] and page.elsewhere == []


def test_an_uploaded_recording_becomes_text_tokens_segments_and_plots(open_page, client):
    page = open_page()
    draw_at_random(page)
    assert "Done" in transcribe(page, CLIP)
    expected = client.predict(handle_file(str(CLIP)), api_name="/transcribe", **DRAWN)["text"]
    page.wait_for_function("document.querySelector('#text textarea').value.length > 0")
    assert expected and page.input_value("#text textarea") == expected
    page.wait_for_selector("#timeline .main-svg")
    page.wait_for_selector("#timings .main-svg")
    assert page.locator("#timeline .heatmaplayer image").count() == 2  # spectrogram and LFR features
    assert page.locator(".token").count() == 40
    page.locator(".token").nth(3).hover()
    assert page.inner_text("#tip").count("%") == 6  # its own probability and those of five alternatives
    assert page.problems == []


def test_a_click_on_a_segment_plays_it(open_page):
    page = open_page()
    draw_at_random(page)
    transcribe(page, CLIP)
    page.evaluate(
        "() => document.querySelector('#player audio').addEventListener('playing', () => window.heard = true)"
    )
    page.locator(".segment").first.click()
    page.wait_for_function("window.heard === true")


def test_downloads_hold_the_text(open_page):
    page = open_page()
    draw_at_random(page)
    transcribe(page, CLIP)
    with page.expect_download() as saved:
        page.get_by_text(".json", exact=True).click()
    assert json.loads(Path(saved.value.path()).read_text())["text"] == page.input_value("#text textarea")
    assert saved.value.suggested_filename == "LJ002-0020.json"


def test_a_file_that_is_not_audio_is_named_in_a_sentence_and_the_page_still_works(open_page, tmp_path):
    page = open_page()
    bad = tmp_path / "letter.wav"
    bad.write_text("Dear Sir or Madam, this is not a recording. " * 50)
    said = transcribe(page, bad, ".message.error")
    assert "letter.wav" in said and "not audio" in said and "Traceback" not in said
    assert page.locator("#stop").is_disabled()


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
    assert len(page.input_value("#text textarea")) > 20
    assert page.locator(".segment").count() < 20  # of more than thirty
    page.wait_for_selector("#timeline .main-svg")


def test_silence_is_told_from_sound_without_speech(open_page, tmp_path):
    page = open_page()
    assert "silent" in transcribe(page, write_wav(tmp_path / "silence.wav", np.zeros(32000)))
    hiss = np.random.default_rng(0).normal(0, 0.02, 32000)
    page.locator("#recording").get_by_label("Clear").click()
    choose(page, "#recording", write_wav(tmp_path / "hiss.wav", hiss))
    page.click("#transcribe")
    page.wait_for_selector("#status :text('Nobody speaks')")


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


def test_a_phone_never_scrolls_sideways(open_page):
    page = open_page(width=360)
    draw_at_random(page)
    transcribe(page, CLIP)
    page.wait_for_selector("#timeline .main-svg")
    assert width_left_over(page) <= 0
    page.locator(".token").last.hover()
    assert width_left_over(page) <= 0
    for tab in ("Inside", "Model"):
        page.get_by_role("tab", name=tab).click()
        assert width_left_over(page) <= 0


def test_dark_mode_is_dark_and_its_figures_are_see_through(open_page):
    page = open_page(scheme="dark")
    draw_at_random(page)
    transcribe(page, CLIP)
    page.wait_for_selector("#timeline .main-svg")
    background = page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).backgroundColor")
    assert max(int(part) for part in background.strip("rgba()").split(",")[:3]) < 80
    paper = page.evaluate("document.querySelector('#timeline .js-plotly-plot')._fullLayout.paper_bgcolor")
    assert paper == "rgba(0, 0, 0, 0)" or paper.replace(" ", "") == "rgba(0,0,0,0)"


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


# As an API


def test_the_api_gives_the_whole_transcript(client):
    found = client.predict(handle_file(str(CLIP)), api_name="/transcribe", **DRAWN)
    assert found["text"] and found["duration"] == pytest.approx(1.54, abs=0.01)
    assert len(found["segments"][0]["tokens"]) == 40


def test_the_same_seed_gives_the_same_text_and_another_seed_another(client):
    def text(seed: int) -> str:
        options = DRAWN | {"seed": seed}
        return client.predict(handle_file(str(CLIP)), api_name="/transcribe", **options)["text"]

    assert text(1) == text(1) != text(2)


def test_requests_at_once_do_not_mix(client):
    seeds = (1, 2, 3, 4)

    def ask(seed: int):
        return client.submit(handle_file(str(CLIP)), api_name="/transcribe", **DRAWN | {"seed": seed})

    alone = [ask(seed).result(30)["text"] for seed in seeds]
    jobs = [ask(seed) for seed in seeds]
    assert [job.result(30)["text"] for job in jobs] == alone and len(set(alone)) == len(seeds)


@pytest.mark.parametrize(
    ("samples", "said"),
    [(np.zeros(0), "at least"), (np.zeros(100), "at least"), (np.zeros(8000 * 125), "limit of 120 s")],
)
def test_empty_short_and_long_recordings_are_told_apart(client, tmp_path, samples, said):
    with pytest.raises(AppError, match=said):
        client.predict(handle_file(str(write_wav(tmp_path / "x.wav", samples, 8000))), api_name="/transcribe")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"language": "xx"}, "language 'xx'"),
        ({"temperature": -1}, "less than minimum value 0"),
        ({"hotwords": "<|im_end|>"}, "special"),
    ],
)
def test_unusable_options_are_answered_with_a_sentence(client, options, said):
    with pytest.raises(AppError, match=said):
        client.predict(handle_file(str(CLIP)), api_name="/transcribe", **options)


def test_no_file_outside_the_upload_folder_is_read(app):
    for path in ("/etc/passwd", str(CLIP), str(app.cache / ".." / "log.txt"), "file:///etc/passwd"):
        answer = call(app, [{"path": path, "meta": {"_type": "gradio.FileData"}}])
        assert "error" in answer and "segments" not in answer and "root:" not in answer


def test_malformed_payloads_are_answered(app, client):
    for payload in ([], [None], [17], [{}], [{"path": 5}], [[["x"]]], [None] * 50, [{"path": "x" * 5000}]):
        assert "error" in call(app, payload)
    assert client.predict(handle_file(str(CLIP)), api_name="/transcribe", **DRAWN)["text"]


def test_uploads_beyond_the_limit_are_refused(client, tmp_path):
    large = write_wav(tmp_path / "large.wav", np.zeros(3_000_000))
    with pytest.raises(Exception, match=r"413|exceed|too large|Large"):
        client.predict(handle_file(str(large)), api_name="/transcribe")


def call(app, data: list) -> str:
    """What a stranger's own program gets: the answer as it comes."""
    body = json.dumps({"data": data}).encode()
    request = urllib.request.Request(
        f"{app.url}/gradio_api/call/transcribe", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            event = json.load(response)["event_id"]
        with urllib.request.urlopen(f"{app.url}/gradio_api/call/transcribe/{event}", timeout=20) as response:
            return response.read().decode()
    except urllib.error.HTTPError as refused:
        return f"error {refused.code}: {refused.read().decode()}"


# How it starts


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
