"""The page: a head, and a tab for each way of looking."""

import inspect
import sys
import threading

import gradio as gr

from . import compare, inside, live, live_api, microphone, model, script, style, transcribe
from .models import SharedModel
from .safety import refuse_web_addresses

TIDYING = (600, 3600)  # seconds: how often uploads and downloads are looked through, and how long they are kept
sys.modules.setdefault("bokeh", None)  # none is drawn with it, and Gradio would look for it at every visit, often


def build_page(shared: SharedModel, *, max_minutes: float, can_load: bool) -> gr.Blocks:
    """The app, ready to launch. `can_load`: whether visitors may change the model that all of them share."""
    with gr.Blocks(title=style.TITLE, analytics_enabled=False, fill_width=True, delete_cache=TIDYING) as page:
        with gr.Row(elem_id="heading"):
            with gr.Column(min_width=300):
                gr.Markdown("# nanoasr\nSpeech to text, and everything that happens in between.")
            with gr.Column(min_width=300):
                line = gr.HTML(elem_id="model-line")
        with gr.Tab("Transcribe", id="transcribe"):
            recording, language = transcribe.build(shared, max_minutes * 60)
        with gr.Tab("Live", id="live") as live_tab:
            live.build(shared, live_tab, max_minutes * 60)
            live_api.build(shared, max_minutes * 60)
        with gr.Tab("Inside", id="inside") as inside_tab:
            inside_recording = inside.build(shared)
        with gr.Tab("Compare", id="compare"):
            compare.build(shared, max_minutes * 60, can_load)
        with gr.Tab("Model", id="model"):
            model.build(page, shared, can_load, line, language)
        inside_tab.select(
            lambda here, there: gr.skip() if here or not there else there,
            [inside_recording, recording], inside_recording,
            show_progress="hidden", api_visibility="private",
        )  # fmt: skip
    for component in page.blocks.values():  # Gradio asks for these at every visit; found once, they are remembered
        made_by = type(component).__init__
        made_by.__signature__ = inspect.signature(made_by)
    return page.queue(max_size=200)


def launch(page: gr.Blocks, shared: SharedModel, *, max_upload_mb: float, **options: object) -> None:
    """Serve the page until it is stopped; `options` are those of Gradio's `launch`."""
    refuse_web_addresses()
    page.launch(
        prevent_thread_lock=True,
        theme=style.theme(),
        css=style.CSS,
        head=script.HEAD + microphone.HEAD + script.read_plotly_early(),
        max_file_size=int(max_upload_mb * 2**20),
        max_threads=96,
        enable_monitoring=False,
        state_session_capacity=100,  # Gradio keeps each visitor's page, plots too; an older one's is made anew
        footer_links=["api", "settings"],
        **options,
    )
    threading.Thread(target=transcribe.warm_up, args=(shared,), name="nanoasr-warm-up", daemon=True).start()
    page.block_thread()
