"""No barriers for people who cannot see or point: axe-core on every tab, light and dark, empty and with results."""

from pathlib import Path

import pytest
from pages import go_to, text_of
from running import ROOT
from test_looks import TABS

axe = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python brings axe-core")
NUMBER = ROOT / "assets/speech/kokoro-number.wav"
VIOLATIONS = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .filter(found => ["serious", "critical"].includes(found.impact) || found.id === "heading-order")
    .map(found => [found.id, found.nodes.map(node => node.html.slice(0, 120))])"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_tab(bundled_app, open_page, scheme):
    page = open_page(url=bundled_app.url, scheme=scheme)
    page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text())
    text_of(page)
    page.wait_for_selector("#timings .main-svg")
    for tab in TABS:
        go_to(page, tab)
        page.wait_for_timeout(300)
        assert page.evaluate(VIOLATIONS) == [], tab
    go_to(page, "Compare")
    page.set_input_files("#compare-recordings input[type=file]", str(NUMBER))
    page.wait_for_selector("#compare-recordings .file-preview")
    page.click("#compare")
    page.wait_for_selector("#compare-status .message.done")
    page.wait_for_selector("#compare-speed .main-svg")
    assert page.evaluate(VIOLATIONS) == []
