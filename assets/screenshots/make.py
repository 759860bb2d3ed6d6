"""Take the README's screenshots: start `python app.py`, then `python assets/screenshots/make.py [URL] [RECORDING]`."""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860"
    recording = sys.argv[2] if len(sys.argv) > 2 else next((HERE.parent / "speech").glob("*.flac"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(url)
        page.wait_for_selector(".model-line")
        page.set_input_files("#recording input[type=file]", str(recording))
        page.wait_for_selector("#recording audio", state="attached")
        page.click("#transcribe")
        page.wait_for_selector("#timings .main-svg")
        page.wait_for_selector("#timeline .main-svg")
        save(page, "transcribe.png")
        page.get_by_role("tab", name="Inside").click()
        page.wait_for_selector("#inside-recording audio", state="attached")
        page.click("#look-inside")
        page.wait_for_selector("#inside-status .message.done")
        page.wait_for_function("document.querySelectorAll('.stage .js-plotly-plot .main-svg').length >= 6")
        save(page, "inside.png")
        browser.close()


def save(page, name: str) -> None:
    page.wait_for_timeout(1000)  # the last figure is drawn a moment after its frame is there
    page.mouse.move(0, 0)
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    taken.convert("RGB").quantize(200).save(HERE / name, optimize=True)  # a third of the bytes, and no worse to see


if __name__ == "__main__":
    main()
