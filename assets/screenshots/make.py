"""Take screenshots of the app: `python assets/screenshots/make.py [RECORDING]`.

It starts `python app.py` itself. Every tab, and every step of Inside, wide and on a phone, light and dark, is written
to a temporary folder for inspection; those that the README shows are written here, with an animation of the cursor.
"""

import contextlib
import io
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from nanoasr.audio import load_audio  # noqa: E402 (found only now)

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
NUMBER = HERE.parent / "speech/kokoro-number.wav"
SAID = "My number is seven three one, nine four one, three eight eight five."
FLAGS.append(f"--use-file-for-fake-audio-capture={NUMBER}")  # said to the Live tab
TURNS = ("kokoro-number.wav", "digits/test-00.opus", "kokoro-command.wav", "digits/test-03.opus")  # of two voices
KEPT = {
    "transcribe-1400-light": "transcribe.png", "inside-1400-light": "inside.png",
    "speakers-1400-light": "speakers.png",
}  # fmt: skip


def main() -> None:
    recording = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else NUMBER
    folder = Path(tempfile.mkdtemp(prefix="screenshots-"))
    with app(folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for width in (1400, 390):
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page.set_default_timeout(60_000)
                page.goto(url)
                page.wait_for_selector(".model-line")
                for show in (transcribe, inside, compare, model, live, speakers):
                    show(page, recording)
                    save(page, folder, f"{show.__name__}-{width}-{scheme}")
                    if show is inside:
                        steps(page, folder, f"step-{width}-{scheme}")
                if (width, scheme) == (1400, "light"):
                    open_tab(page, "Inside")
                    step(page, "Qwen3")
                    animate(page)
                page.close()
        browser.close()
    print(folder)


@contextlib.contextmanager
def app(folder: Path) -> Iterator[str]:
    """The app in a process of its own. -> its address"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "app.log").open("w") as log:
        command = [sys.executable, str(HERE.parents[1] / "app.py"), "--port", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(url):
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def transcribe(page, recording: Path) -> None:
    page.wait_for_selector("#text .paragraph")  # the first example
    page.set_input_files("[data-testid='Upload recordings-upload-button']", str(recording))
    page.wait_for_selector("#status .message.done")
    page.wait_for_selector("#timings .main-svg")
    page.wait_for_selector("#timeline .main-svg")


def speakers(page, _: Path) -> None:
    """A conversation of two, one of whom has got a name."""
    pause = np.zeros(8000, np.float32)
    turns = [part for name in TURNS for part in (load_audio(NUMBER.parent / name).samples, pause)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conversation.wav"
        soundfile.write(path, np.concatenate(turns), 16_000)
        open_tab(page, "Transcribe")
        page.locator("#settings-drawer > button").click()
        page.get_by_label("Tell speakers apart").click()
        page.get_by_role("option", name="2", exact=True).click()
        page.locator("#settings-drawer > button").click()
        page.evaluate("document.querySelector('#status .message').outerHTML = ''")
        transcribe(page, path)
    page.locator("#text [data-speaker='S1']").first.click()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    page.wait_for_selector("#text [data-speaker='Ada']")


def inside(page, _: Path) -> None:
    open_tab(page, "Inside")
    page.wait_for_selector("#inside-status .message.done")
    page.locator("#story .spoken").nth(6).click()
    step(page, "Qwen3")


def step(page, name: str) -> None:
    page.locator("#story .node", has_text=name).click()
    page.wait_for_function("[...document.querySelectorAll('#story .plot')].every(plot => plot.marks)")


def steps(page, folder: Path, name: str) -> None:
    """Every step of the story."""
    for title in page.locator("#story .node b").all_inner_texts():
        step(page, title)
        page.wait_for_timeout(500)
        page.locator("#story").screenshot(path=folder / f"{name}-{title.replace(' ', '-')}.png")


def animate(page) -> None:
    """The cursor as it goes through the recording, as an animated WebP."""
    page.set_viewport_size({"width": 1000, "height": 780})
    page.evaluate("document.querySelector('#story').scrollIntoView()")
    page.wait_for_timeout(1500)
    frames = []
    for hundredths in range(0, 490, 8):
        page.evaluate(f"nanoasr.inside.chooseTime({hundredths / 100})")
        page.wait_for_timeout(40)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        frames.append(shot.resize((900, 702), Image.LANCZOS))
    file = HERE / "cursor.webp"
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=110, loop=0, quality=60, method=4)


def compare(page, recording: Path) -> None:
    open_tab(page, "Compare")
    page.set_input_files("#compare-recordings input[type=file]", str(recording))
    page.wait_for_selector("#compare-recordings .file-preview")
    page.fill("#references textarea", SAID if recording == NUMBER else "")
    page.click("#compare")
    page.wait_for_selector("#compare-status .message.done")
    page.wait_for_selector("#compare-speed .main-svg")


def model(page, _: Path) -> None:
    open_tab(page, "Model")


def live(page, _: Path) -> None:
    open_tab(page, "Live")
    page.click("#live-start")
    page.wait_for_selector("#live-segments li")
    page.wait_for_selector(".live-text .committed + .tentative")


def open_tab(page, name: str) -> None:
    tab = page.get_by_role("tab", name=name)
    tab.first.click()


def save(page, folder: Path, name: str) -> None:
    page.wait_for_timeout(1000)  # the last figure is drawn a moment after its frame is there
    page.mouse.move(0, 0)
    shot = page.screenshot(full_page=True)
    (folder / f"{name}.png").write_bytes(shot)
    if name in KEPT:  # with few colours a third of the bytes, and no worse to see
        Image.open(io.BytesIO(shot)).convert("RGB").quantize(200).save(HERE / KEPT[name], optimize=True)


if __name__ == "__main__":
    main()
