"""The Inside tab, in a browser and as an API."""

import re

import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from pages import CLIP, choose
from running import ROOT, write_wav

NUMBER = ROOT / "assets/speech/kokoro-number.wav"
STAGES = (
    "Prompt", "Filterbank", "LFR features", "Encoder output", "Attention in the encoder", "Similarity",
    "Adaptor output", "First token", "Sound", "Attention from the text to the audio", "CTC posteriors",
)  # fmt: skip


def look_inside(page, recording, wanted: str = "#inside-status .message.done"):
    page.wait_for_selector("#text .paragraph")  # the first example, which this tab takes over
    page.get_by_role("tab", name="Inside").click()
    choose(page, "#inside-recording", recording)
    page.click("#look-inside")
    page.wait_for_selector(wanted)
    return page


def plotted(page, name: str) -> str:
    """The numbers of a map, as they came from the server."""
    page.wait_for_selector(f"#{name} .main-svg")
    return page.evaluate(f"JSON.stringify(document.querySelector('#{name} .js-plotly-plot').data[0].z)")


def wait_for_another(page, name: str, before: str) -> str:
    page.wait_for_function(
        """([name, before]) => {
            const plot = document.querySelector(`#${name} .js-plotly-plot`);
            return plot && plot.data && JSON.stringify(plot.data[0].z) !== before; }""",
        arg=[name, before],
    )
    return plotted(page, name)


def set_layer(page, name: str, layer: int) -> None:
    field = page.locator(f"#{name}-layer input[type=number]")
    field.fill(str(layer))
    field.press("Enter")


def choose_head(page, name: str, head: str) -> None:
    page.locator(f"#{name}-head input").click()
    page.get_by_role("option", name=head, exact=True).click()


def test_every_stage_is_drawn_and_explained(open_page, bundled_app):
    page = look_inside(open_page(url=bundled_app.url), NUMBER)
    page.wait_for_function(  # all but the prompt are figures
        "count => [...document.querySelectorAll('#stages .js-plotly-plot')].filter(e => e.data).length === count",
        arg=len(STAGES) - 1,
    )
    notes = page.locator("#stages .stage-note p").all_inner_texts()
    assert sorted(re.match(r"[\w ]+?(?= of the|\.)", note)[0] for note in notes) == sorted(STAGES)
    assert "to the audio" in page.inner_text("#attention-shares")
    assert page.locator("#text-attention .ytick text").all_text_contents()[:2] == ["my", "␣number"]
    assert page.problems == []


def test_another_layer_or_head_of_the_encoder_is_another_picture(open_page, bundled_app):
    page = look_inside(open_page(url=bundled_app.url), NUMBER)
    last, similar = plotted(page, "encoder-attention"), plotted(page, "text-attention")
    set_layer(page, "encoder", 4)
    fourth = wait_for_another(page, "encoder-attention", last)
    choose_head(page, "encoder", "2")
    second = wait_for_another(page, "encoder-attention", fourth)
    choose_head(page, "encoder", "all, averaged")
    assert wait_for_another(page, "encoder-attention", second) == fourth
    assert plotted(page, "text-attention") == similar
    assert page.problems == []


def test_another_layer_or_head_of_the_language_model_is_another_picture(open_page, bundled_app):
    page = look_inside(open_page(url=bundled_app.url), NUMBER)
    last, shares = plotted(page, "text-attention"), page.inner_text("#attention-shares")
    set_layer(page, "text", 0)
    first = wait_for_another(page, "text-attention", last)
    assert page.inner_text("#attention-shares") != shares
    choose_head(page, "text", "3")
    wait_for_another(page, "text-attention", first)
    assert page.problems == []


def test_a_slider_is_moved_with_the_keys(open_page, bundled_app):
    page = look_inside(open_page(url=bundled_app.url), NUMBER)
    last = plotted(page, "encoder-attention")
    page.locator("#encoder-layer input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    wait_for_another(page, "encoder-attention", last)


def test_silence_has_stages_but_no_text_to_look_from(open_page, tmp_path):
    page = look_inside(open_page(), write_wav(tmp_path / "silence.wav", np.zeros(32000)))
    page.wait_for_selector("#attention-shares .message.warning")
    assert "wrote no text" in page.inner_text("#attention-shares")
    assert page.locator("#encoder-attention .main-svg").count()


def test_a_start_outside_the_recording_is_answered_with_a_sentence(open_page):
    page = open_page()
    page.wait_for_selector("#text .paragraph")
    page.get_by_role("tab", name="Inside").click()
    page.locator("#inside-recording").get_by_label("Clear").wait_for()
    for start, said in (("60", "ends before second 60"), ("-3", "start=-3: must be from 0")):
        page.locator("#inside-start input").fill(start)
        page.locator("#inside-start input").press("Tab")
        page.click("#look-inside")
        page.wait_for_selector(f"#inside-status .message.error:text('{said}')")


def test_another_recording_clears_what_was_seen_of_the_old_one(open_page, bundled_app):
    page = look_inside(open_page(url=bundled_app.url), NUMBER)
    page.locator("#inside-recording").get_by_label("Clear").click()
    page.wait_for_selector("#inside-status .message.info")
    page.wait_for_selector("#stages", state="hidden")
    assert page.inner_text("#shapes").strip() == ""


def test_two_visitors_each_see_their_own_recording(open_page, tmp_path):
    pages = [
        look_inside(open_page(), CLIP),
        look_inside(open_page(), write_wav(tmp_path / "hum.wav", np.sin(np.arange(40000) / 9) / 3)),
    ]
    frames = []
    for page in pages:
        before = plotted(page, "encoder-attention")
        set_layer(page, "encoder", 0)
        wait_for_another(page, "encoder-attention", before)
        frames.append(page.evaluate("document.querySelector('#encoder-attention .js-plotly-plot').data[0].z.shape"))
    assert frames == ["26, 26", "42, 42"]


def test_the_api_gives_shapes_prompt_and_attention(client):
    found = client.predict(handle_file(str(CLIP)), api_name="/inspect")
    frames, tokens = found["shapes"]["features"][0], found["shapes"]["audio_tokens"][0]
    assert [len(found["attention"]), len(found["attention"][0])] == [frames, frames]
    assert np.sum(found["attention"], axis=1) == pytest.approx(1, abs=0.01)
    assert len(found["text_attention"]) == len(found["tokens"]) and len(found["text_attention"][0]) == tokens
    assert found["audio_positions"] == [len(found["prefix_ids"]), len(found["prefix_ids"]) + tokens - 1]
    other = client.predict(handle_file(str(CLIP)), layer=0, head=1, api_name="/inspect")
    assert other["attention"] != found["attention"] and other["text_attention"] == found["text_attention"]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"layer": 99}, "encoder has layers 0 to"), ({"text_head": 99}, "heads 0 to"), ({"start": 99}, "ends before")],
)
def test_what_is_not_there_is_answered_with_a_sentence(client, options, said):
    with pytest.raises(AppError, match=said):
        client.predict(handle_file(str(CLIP)), api_name="/inspect", **options)
