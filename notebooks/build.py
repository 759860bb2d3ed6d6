"""Run the notebooks in place and save what they show: `python notebooks/build.py [01_features …]`, without names all.

Figures are saved twice in one output: as Plotly's own data, which Jupyter and VS Code make live, and as a PNG, which
shows wherever scripts don't run. Kaleido draws the PNGs with Chrome or Chromium; running a notebook needs neither.
"""

import base64
import hashlib
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent
WEIGHTS = FOLDER.parent / "assets" / "nano-tiny" / "model.safetensors"
PLOTLY = "application/vnd.plotly.v1+json"
WIDTH, SCALE = 880, 1.25  # of the pictures
_SECONDS = 900  # the longest that a cell may take on a busy machine


def main(names: list[str]) -> None:
    import kaleido

    kaleido.start_sync_server(silence_warnings=True)  # one browser for all pictures
    try:
        for path in [FOLDER / f"{Path(name).stem}.ipynb" for name in names] or notebooks():
            start = time.perf_counter()
            notebook = execute(path)
            add_pictures(notebook)
            notebook.metadata["nanoasr"] = {"made_from": fingerprint(notebook)}
            nbformat.write(notebook, path)
            size = path.stat().st_size / 1e6
            print(f"{path.name}: {time.perf_counter() - start:.0f} s, {size:.1f} MB", flush=True)
    finally:
        kaleido.stop_sync_server(silence_warnings=True)


def notebooks() -> list[Path]:
    return sorted(FOLDER.glob("*.ipynb"))


def execute(path: Path) -> NotebookNode:
    """The notebook with new outputs; the file stays as it is. An error in a cell is raised."""
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"  # for the kernel: data only, no script
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("language_info", None)
    client = NotebookClient(
        notebook,
        timeout=_SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(FOLDER)}},
    )
    client.execute()
    # what tells nothing but which Python ran it
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def add_pictures(notebook: NotebookNode) -> None:
    """Put a PNG beside every figure."""
    import plotly.io

    for output in outputs(notebook):
        figure = output.get("data", {}).get(PLOTLY)
        if figure:
            height = figure["layout"].get("height") or 400
            drawn = {"data": figure["data"], "layout": figure["layout"]}
            png = plotly.io.to_image(drawn, "png", width=WIDTH, height=height, scale=SCALE, validate=False)
            output["data"]["image/png"] = base64.b64encode(png).decode("ascii")


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def fingerprint(notebook: NotebookNode) -> str:
    """Of what the saved outputs were made from: the code and the bundled weights."""
    made_from = hashlib.sha256(WEIGHTS.read_bytes())
    for cell in notebook.cells:
        if cell.cell_type == "code":
            made_from.update(cell.source.encode() + b"\0")
    return made_from.hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])
