"""The Inside tab, in a browser and as an API."""

import contextlib
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from pages import CLIP, choose, width_left_over
from running import ROOT, App, write_wav

import nanoasr
from nanoasr import backend
from nanoasr.decode import sampling
from nanoasr.introspection.reruns import Patch, draft_passes, silence

NUMBER = ROOT / "assets/speech/kokoro-number.wav"
FAMILIES = ROOT / "tests/parity/families"
NANO = [
    "Waveform", "Filterbank", "LFR features", "SAN-M encoder", "CTC branch", "Adaptor", "Prompt", "Qwen3", "Text",
]  # fmt: skip
DONE = "#inside-status .message.done"


@pytest.fixture(scope="module")
def asr():
    return nanoasr.load()


@pytest.fixture(scope="module")
def story(pages, bundled_app):
    """A page of the bundled model that shows the phone number from inside; for tests that leave it as it was."""
    with stories(pages, bundled_app) as open_it:
        yield open_it()


@pytest.fixture
def open_story(pages, bundled_app):
    """open_story(width=…, …) -> a page on which the phone number was followed through the network."""
    with stories(pages, bundled_app) as open_it:
        yield open_it


@contextlib.contextmanager
def stories(pages, app):
    opened = []

    def open_it(url: str = app.url, recording=NUMBER, start: float = 0, wanted: str = DONE, **options):
        page = pages.open(url, patience=60_000, **options)
        opened.append(page)
        page.wait_for_selector("#text .paragraph, #status .message.warning")  # the first example
        page.get_by_role("tab", name="Inside").click()
        page.wait_for_selector("#story .node")
        if recording != NUMBER:
            choose(page, "#inside-recording", recording)
            page.wait_for_selector("#story", state="hidden")
            page.locator("#inside-start input").fill(str(start))
            page.locator("#inside-start input").press("Tab")
            page.click("#look-inside")
        page.wait_for_selector(wanted)
        return page

    yield open_it
    for page in opened:
        pages.give_back(page)


def go(page, step: str) -> None:
    """Open a step from the picture, and wait for its figures."""
    page.locator("#story .node", has_text=step).click()
    page.wait_for_function(
        """step => document.querySelector("#story h2").textContent === step
          && [...document.querySelectorAll("#story .view")].every(view => !view.hidden)
          && [...document.querySelectorAll("#story .plot")].every(plot => plot.marks)""",
        arg=step,
    )


Z = "document.querySelector('[data-view=VIEW] .plot').calcdata[0][0].z.map(row => [...row])"


def drawn(page, view: str) -> list[list[float]]:
    """The values of a map, as they are drawn."""
    return page.evaluate(Z.replace("VIEW", view))


def wait_for_another(page, view: str, before: list[list[float]]) -> list[list[float]]:
    page.wait_for_function(f"z => JSON.stringify({Z.replace('VIEW', view)}) !== JSON.stringify(z)", arg=before)
    return drawn(page, view)


def area_of(page, view: str) -> dict[str, float]:
    """Where a figure's data are on the screen, once they are in sight."""
    page.evaluate(f"document.querySelector('[data-view={view}]').scrollIntoView({{block: 'center'}})")
    return page.locator(f"[data-view={view}] .nsewdrag").bounding_box()


def marked(page, view: str) -> list[list[float]]:
    """What a view's marks cover, in the units of its axes: [from, to] of x, then of y, of its first map."""
    return page.evaluate(
        """view => {
            const plot = document.querySelector(`[data-view=${view}] .plot`), area = plot.getBoundingClientRect();
            const {xaxis, yaxis} = plot._fullLayout._plots.xy;
            const shown = [...plot.marks.children].filter(mark => !mark.hidden).slice(0, 2);
            return shown.map(mark => mark.getBoundingClientRect()).map((mark, i) => i
                ? [mark.top, mark.bottom].map(y => yaxis.p2l(y - area.top - yaxis._offset)).sort((a, b) => a - b)
                : [mark.left, mark.right].map(x => xaxis.p2l(x - area.left - xaxis._offset))); }""",
        view,
    )


def test_opening_the_tab_shows_the_story_and_next_leads_through_it(open_story):
    page = open_story()
    assert page.locator("#story .node b").all_inner_texts() == NANO
    assert page.inner_text("#story .said") == "my number is seven three one nine four one three eight eight five"
    for number, title in enumerate(NANO, 1):
        assert page.inner_text("#story h2") == title
        assert page.inner_text("#story .count") == f"{number} of {len(NANO)}"
        assert page.locator("#story [aria-current=step] b").inner_text() == title
        assert len(page.inner_text("#story .sentence")) > 40
        go(page, title)
        assert all(page.eval_on_selector_all("#story .plot", "plots => plots.map(plot => plot.ariaLabel)"))
        if title != NANO[-1]:
            page.click("#story .next")
    assert page.locator("#story .next").is_disabled()
    page.click("#story .back")
    assert page.inner_text("#story h2") == NANO[-2]
    assert page.problems == []


def test_a_chosen_word_is_marked_at_its_time_in_every_view(story, asr):
    token = asr.transcribe(NUMBER).tokens[3]
    story.locator("#story .spoken", has_text="seven").click()
    assert story.locator("#story .picture .mark:visible").count() == len(NANO)
    go(story, "Filterbank")
    (x,) = marked(story, "filterbank")
    assert x == pytest.approx([token.start, token.end], abs=0.02)
    go(story, "LFR features")
    (x,) = marked(story, "features")
    frame = asr.inspect(NUMBER).samples.shape[0] / 16000 / 83
    assert x == pytest.approx([token.start // frame * frame, -(-token.end // frame) * frame], abs=0.01)  # whole frames
    go(story, "SAN-M encoder")
    assert marked(story, "encoder-attention")[0] == pytest.approx(marked(story, "encoder-attention")[1], abs=0.03)
    go(story, "Adaptor")
    (x,) = marked(story, "adapted")
    assert (x[0] + 0.5, x[1] + 0.5) == pytest.approx((8, 11), abs=0.1)  # audio tokens 8 to 10 of 42
    go(story, "Qwen3")
    assert marked(story, "text-attention")[1] == pytest.approx([2.5, 3.5], abs=0.05)
    assert story.locator("[data-view=text-heads] .mark:visible").count() == 2 * 4
    go(story, "Text")
    assert story.locator(".chip.lit").all_inner_texts() == ["␣seven"]
    assert "seven" in story.inner_text("#story .chosen")


def test_a_click_on_a_figure_moves_the_cursor_there(story):
    go(story, "Filterbank")
    box = area_of(story, "filterbank")
    story.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    story.wait_for_selector("[data-view=filterbank] .hovertext")
    story.mouse.down()
    story.mouse.up()
    story.wait_for_function("Math.abs(parseFloat(document.querySelector('#story .at').textContent) - 2.49) < 0.05")


def test_playing_moves_the_cursor_and_lights_the_words(open_story):
    page = open_story()
    page.click("#story .play")
    page.wait_for_function("parseFloat(document.querySelector('#story .at').textContent) > 0.6")
    page.wait_for_selector("#story .spoken.lit")
    page.wait_for_selector("#story .play:text('Pause')")
    page.click("#story .play")
    stopped = page.inner_text("#story .at")
    page.wait_for_timeout(300)
    assert page.inner_text("#story .at") == stopped


def test_a_step_of_the_cursor_is_cheap_in_the_middle_of_15_minutes(open_story, tmp_path):
    clip = nanoasr.audio.load_audio(NUMBER).samples
    page = open_story(
        recording=write_wav(tmp_path / "long.wav", np.tile(clip, 15 * 60 // 4)[: 15 * 60 * 16000]), start=600
    )
    page.click("#look-inside")
    go(page, "SAN-M encoder")  # the step with most figures
    cost = page.evaluate(
        """() => { const began = performance.now();
            for (let i = 0; i < 100; i++) { nanoasr.inside.chooseTime(i / 10); document.body.offsetWidth; }
            return (performance.now() - began) / 100; }"""
    )
    assert cost < 1000 / 30, "milliseconds: a frame at 30 frames a second"


def test_with_reduced_motion_the_cursor_goes_from_word_to_word(open_story):
    page = open_story(motion="reduce")
    page.evaluate("window.places = new Set()")
    page.click("#story .play")
    page.wait_for_function(
        "places.add(document.querySelector('#story .at').textContent) "
        "&& nanoasr.inside.story.tokens.findIndex(t => `${t.start.toFixed(2)} s` === [...places].at(-1)) > 2"
    )
    starts = {f"{token['start']:.2f} s" for token in page.evaluate("nanoasr.inside.story.tokens")}
    assert set(page.evaluate("[...places]")) <= starts | {"choose a word"}


def test_arrow_keys_go_from_word_to_word(story):
    story.locator("#story .spoken").first.click()
    story.keyboard.press("ArrowRight")
    story.keyboard.press("ArrowRight")
    assert story.locator("#story .spoken:focus").inner_text().strip() == "is"
    assert story.locator("#story .spoken[aria-pressed=true]").inner_text().strip() == "is"
    story.keyboard.press("ArrowLeft")
    assert story.locator("#story .spoken[tabindex='0']").inner_text().strip() == "number"


@pytest.mark.parametrize(
    "knobs",
    [
        {"temperature": 0.0}, {"temperature": 0.5}, {"temperature": 1.7}, {"temperature": 1.0, "top_k": 5},
        {"temperature": 1.5, "top_p": 0.9}, {"temperature": 1.3, "min_p": 0.05},
        {"temperature": 1.0, "repetition_penalty": 1.8}, {"temperature": 0.8, "repetition_penalty": 0.6},
        {"temperature": 1.9, "top_k": 40, "top_p": 0.8, "min_p": 0.01, "repetition_penalty": 1.3},
    ],
    ids=str,
)  # fmt: skip
def test_the_browser_reshapes_distributions_as_decoding_does(story, asr, knobs):
    x, tokens = asr.inspect(NUMBER), asr.transcribe(NUMBER).tokens
    chosen = sampling.Sampling(**knobs)
    names = {"temperature": "temperature", "top_k": "topK", "top_p": "topP", "min_p": "minP"}
    values = {"topK": 0, "topP": 1, "minP": 0, "penalty": chosen.repetition_penalty}
    values |= {names[name]: value for name, value in knobs.items() if name in names}
    ids = [token.id for token in tokens]
    scores = backend.run(_scores, asr, x, ids)
    for step in (0, 3, 8, 12):
        kept, rest = story.evaluate(
            """([step, history, knobs]) => { const steps = nanoasr.inside.story.views.choices.data.steps;
                const {kept, rest} = nanoasr.inside.reshape(steps[step], history, knobs); return [kept, rest]; }""",
            [step, ids[:step], values],
        )
        wanted = _reshaped(scores[step], ids[:step], chosen)
        assert {item["id"] for item in kept} <= set(np.flatnonzero(wanted).tolist())
        for item in kept:
            assert item["p"] == pytest.approx(wanted[item["id"]], abs=2e-3)
        assert sum(item["p"] for item in kept) + rest == pytest.approx(1, abs=1e-6)
        assert rest == pytest.approx(1 - wanted[[item["id"] for item in kept]].sum(), abs=2e-3)


def _scores(asr, x, ids) -> np.ndarray:
    """The logits of every step, whole."""
    llm = asr.checkpoint.model.llm
    read = mx.concatenate([x.suffix_ids, mx.array(ids)])
    states = llm(mx.concatenate([llm.embed(x.prefix_ids), x.audio_tokens, llm.embed(read)])[None])[0]
    return np.array(llm.logits(states[-len(ids) - 1 :]).astype(mx.float32))


def _reshaped(logits: np.ndarray, history: list[int], chosen: sampling.Sampling) -> np.ndarray:
    """Probabilities from the functions that decoding draws with."""
    x = mx.array(logits)[None]
    if history:
        x = sampling.penalize_repeats(x, mx.array([history[-chosen.repetition_window :]]), chosen.repetition_penalty)
    if chosen.greedy:
        return np.eye(len(logits))[int(mx.argmax(x))]
    x = x / chosen.temperature
    if chosen.top_k:
        x = sampling.keep_top_k(x, chosen.top_k)
    if chosen.top_p < 1:
        x = sampling.keep_top_p(x, chosen.top_p)
    if chosen.min_p:
        x = sampling.keep_min_p(x, chosen.min_p)
    return np.array(mx.softmax(x, axis=-1))[0].astype(float)


def test_sliders_reshape_the_bars_within_50_ms_and_the_die_draws_from_them(open_story):
    page = open_story()
    page.locator("#story .spoken", has_text="seven").click()
    go(page, "Text")
    first = page.locator("table.choices tr .figure").first
    before = first.inner_text()
    spent = page.evaluate(
        """() => { const slider = document.querySelector("[data-knob=temperature]"), began = performance.now();
            slider.value = 2; slider.dispatchEvent(new Event("input")); document.body.offsetWidth;
            return performance.now() - began; }"""
    )
    assert first.inner_text() != before and spent < 50
    page.evaluate(
        """() => { const slider = document.querySelector("[data-knob=topK]");
            slider.value = 2; slider.dispatchEvent(new Event("input")); }"""
    )
    for _ in range(20):
        page.click("#story .die")
    counts = page.locator("table.choices tr .figure:last-child").all_inner_texts()
    assert sum(int(count.split()[0]) for count in counts[:2] if count) == 20
    assert not any(counts[2:]) and page.inner_text("#story .drawn").startswith("Drawn: ")


def test_the_passes_with_drafts_are_shown_as_they_were(open_story, asr):
    jfk = ROOT / "assets/speech/jfk.flac"
    page = open_story(recording=jfk)
    ids, passes = backend.run(draft_passes, asr.model_family, asr.inspect(jfk))
    go(page, "Text")
    assert page.inner_text(".counted").startswith(f"{len(ids)} tokens in {len(passes)} passes")
    rows = page.eval_on_selector_all(
        ".passes tbody tr",
        "rows => rows.map(row => ['accepted', 'own', 'rejected'].map(kind => row.querySelectorAll('.' + kind).length))",
    )
    assert rows == [[p.accepted, p.written - p.accepted, len(p.draft) - p.accepted] for p in passes]
    page.locator(".passes .accepted").last.click()
    assert page.locator(".passes .accepted").last.inner_text().strip("␣") == page.inner_text(".spoken.lit").strip()


def test_a_box_drawn_on_the_spectrogram_is_silenced_and_changed_words_are_marked(open_story, asr):
    page = open_story()
    go(page, "Filterbank")
    page.click("#story .again")
    assert "Draw a box first" in page.inner_text("#story .patched")
    page.click("#story .draw")
    area = area_of(page, "filterbank")
    seconds = asr.inspect(NUMBER).samples.shape[0] / 16000
    token = asr.transcribe(NUMBER).tokens[6]
    page.mouse.move(area["x"] + area["width"] * token.start / seconds, area["y"] - 5)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * token.end / seconds, area["y"] + area["height"] + 5, steps=3)
    page.mouse.up()
    start, end = (float(page.input_value(f".patch [name={name}]")) for name in ("from", "to"))
    assert (start, end) == pytest.approx((token.start, token.end), abs=0.02)
    assert page.locator("[data-view=filterbank] .box").is_visible()
    page.click("#story .again")
    page.wait_for_selector("#story .patched del")
    wanted = backend.run(silence, asr.model_family, asr.inspect(NUMBER), Patch(start, end, 0, 79)).text
    kept = page.evaluate(
        """() => { const shown = document.querySelector("#story .patched").cloneNode(true);
            shown.querySelectorAll("del").forEach(gone => gone.remove()); return shown.textContent; }"""
    )
    assert kept.split() == wanted.split()
    assert page.locator("#story .patched del").first.inner_text().startswith("nine")


def test_another_layer_is_another_picture_of_all_heads(open_story):
    page = open_story()
    for step, view, heads in (("SAN-M encoder", "encoder-attention", "encoder-heads"),
                              ("Qwen3", "text-attention", "text-heads")):  # fmt: skip
        go(page, step)
        mean, first = drawn(page, view), drawn(page, heads)
        page.locator(f"[data-view={view}] input").focus()
        page.keyboard.press("ArrowLeft")
        other = wait_for_another(page, view, mean)
        wait_for_another(page, heads, first)
        page.keyboard.press("ArrowRight")
        assert wait_for_another(page, view, other) == mean
    assert page.problems == []


@pytest.fixture(scope="module")
def family_app(request, tmp_path_factory):
    app = App(tmp_path_factory.mktemp("family"), "--model", str(FAMILIES / request.param))
    yield app
    app.close()


@pytest.mark.parametrize("family_app", ["sensevoice"], indirect=True)
def test_sensevoice_has_its_own_story_with_queries_ctc_and_tags(open_story, family_app):
    page = open_story(url=family_app.url)
    asr = nanoasr.load(FAMILIES / "sensevoice", dtype="float32")
    found = asr.transcribe(NUMBER)
    assert [*page.locator("#story .node b").all_inner_texts()] == [
        "Waveform", "Filterbank", "LFR features", "Queries", "SAN-M encoder", "CTC head", "Text and tags",
    ]  # fmt: skip
    go(page, "Queries")
    assert page.locator("[data-view=queries] tbody tr").count() == 4
    go(page, "CTC head")
    labels = page.evaluate("document.querySelector('[data-view=ctc] .plot').layout.yaxis.ticktext")
    assert labels[0] == "blank"
    go(page, "Text and tags")
    shown = page.inner_text("[data-view=tags]")
    assert found.tags.emotion in shown and found.language in shown
    assert page.locator("#story .knobs").count() == 0  # nothing is drawn at random in this family
    assert page.problems == []
    answer = Client(family_app.url, verbose=False, download_files=False).predict(
        handle_file(str(NUMBER)), api_name="/inspect"
    )
    assert answer["shapes"]["query_ids"] == [4] and "text_attention" not in answer


@pytest.mark.parametrize("family_app", ["paraformer_bicif"], indirect=True)
def test_paraformer_has_its_own_story_with_integrate_and_fire(open_story, family_app):
    page = open_story(url=family_app.url)
    x = nanoasr.load(FAMILIES / "paraformer_bicif", dtype="float32").inspect(NUMBER)
    assert [*page.locator("#story .node b").all_inner_texts()] == [
        "Waveform", "Filterbank", "LFR features", "SAN-M encoder", "Integrate and fire", "Decoder", "Text",
    ]  # fmt: skip
    go(page, "Integrate and fire")
    fired = page.evaluate("document.querySelector('[data-view=fire] .plot').calcdata[2].length")
    assert fired == len(x.acoustic)
    assert page.locator("[data-view=fire-upsampled] .plot").count() == 1
    page.locator("#story .spoken").first.click()
    assert page.locator("[data-view=fire] .mark:visible").count() == 2  # in the weights and in their sum
    go(page, "Decoder")
    assert page.locator("[data-view=acoustic] .mark:visible").count() == 1
    assert page.problems == []


def test_silence_has_stages_but_no_text_to_look_from(open_story, tmp_path):
    page = open_story(recording=write_wav(tmp_path / "silence.wav", np.zeros(32000)))
    assert page.inner_text("#story .said") == "No text was found in this recording."
    page.locator("#story .node", has_text="Qwen3").click()
    page.wait_for_selector("#story .message.warning")
    assert "wrote no text" in page.inner_text("[data-view=shares]")
    go(page, "Filterbank")
    assert page.problems == []


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


def test_another_recording_clears_what_was_seen_of_the_old_one(open_story):
    page = open_story()
    page.locator("#inside-recording").get_by_label("Clear").click()
    page.wait_for_selector("#inside-status .message.info")
    page.wait_for_selector("#story", state="hidden")


def test_two_visitors_each_see_their_own_recording(open_story, app, tmp_path):
    hum = write_wav(tmp_path / "hum.wav", np.sin(np.arange(40000) / 9) / 3)
    pages = [open_story(url=app.url, recording=path) for path in (CLIP, hum)]
    frames = []
    for page in pages:
        go(page, "SAN-M encoder")
        page.locator("[data-view=encoder-attention] input").focus()
        before = drawn(page, "encoder-attention")
        page.keyboard.press("Home")
        z = wait_for_another(page, "encoder-attention", before)
        frames.append((len(z), len(z[0])))
    assert frames == [(26, 26), (42, 42)]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (360, "light"), (1920, "dark")])
def test_the_story_fits_narrow_and_wide_windows(open_story, width, scheme):
    page = open_story(width=width, height=800, scheme=scheme)
    for title in NANO:
        go(page, title)
        assert width_left_over(page) <= 0
        button = page.locator("#story .next").bounding_box()
        story = page.locator("#story").bounding_box()
        assert button["x"] + button["width"] <= story["x"] + story["width"] + 1
        widths = page.eval_on_selector_all("#story .plot", "plots => plots.map(plot => plot._fullLayout.width)")
        assert all(0 < each <= width for each in widths)
    assert page.problems == []


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_step(open_story, scheme):
    from test_barriers import VIOLATIONS, axe

    page = open_story(scheme=scheme)
    page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text())
    page.locator("#story .spoken", has_text="nine").click()
    for title in NANO:
        go(page, title)
        assert page.evaluate(VIOLATIONS) == [], title
