"""What the browser tests do with a page."""

import contextlib
from pathlib import Path

from running import SPEECH

CLIP = SPEECH / "LJ002-0020.wav"
DRAWN = {"temperature": 1.0, "seed": 1, "max_tokens": 40}  # the test checkpoint's weights are noise: it babbles
FORGET = "document.querySelector('#status .message').outerHTML = ''"  # so that an old end is not taken for a new one
PATIENCE = 30_000  # milliseconds: machines that test are busy
DONE = "#status .message.done, #status .message.warning"


class Pages:
    """Pages of one browser. One that a test is done with serves the next: a new one takes three more CPU seconds."""

    def __init__(self, browser):
        self.browser, self.spare = browser, []

    def open(
        self,
        url: str,
        width: int = 1400,
        height: int = 900,
        scheme: str = "light",
        motion: str = "no-preference",
        patience: int = PATIENCE,
    ):
        """A page with the app on it, its model loaded, and nothing stored in the browser."""
        page = self.spare.pop() if self.spare else self._new()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme, reduced_motion=motion)
        page.set_default_timeout(patience)
        page.home, page.problems, page.elsewhere = url, [], []
        page.goto(url)
        page.wait_for_selector(".model-line, #model-line .message.warning")
        return page

    def give_back(self, page) -> None:
        """Make a page as good as new, or close it if it no longer answers."""
        try:
            page.unroute_all(behavior="ignoreErrors")
            page.evaluate("localStorage.clear()")
            page.context.clear_permissions()
            page.context.clear_cookies()
            page.goto("about:blank")  # a page at work would slow the next test down
            self.spare.append(page)
        except Exception:
            with contextlib.suppress(Exception):  # its whole browser may be closed
                page.context.close()

    def _new(self):
        page = self.browser.new_context().new_page()
        page.on("console", lambda said: page.problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda r: r.url.startswith((page.home, "data:", "blob:")) or page.elsewhere.append(r.url))
        return page


def transcribe(page, path: Path, wanted: str = DONE) -> str:
    """Upload a recording, which is transcribed at once, and wait. -> what the page says at the end."""
    page.evaluate(FORGET)
    upload(page, path)
    page.wait_for_selector(wanted)
    return page.inner_text("#status")


def transcribe_again(page, wanted: str = DONE) -> str:
    """Press the button, wait. -> what the page says at the end."""
    page.evaluate(FORGET)
    page.click("#transcribe")
    page.wait_for_selector(wanted)
    return page.inner_text("#status")


def upload(page, path: Path) -> None:
    page.set_input_files("[data-testid='Upload recordings-upload-button']", str(path))


def choose(page, where: str, path: Path) -> None:
    """Choose another recording in the player `where`."""
    page.locator(where).get_by_label("Clear").click()
    page.set_input_files(f"{where} input[type=file]", str(path))
    page.wait_for_selector(f"{where} audio", state="attached")


def go_to(page, name: str) -> None:
    """Open a tab."""
    page.get_by_role("tab", name=name).first.click()


def text_of(page) -> str:
    """All text on the page."""
    page.wait_for_selector("#text .paragraph")
    return " ".join(page.eval_on_selector_all("#text .paragraph", "found => found.map(e => e.dataset.text)"))


def streamed(page, length: int) -> None:
    """Wait until that many characters have streamed in."""
    page.wait_for_function(f"document.querySelector('#text .streaming')?.innerText.length > {length}")


def draw_at_random(page, most_tokens: int = 40, seed: int = 1) -> None:
    """Open the fold and set a temperature, a seed and a limit."""
    page.locator("#settings-drawer > button").click()
    page.get_by_text("Sampling: how the next token is chosen").click()
    enter(page, page.get_by_label("number input for Temperature"), "1")
    enter(page, page.get_by_label("number input for Maximum tokens"), str(most_tokens))
    enter(page, page.get_by_label("Seed"), str(seed))


def enter(page, field, value: str) -> None:
    """Type into a number field. One in a fold that has only just been opened may forget it: then type again."""
    for _ in range(20):
        field.fill(value)
        field.press("Tab")
        page.wait_for_timeout(150)
        if field.input_value() == value:
            return
    raise AssertionError(f"the field does not keep {value}")


def width_left_over(page) -> int:
    """By how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")
