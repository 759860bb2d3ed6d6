"""Theme, style sheets and scripts of the page. Nothing comes from other sites."""

from pathlib import Path

import gradio as gr

TITLE = "nanoasr: see a recognizer think"
_STATIC = Path(__file__).parent / "static"


def looks() -> dict[str, object]:
    """The page's theme, style sheet and scripts, as arguments of Gradio's `launch`."""
    files = sorted(_STATIC.glob("*.js"), key=lambda path: (path.name != "page.js", path.name))  # the others extend it
    scripts = [path.read_text("utf-8") for path in files]
    head = '<meta name="referrer" content="no-referrer">\n'
    head += "".join(f"<script>\n{script}</script>\n" for script in [*scripts, _preload_plotly()])
    return {"theme": _theme(), "css_paths": sorted(_STATIC.glob("*.css"), reverse=True), "head": head}


def _theme() -> gr.themes.Base:
    """System fonts and calm colours."""
    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    ).set(  # Gradio's own grey and blue have too little contrast
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def _preload_plotly() -> str:
    """A script that loads Plotly (4.6 MB) once the page stands, so that the first figure need not wait for it."""
    assets = Path(gr.__file__).parent / "templates/frontend/assets"
    name = next((path.name for path in assets.glob("PlotlyPlot-*.js")), "")
    return f'nanoasr.whenReady("#transcribe", () => import("./assets/{name}").catch(() => {{}}));\n' if name else ""
