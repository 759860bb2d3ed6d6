"""The whole page in a browser: sizes, light and dark, other sites."""

from pages import CLIP, draw_at_random, transcribe, width_left_over

TABS = ("Transcribe", "Live", "Inside", "Model")


def test_the_page_opens_without_errors_and_asks_no_other_site(open_page):
    page = open_page()
    assert "official" in page.inner_text("#model-line")
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(200)
    assert page.problems == [] and page.elsewhere == []


def test_a_phone_never_scrolls_sideways(open_page):
    page = open_page(width=360)
    draw_at_random(page)
    transcribe(page, CLIP)
    page.wait_for_selector("#timeline .main-svg")
    assert width_left_over(page) <= 0
    page.locator(".token").last.hover()
    assert width_left_over(page) <= 0
    for tab in TABS:
        if not page.get_by_role("tab", name=tab).is_visible():
            page.locator(".overflow-menu > button").click()
        page.get_by_role("tab", name=tab).or_(page.locator(".overflow-dropdown button", has_text=tab)).first.click()
        page.wait_for_timeout(200)
        assert width_left_over(page) <= 0


def test_dark_mode_is_dark_and_its_figures_are_see_through(open_page):
    page = open_page(scheme="dark")
    draw_at_random(page)
    transcribe(page, CLIP)
    page.wait_for_selector("#timeline .main-svg")
    background = page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).backgroundColor")
    assert max(int(part) for part in background.strip("rgba()").split(",")[:3]) < 80
    paper = page.evaluate("document.querySelector('#timeline .js-plotly-plot')._fullLayout.paper_bgcolor")
    assert paper.replace(" ", "") == "rgba(0,0,0,0)"
