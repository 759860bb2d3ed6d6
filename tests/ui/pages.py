"""What the browser tests do with a page."""

from pathlib import Path

from running import SPEECH

CLIP = SPEECH / "LJ002-0020.wav"
DRAWN = {"temperature": 1.0, "seed": 1, "max_tokens": 40}  # the test checkpoint's weights are noise: it babbles
DONE = "#status .message.done, #status .message.warning"


def transcribe(page, path: Path, wanted: str = DONE) -> str:
    """Choose a recording, press the button, wait. -> what the page says at the end."""
    choose(page, "#recording", path)
    return transcribe_again(page, wanted)


def transcribe_again(page, wanted: str = DONE) -> str:
    """Press the button, wait. -> what the page says at the end."""
    page.evaluate("document.querySelector('#status .message').outerHTML = ''")  # so that an old end is not taken for it
    page.click("#transcribe")
    page.wait_for_selector(wanted)
    return page.inner_text("#status")


def choose(page, where: str, path: Path) -> None:
    page.set_input_files(f"{where} input[type=file]", str(path))
    page.wait_for_selector(f"{where} audio", state="attached")


def go_to(page, name: str) -> None:
    """Open a tab; on a phone the last ones are in a menu."""
    tab = page.get_by_role("tab", name=name)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.first.click()


def text_of(page) -> str:
    page.wait_for_function("document.querySelector('#text textarea').value.length > 0")
    return page.input_value("#text textarea")


def draw_at_random(page, most_tokens: int = 40, seed: int = 1) -> None:
    """Open the fold and set a temperature, a seed and a limit."""
    page.get_by_text("Sampling: how the next token is chosen").click()
    enter(page, page.get_by_label("number input for Temperature"), "1")
    enter(page, page.get_by_label("number input for Most tokens"), str(most_tokens))
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
