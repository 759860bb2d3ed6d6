"""The app as a user starts it, and a real browser to look at it with."""

import shutil

import pytest
from running import ROOT, App

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
).split()
PATIENCE = 30_000  # milliseconds: machines that test are busy


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
def empty_app(tmp_path_factory):
    """Without a model there is no first example."""
    app = App(tmp_path_factory.mktemp("empty"), "--model", "/no/such/checkpoint")
    yield app
    app.close()


@pytest.fixture(scope="session")
def client(app):
    from gradio_client import Client

    return Client(app.url, verbose=False, download_files=False)


@pytest.fixture(scope="session")
def bundled_client(bundled_app):
    from gradio_client import Client

    return Client(bundled_app.url, verbose=False, download_files=False)


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


def new_page(browser, url: str, width: int = 1400, scheme: str = "light", **options):
    """A page with the app on it; `page.problems` are its console errors, `page.elsewhere` requests to other sites."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.problems, page.elsewhere = [], []
    page.on("console", lambda said: page.problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda r: r.url.startswith((url, "data:", "blob:")) or page.elsewhere.append(r.url))
    page.goto(url)
    page.wait_for_selector(".model-line, #model-line .message.warning")
    return page


@pytest.fixture
def open_page(app, browser):
    """open_page(width=…, scheme=…) -> a page of this test alone."""
    pages = []

    def open_it(url: str = app.url, browser=browser, **options):
        pages.append(new_page(browser, url, **options))
        return pages[-1]

    yield open_it
    for page in pages:
        page.context.close()


@pytest.fixture(scope="module")
def kept_pages():
    pages = {}
    yield pages
    for page in pages.values():
        page.context.close()


@pytest.fixture
def keep(kept_pages, browser, request):
    """keep(name, url, prepare) -> the page of that name, which tests of a module share: opening one takes seconds.

    The first test that asks for it opens it, in the browser that `start()` gives, and calls `prepare(page)`. After a
    test that failed it is opened anew.
    """
    failed, used = request.session.testsfailed, []

    def get(name: str, url: str, prepare=lambda page: None, start=lambda: browser):
        used.append(name)
        if name not in kept_pages:
            kept_pages[name] = new_page(start(), url)
            prepare(kept_pages[name])
        page = kept_pages[name]
        page.problems.clear()
        return page

    yield get
    if request.session.testsfailed > failed:
        for name in {*used} & {*kept_pages}:
            kept_pages.pop(name).context.close()


@pytest.fixture(scope="session")
def hearing(start_browser):
    """hearing(recording) -> a browser whose microphone hears that recording, once, whenever it is switched on."""
    return lambda recording: start_browser(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}%noloop",
    )


@pytest.fixture
def page_hearing(hearing, open_page, bundled_app):
    """page_hearing(recording) -> a page in such a browser."""
    browsers = []

    def open_it(recording):
        browsers.append(hearing(recording))
        return open_page(url=bundled_app.url, browser=browsers[-1])

    yield open_it
    for browser in browsers:
        browser.close()


def pytest_collection_modifyitems(items):
    """Whatever looks through a browser takes seconds."""
    for item in items:
        if "start_browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
