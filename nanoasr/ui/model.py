"""The Model tab: the loaded model, and loading another."""

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict

import gradio as gr

from ..checkpoint.quantize import PRESETS as QUANTIZATIONS
from ..checkpoint.sources import BUNDLED, PRESETS, cached_bytes
from ..errors import NanoASRError
from . import html
from .knobs import AUTO
from .models import Access, SharedModel

_BUNDLED_NAME, _AS_STORED = "bundled", "as stored"
CHECK_SECONDS = 10.0  # seconds between two looks whether another visitor loaded a model


def build(
    page: gr.Blocks, model: SharedModel, access: Access, line: gr.HTML, language: gr.Dropdown, clock: gr.Timer
) -> None:
    """Build the tab. `line` and `language` follow the model, on every open page, whenever `clock` ticks."""
    status = gr.HTML(elem_id="model-status", render=False)
    table = gr.HTML(elem_id="model-table")
    version = gr.State(-1)
    shown = [line, language, table, version]
    quiet = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}

    def show() -> dict:
        if model.recognizer is None:
            return {line: html.message(model.problem, "warning"), version: model.version}
        info = model.recognizer.info()
        languages = [AUTO, *((item.name, item.code) for item in model.recognizer.languages)]
        return {
            line: html.model_line(info), table: html.model_table(info, _stored(model)),
            language: gr.Dropdown(languages), version: model.version,
        }  # fmt: skip

    def open_page() -> Iterator[dict]:
        while not model.wait(0.3):
            yield {line: html.progress("Loading the model…", model.share or None)}
        yield show() | {status: html.message(model.problem, "error") if model.problem else ""}

    def follow(known: int) -> dict:
        return {line: gr.skip()} if known == model.version else show()

    page.load(open_page, outputs=[*shown, status], **quiet)
    clock.tick(follow, version, shown, **quiet)
    _add_api(model, access)
    if access is Access.NONE:
        status.render()
        gr.Markdown("Others can reach this page, so the model can only be chosen when the server starts: `--model`.")
        return

    gr.Markdown("## Load another model\nIf it cannot be loaded, the present one stays. All visitors share one model.")
    names = ([_BUNDLED_NAME] if BUNDLED.is_dir() else []) + list(PRESETS)
    where = " or a folder on this machine" if access is Access.ANY else ""
    with gr.Row():
        source = gr.Dropdown(
            names, value=names[0], allow_custom_value=True, label="Checkpoint", elem_id="source", min_width=260,
            scale=2, info=f"A preset, a hub id such as FunAudioLLM/Fun-ASR-Nano-2512{where}.",
        )  # fmt: skip
        quantize = gr.Dropdown(
            [_AS_STORED, *QUANTIZATIONS], value=_AS_STORED, label="Precision", min_width=160,
            info="Fewer bits need less memory, and are faster on a GPU.",
        )  # fmt: skip
        tokens = gr.Dropdown(
            [("the checkpoint's own", ""), "low", "full"], value="", label="Audio tokens", min_width=160,
            info="How many of them the language model is given.",
        )  # fmt: skip
    button = gr.Button("Load", variant="primary", elem_id="load")
    with gr.Accordion("Presets: their repositories, and what is downloaded", open=False, elem_id="presets"):
        presets = gr.HTML(_presets())
    page.load(_presets, outputs=presets, **quiet)
    status.render()  # below the button: visible when it is pressed, on a phone too

    def load(source: str | None, quantize: str | None, tokens: str | None) -> Iterator[dict]:
        name = (source or "").strip()
        problem: list[str] = []

        def work() -> None:
            try:
                _load(model, access.permit(name), quantize, tokens)
            except NanoASRError as error:
                problem.append(str(error))

        if not name:
            yield {status: html.message("Enter a checkpoint: a preset, a hub id or a folder.", "error")}
            return
        loading = threading.Thread(target=work, name="nanoasr-load", daemon=True)
        began = time.monotonic()
        loading.start()
        while loading.is_alive():
            what = f"Loading {name}" if model.share else f"Finding or downloading {name}"
            yield {status: html.progress(f"{what}… {time.monotonic() - began:.0f} s", model.share or None)}
            loading.join(0.3)
        if problem:
            kept = " The model that was loaded before is still there." if model.recognizer else ""
            yield {status: html.message(problem[0] + kept, "error")}
            return
        yield show() | {status: html.message(f"{name} is loaded ({time.monotonic() - began:.1f} s).", "done")}

    inputs = [source, quantize, tokens]
    button.click(load, inputs, [*shown, status], **quiet | {"concurrency_limit": 2})


def _stored(model: SharedModel) -> int:
    """Bytes of the checkpoint's files."""
    folder = model.recognizer.checkpoint.layout.folder
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _presets() -> str:
    """Every preset with its repositories, and whether it needs no download."""
    rows = []
    for name, repositories in PRESETS.items():
        known = [(hub, repository) for hub, repository in zip(("hf", "ms"), repositories, strict=True) if repository]
        sizes = [cached_bytes(hub, repository) for hub, repository in known]
        cached = ", ".join(
            f"{size / 1e6:,.0f} MB on {hub}" for (hub, _), size in zip(known, sizes, strict=True) if size
        )
        rows.append((name, *(repository or "–" for repository in repositories), cached or "not downloaded"))
    return html.table(("Preset", "Hugging Face (hf)", "ModelScope (ms)", "On this machine"), rows)


def _load(model: SharedModel, source: str, quantize: str | None, tokens: str | None) -> None:
    model.load(
        None if source == _BUNDLED_NAME else source, None if quantize == _AS_STORED else quantize, tokens or None
    )


def _add_api(model: SharedModel, access: Access) -> None:
    """`/model` for programs, and `/load_model` where visitors may."""

    def info() -> dict:
        """Describe the loaded model: source, layout, parameters and megabytes by part, precision, device."""
        try:
            return asdict(model.get().info())
        except NanoASRError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def load_model(source: str = _BUNDLED_NAME, quantize: str = _AS_STORED, audio_tokens: str = "") -> dict:
        """Load another checkpoint, for all visitors: a preset, a hub id or a folder. If it fails, the old one stays."""
        try:
            _load(model, access.permit(source), quantize, audio_tokens)
        except NanoASRError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return info()

    gr.api(info, api_name="model", concurrency_limit=None)
    if access is not Access.NONE:
        gr.api(load_model, api_name="load_model")
