"""What the browser tests do with a page."""

from pathlib import Path

import pytest
from running import SPEECH

CLIP = SPEECH / "LJ002-0020.wav"
DRAWN = {"temperature": 1.0, "seed": 1, "max_tokens": 40}  # the test checkpoint's weights are noise: it babbles
FORGET = "document.querySelector('#status .message').outerHTML = ''"  # so that an old end is not taken for a new one
DONE = "#status .message.done, #status .message.warning"


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
    """Choose a recording with the button, also one that was chosen before."""
    field = page.locator("[data-testid='Upload recordings-upload-button']")
    field.evaluate("field => field.value = ''")
    field.set_input_files(str(path))


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
    """Set a temperature, a seed and a limit."""
    open_sampling(page)
    enter(page, page.get_by_label("number input for Temperature"), "1")
    enter(page, page.get_by_label("number input for Maximum tokens"), str(most_tokens))
    enter(page, page.get_by_label("Seed"), str(seed))


def open_settings(page) -> None:
    """Open the fold, unless it is open."""
    if not page.get_by_label("Tell speakers apart").is_visible():
        page.locator("#settings-drawer > button").click()


def open_sampling(page) -> None:
    """Open the fold within the fold, unless it is open."""
    open_settings(page)
    if not page.get_by_label("Seed").is_visible():
        page.get_by_text("Sampling: how the next token is chosen").click()


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


def set_scheme(page, scheme: str) -> None:
    """Switch the visitor's system to light or dark, which the page follows."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_selector("body.dark" if scheme == "dark" else "body:not(.dark)")
    settled(page)


def settled(page) -> None:
    """Wait until what was changed is drawn."""
    page.evaluate(
        """async () => {
            await new Promise(done => requestAnimationFrame(() => setTimeout(() => requestAnimationFrame(done), 50)));
            const ends = document.getAnimations().filter(a => isFinite(a.effect.getComputedTiming().endTime));
            await Promise.all(ends.map(animation => animation.finished.catch(() => {})));
        }"""
    )


def violations(page) -> list:
    """What axe-core finds on the page as it stands: serious barriers, and headings out of order."""
    axe = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python brings axe-core")
    if not page.evaluate("'axe' in window"):
        page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text())
    return page.evaluate(
        """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
            .filter(found => ["serious", "critical"].includes(found.impact) || found.id === "heading-order")
            .map(found => [found.id, found.nodes.map(node => node.html.slice(0, 120))])"""
    )
