"""The page: a heading, and one tab for each way of looking."""

import inspect
import sys

import gradio as gr

from . import compare, inside, live, live_api, model, style, transcribe
from .models import Access, SharedModel
from .shown import FirstExample

sys.modules.setdefault("bokeh", None)  # not used, and Gradio would search for it several times in every visit


def build_page(shared: SharedModel, example: FirstExample, *, max_minutes: float, access: Access) -> gr.Blocks:
    """Build the app, ready to launch."""
    seconds = max_minutes * 60
    with _Page(title=style.TITLE, analytics_enabled=False, fill_width=True) as page:
        with gr.Row(elem_id="heading"):
            with gr.Column(min_width=300):
                gr.Markdown("# nanoasr\nSpeech to text, and everything that happens in between.")
            with gr.Column(min_width=300):
                line = gr.HTML(elem_id="model-line")
        clock = gr.Timer(model.CHECK_SECONDS)  # not in a tab: those that are not open have no timers
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Transcribe", id="transcribe"):
                transcribing = transcribe.build(page, shared, example, seconds)
            with gr.Tab("Live", id="live") as live_tab:
                said = live.build(shared, live_tab, seconds)
                live_api.build(shared, seconds)
            with gr.Tab("Inside", id="inside") as inside_tab:
                inside_recording = inside.build(shared, seconds)
            with gr.Tab("Compare", id="compare"):
                compare.build(shared, seconds, access)
            with gr.Tab("Model", id="model"):
                model.build(page, shared, access, line, transcribing.language, clock)
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        opened = {said.to_transcribe: transcribing.recording, said.to_inside: inside_recording}
        events = [button.click(lambda path: path, said.recording, there, **quiet) for button, there in opened.items()]
        transcribing.run(events[0])
        inside_tab.select(
            lambda here, there: gr.skip() if here or not there else there,
            [inside_recording, transcribing.recording], inside_recording,
            **quiet,
        ).then(None, js="() => nanoasr.inside.begin()", api_visibility="private")  # fmt: skip
    for component in page.blocks.values():  # Gradio looks signatures up at every visit: cache them
        constructor = type(component).__init__
        constructor.__signature__ = inspect.signature(constructor)
    return page.queue(max_size=200)


class _Page(gr.Blocks):
    async def preprocess_data(self, block_fn, inputs, *rest):
        """Let programs without Gradio's client leave out the last arguments of `/transcribe`, as its client does."""
        missing = block_fn.inputs[len(inputs) :] if inputs and block_fn.api_name == "transcribe" else ()
        return await super().preprocess_data(block_fn, [*inputs, *(item.value for item in missing)], *rest)
