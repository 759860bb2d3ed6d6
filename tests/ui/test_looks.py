"""The whole page in a browser: sizes, light and dark, other sites, the keyboard."""

import pytest
from pages import CLIP, draw_at_random, go_to, transcribe, width_left_over
from running import ROOT

NUMBER = ROOT / "assets/speech/kokoro-number.wav"
TABS = ("Transcribe", "Live", "Inside", "Compare", "Model")
# Text (not of figures) that does not stand out from what is behind it, as WCAG counts: 4.5 and more can be read.
FAINT = """
() => {
    const pixel = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const channels = colour => {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = colour;
        pixel.fillRect(0, 0, 1, 1);
        return [...pixel.getImageData(0, 0, 1, 1).data];
    };
    const luminance = rgb => rgb.slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        const layers = [];
        for (let e = element; e; e = e.parentElement) layers.unshift(channels(getComputedStyle(e).backgroundColor));
        return layers.reduce((under, over) => under.map((v, i) => v + (over[i] - v) * over[3] / 255), [255, 255, 255]);
    };
    const other = "svg, :disabled, footer, script, style, .sr-only, button.primary, button.stop";
    const page = document.querySelector(".gradio-container"), found = [];
    const texts = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
    for (let node; node = texts.nextNode();) {
        const element = node.parentElement;
        if (!node.textContent.trim() || element.closest(other)) continue;
        if (!element.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
        const [a, b] = [channels(getComputedStyle(element).color), behind(element)].map(luminance);
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) found.push([contrast.toFixed(2), node.textContent.trim().slice(0, 40)]);
    }
    return found;
}
"""


def test_the_page_opens_without_errors_and_asks_no_other_site(open_page):
    page = open_page()
    assert "official" in page.inner_text("#model-line")
    for tab in TABS:
        go_to(page, tab)
        page.wait_for_timeout(200)
    assert page.problems == [] and page.elsewhere == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 700, 1920])  # 700 is what 1400 has at 200 % zoom
def test_every_tab_fits_and_can_be_read(open_page, width, scheme):
    page = open_page(width=width, scheme=scheme)
    draw_at_random(page)
    transcribe(page, CLIP)
    page.wait_for_selector("#timeline .main-svg")
    page.locator(".token").last.hover()
    text = page.evaluate("getComputedStyle(document.querySelector('#heading h1')).color")
    assert (min(int(part) for part in text.strip("rgb()").split(",")) > 200) == (scheme == "dark")
    paper = page.evaluate("document.querySelector('#timeline .js-plotly-plot')._fullLayout.paper_bgcolor")
    assert paper.replace(" ", "") == "rgba(0,0,0,0)"
    for tab in TABS:
        go_to(page, tab)
        page.wait_for_timeout(300)
        assert width_left_over(page) <= 0
        assert page.evaluate(FAINT) == [], tab


@pytest.mark.parametrize("width", [360, 1400])
def test_no_tab_is_hidden_in_a_menu(open_page, width):
    page = open_page(width=width)
    page.wait_for_timeout(500)
    tabs = [page.get_by_role("tab", name=name).first for name in TABS]
    assert [tab.is_visible() for tab in tabs] == [True] * len(TABS)
    assert not page.locator(".overflow-menu > button").is_visible()


def test_a_progress_bar_follows_the_theme(open_page):
    drawn = set()
    for scheme in ("light", "dark"):
        page = open_page(scheme=scheme)
        page.evaluate(
            "document.querySelector('#status').innerHTML = "
            "'<div class=\"message\"><progress max=1 value=0.5></progress></div>'"
        )
        drawn.add(page.evaluate("getComputedStyle(document.querySelector('progress')).backgroundColor"))
    assert len(drawn) == 2


def test_what_has_the_focus_is_seen_and_the_tab_key_goes_down_the_page(open_page):
    page = open_page()
    page.wait_for_selector("#text .paragraph")
    page.locator("#transcribe").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "transcribe"
    style, width = page.evaluate(
        "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
    )
    assert style == "solid" and width in ("2px", "3px")
    page.get_by_role("tab", name="Transcribe").focus()
    tops = []
    for _ in range(6):
        page.keyboard.press("Tab")
        tops.append(page.evaluate("document.activeElement.getBoundingClientRect().top + scrollY"))
    assert min(tops) > 50 and tops[-1] >= tops[0]


def test_nothing_moves_while_the_page_opens_and_while_a_recording_is_transcribed(open_page, bundled_app):
    page = open_page(url=bundled_app.url)
    page.wait_for_selector("#timings .main-svg")
    shift = """() => new Promise(done => { let sum = 0; const watch = new PerformanceObserver(list => list.getEntries()
        .forEach(entry => { if (!entry.hadRecentInput) sum += entry.value; }));
        watch.observe({type: "layout-shift", buffered: true}); setTimeout(() => done(sum), 300); })"""
    opening = page.evaluate(shift)
    transcribe(page, NUMBER)
    page.wait_for_selector("#timings .main-svg")
    page.wait_for_timeout(500)
    assert opening <= 0.05 and page.evaluate(shift) - opening <= 0.05
