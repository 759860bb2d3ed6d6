"""Every notebook runs to its end on the bundled checkpoint, and what it shows is what its code gives."""

import re
from pathlib import Path

import nbformat
import pytest

from notebooks.build import FOLDER, PLOTLY, execute, fingerprint, notebooks, outputs

NOTEBOOKS = pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
LARGEST = 4_000_000
_OF_THIS_MACHINE = re.compile(r"/(?:home|Users|root|work|tmp)/|file://")


def saved(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.mark.slow
@NOTEBOOKS
def test_a_notebook_runs_top_to_bottom(path):
    before = path.read_bytes()
    notebook = execute(path)
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert any(PLOTLY in output.get("data", {}) for output in outputs(notebook))
    assert path.read_bytes() == before


@NOTEBOOKS
def test_saved_outputs_are_those_of_the_code_and_the_weights(path):
    notebook = saved(path)
    made_from = notebook.metadata.get("nanoasr", {}).get("made_from")
    assert made_from == fingerprint(notebook), f"run python notebooks/build.py {path.stem}"


@NOTEBOOKS
def test_every_figure_has_a_picture_for_where_scripts_do_not_run(path):
    figures = [output.data for output in outputs(saved(path)) if PLOTLY in output.get("data", {})]
    assert figures
    for data in figures:
        assert len(data["image/png"]) > 2000
        assert "text/html" not in data, "a script that loads Plotly would be preferred to the picture"


@NOTEBOOKS
def test_a_notebook_is_small_and_says_nothing_of_the_machine_it_ran_on(path):
    assert path.stat().st_size < LARGEST
    notebook = saved(path)
    told = [
        str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", "")) for output in outputs(notebook)
    ]
    told += [cell.source for cell in notebook.cells]
    for text in told:
        assert not _OF_THIS_MACHINE.search(text), text
        assert str(FOLDER.parent) not in text
    assert not [cell for cell in notebook.cells if "execution" in cell.metadata], "a time of day was saved"


@NOTEBOOKS
def test_a_notebook_uses_nothing_private_and_leaves_mlx_its_fast_blas(path):
    code = "\n".join(cell.source for cell in saved(path).cells if cell.cell_type == "code")
    assert not re.findall(r"\b(?:import _|\w+\._)\w+", code)
    imported = re.findall(r"^(?:import|from) (nanoasr|mlx)\b", code, re.MULTILINE)
    assert imported[0] == "nanoasr", "what is imported first decides on the BLAS of a Linux CPU"


@NOTEBOOKS
def test_a_reader_can_point_a_notebook_at_another_checkpoint(path):
    first = next(cell for cell in saved(path).cells if cell.cell_type == "code")
    assert first.metadata.get("tags") == ["parameters"]
    assert first.source.startswith("MODEL = None")
