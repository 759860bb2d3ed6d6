"""The app as a user starts it, and a real browser to look at it with."""

import shutil

import pytest
from pages import Pages
from running import ROOT, App

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
).split()


@pytest.fixture(scope="session")
def app(tmp_path_factory):
    """With a small network of random weights, which answers at once, and low limits."""
    model = str(ROOT / "tests/parity/official")
    app = App(tmp_path_factory.mktemp("app"), "--model", model, "--max-minutes", "2", "--max-upload-mb", "5")
    yield app
    app.close()


@pytest.fixture(scope="session")
def bundled_app(tmp_path_factory):
    """As a newcomer starts it, with the checkpoint that ships, which knows words and when they were said."""
    app = App(tmp_path_factory.mktemp("bundled"))
    yield app
    app.close()


@pytest.fixture(scope="session")
def client(app):
    from gradio_client import Client

    return Client(app.url, verbose=False, download_files=False)


@pytest.fixture(scope="session")
def start_browser():
    """start_browser(*flags) -> a browser; all are closed at the end."""
    if not CHROMIUM:
        pytest.skip("no chromium found: install it (Debian: apt-get install chromium) to run the browser tests")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright to run the browser tests")
    with playwright.sync_playwright() as started:
        browsers = []

        def start(*flags: str):
            browsers.append(started.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_FLAGS, *flags]))
            return browsers[-1]

        yield start
        for browser in browsers:
            browser.close()


@pytest.fixture(scope="session")
def browser(start_browser):
    return start_browser()


@pytest.fixture(scope="session")
def pages(browser):
    """The pages of the browser that most tests share."""
    return Pages(browser)


@pytest.fixture
def open_page(app, pages):
    """open_page(width=…, scheme=…) -> a page with the app on it; `page.problems` are its console errors."""
    opened = []

    def open_it(url: str = app.url, pages: Pages = pages, **options):
        opened.append((pages, page := pages.open(url, **options)))
        return page

    yield open_it
    for pages, page in opened:
        pages.give_back(page)


@pytest.fixture(scope="session")
def hearing(start_browser, tmp_path_factory):
    """hearing(recording) -> pages of a browser whose microphone hears that recording."""
    browsers: dict[bytes, Pages] = {}

    def pages(recording):
        content = recording.read_bytes()
        if content not in browsers:
            kept = tmp_path_factory.mktemp("said") / "said.wav"
            kept.write_bytes(content)
            browser = start_browser(
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={kept}%noloop",
            )
            browsers[content] = Pages(browser)
        return browsers[content]

    return pages


@pytest.fixture
def page_hearing(hearing, open_page, bundled_app):
    """page_hearing(recording) -> a page whose microphone hears that recording, once, whenever it is switched on."""
    return lambda recording: open_page(url=bundled_app.url, pages=hearing(recording))


def pytest_collection_modifyitems(items):
    """Whatever looks through a browser takes seconds."""
    for item in items:
        if "start_browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
