"""No barriers for people who cannot see or point: axe-core on every tab, light and dark, empty and with results."""

from pages import go_to, set_scheme, settled, text_of, violations
from running import ROOT
from test_looks import TABS

NUMBER = ROOT / "assets/speech/kokoro-number.wav"


def test_axe_finds_nothing_serious_on_any_tab(bundled_app, open_page):
    page = open_page(url=bundled_app.url, scheme="dark")
    text_of(page)
    page.wait_for_selector("#timings .main-svg")
    for scheme in ("dark", "light"):
        set_scheme(page, scheme)
        for tab in TABS:
            go_to(page, tab)
            settled(page)
            assert violations(page) == [], (tab, scheme)
    go_to(page, "Compare")
    page.set_input_files("#compare-recordings input[type=file]", str(NUMBER))
    page.wait_for_selector("#compare-recordings .file-preview")
    page.click("#compare")
    page.wait_for_selector("#compare-status .message.done")
    page.wait_for_selector("#compare-speed .main-svg")
    for scheme in ("light", "dark"):
        set_scheme(page, scheme)
        settled(page)
        assert violations(page) == [], scheme
