"""The Compare tab: recordings under several settings, side by side."""

import logging
import queue
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import gradio as gr

from .. import plots
from ..checkpoint.quantize import PRESETS as QUANTIZATIONS
from ..compare import Result, Setting, compare, summarize, to_csv
from ..decode.sampling import Sampling
from ..errors import AudioError, NanoASRError, OptionError
from ..recognizer import Recognizer
from . import compared, html
from .jobs import Stops, Turns
from .models import SharedModel
from .recordings import licences, shipped

_COLUMNS = (
    "name", "temperature", "top_k", "top_p", "quantize", "chunk, s", "language", "hotwords", "figures",
)  # fmt: skip
_KINDS = ("str", "number", "number", "number", "str", "number", "str", "str", "bool")
_AS_LOADED = ["", 0, 0, 1, "", 15, "", "", True]
_PRESETS = {
    "Greedy against temperature": [("greedy", {}), *((f"T = {t}", {"temperature": t}) for t in (0.5, 1.0))],
    "Chunk lengths": [(f"{seconds} s", {"chunk, s": seconds}) for seconds in (5, 15, 30)],
    "Quantizations": [("as loaded", {}), *((name, {"quantize": name}) for name in QUANTIZATIONS)],
}
_MOST_SETTINGS, _MOST_RECORDINGS, _MOST_REPEATS = 12, 20, 10
_IN_LINE = 24
_REFERENCE = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|", re.MULTILINE)  # in the table of the examples
log = logging.getLogger(__name__)


def build(model: SharedModel, max_seconds: float) -> None:
    """Lay the tab out and wire it."""
    stops, turns = Stops(), Turns(1)  # one at a time: each may have a second model in memory
    gr.Markdown("Transcribe the same recordings in several ways and see what changes.")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            files = gr.File(
                file_count="multiple", type="filepath", label="Recordings", elem_id="compare-recordings", height=140
            )
            references = gr.Textbox(
                "", label="What is said in them", lines=3, max_lines=8, max_length=100_000, elem_id="references",
                placeholder="One line for each recording, in their order; leave it empty if you do not know.",
            )  # fmt: skip
            examples = _examples()
            if examples:
                gr.Examples(
                    examples, inputs=[files, references], cache_examples=False, api_visibility="private",
                    example_labels=[Path(paths[0]).stem for paths, _ in examples], label="Or try one of these",
                )  # fmt: skip
        with gr.Column(scale=3, min_width=300):
            with gr.Row(elem_id="compare-presets"):
                presets = [gr.Button(name, size="sm", min_width=130) for name in _PRESETS]
            table = gr.Dataframe(
                preset(next(iter(_PRESETS))), headers=list(_COLUMNS), datatype=list(_KINDS), type="array",
                column_count=len(_COLUMNS), row_limits=(1, _MOST_SETTINGS), label="Settings, one a row: edit them",
                interactive=True, elem_id="settings", max_height=330, buttons=[],
                column_widths=["118px", "116px", "62px", "62px", "88px", "84px", "86px", "90px", "94px"],
            )  # fmt: skip
            repeats = gr.Slider(
                1, _MOST_REPEATS, 3, step=1, label="Repeats",
                info="Of settings with a temperature, each time with another seed; the others always say the same.",
            )  # fmt: skip
    with gr.Row():
        run = gr.Button("Compare", variant="primary", elem_id="compare", min_width=120)
        stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="compare-stop", min_width=90)
        download = gr.DownloadButton(".csv", interactive=False, elem_id="compare-csv", min_width=60)
    status = gr.HTML(html.message("Choose recordings and settings, then press Compare."), elem_id="compare-status")
    with gr.Column(visible=False, elem_id="compare-results") as results:
        summary = gr.HTML(elem_id="compare-summary")
        with gr.Row():
            with gr.Column(min_width=300):
                quality = gr.Plot(show_label=False, elem_id="compare-quality")
            with gr.Column(min_width=300):
                speed = gr.Plot(show_label=False, elem_id="compare-speed")
        rows = gr.HTML(elem_id="compare-rows")

    def work(request: gr.Request, paths, references, table, repeats) -> Iterator[dict]:
        visitor, job, found = request.session_hash, threading.Event(), []
        try:
            wish = _wish(paths, references, _settings(table), repeats)
            job = stops.start(visitor)
            yield {
                status: html.progress("Waiting for the model…" if model.loading else "Comparing…", None),
                stop: gr.Button(interactive=True), download: gr.DownloadButton(interactive=False),
                results: gr.Column(visible=False), summary: "", rows: "", quality: None, speed: None,
            }  # fmt: skip
            total = _runs(*wish)
            for found, before in _compare_in_turn(turns, model.get(), wish, max_seconds, job):
                said = "In line: other comparisons come before this one…" if before else "Comparing…"
                said = f"Comparing… {len(found)} of {total} runs" if found else said
                shown = {rows: compared.rows(found), results: gr.Column(visible=True)} if found else {}
                yield {status: html.progress(said, len(found) / total if found else None), **shown}
            summaries = summarize(found)
            outcome = _outcome(found, total)
            if found:
                yield {
                    status: outcome, rows: compared.rows(found), summary: compared.summary(summaries),
                    quality: plots.quality_chart(summaries), speed: plots.speed_chart(summaries),
                    download: _file(found, Path(download.GRADIO_CACHE)), results: gr.Column(visible=True),
                }  # fmt: skip
            else:
                yield {status: outcome}
        except NanoASRError as error:
            yield {status: html.message(str(error), "error")}
        except Exception:
            log.exception("a comparison failed")
            yield {status: html.message("Something went wrong here; the server's log says what.", "error")}
        finally:
            job.set()
            stops.end(visitor, job)
        yield {stop: gr.Button(interactive=False)}

    run.click(
        work, [files, references, table, repeats], [status, stop, download, results, summary, quality, speed, rows],
        show_progress="hidden", concurrency_id="compare", concurrency_limit=_IN_LINE, api_visibility="private",
    )  # fmt: skip

    def end(request: gr.Request) -> str:
        stops.stop(request.session_hash)
        return html.progress("Stopping…", None)

    stop.click(end, outputs=status, queue=False, show_progress="hidden", api_visibility="private")
    for button, name in zip(presets, _PRESETS, strict=True):
        button.click(lambda name=name: preset(name), outputs=table, show_progress="hidden", api_visibility="private")
    _add_api(model, turns, max_seconds, files, references, repeats)


def preset(name: str) -> list[list]:
    """The rows of the table for one of the presets."""
    changes = [dict(zip(_COLUMNS, _AS_LOADED, strict=True)) | {"name": row} | change for row, change in _PRESETS[name]]
    return [[row[column] for column in _COLUMNS] for row in changes]


def _add_api(model: SharedModel, turns: Turns, max_seconds: float, files, references, repeats) -> None:
    """`/compare` for programs."""

    def compare(recordings, references="", repeats=3, settings=None) -> Iterator[dict]:
        """Compare settings, each an object such as {"name": "warm", "temperature": 0.8, "chunk, s": 5}."""
        try:
            wish = _wish(recordings, references, _settings_of_objects(settings), repeats)
            stop, found = threading.Event(), []
            for found, _ in _compare_in_turn(turns, model.get(), wish, max_seconds, stop):
                yield {"done": len(found), "of": _runs(*wish)}
            yield {
                "results": [_json(result) for result in found],
                "summary": [asdict(summary) for summary in summarize(found)],
            }  # fmt: skip
        except NanoASRError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            log.exception("a comparison failed")
            raise gr.Error("Something went wrong here; the server's log says what.", print_exception=False) from error

    first = [dict(zip(_COLUMNS, row, strict=True)) for row in preset(next(iter(_PRESETS)))]
    settings, answer = gr.JSON(first, visible=False), gr.JSON(visible=False)
    gr.Button(visible=False).click(
        compare, [files, references, repeats, settings], answer, api_name="compare", concurrency_id="compare",
        concurrency_limit=_IN_LINE,
    )  # fmt: skip


def _compare_in_turn(
    turns: Turns, asr: Recognizer, wish: tuple, max_seconds: float, stop: threading.Event
) -> Iterator[tuple[list[Result], int]]:
    """The results so far, and how many comparisons come before; setting `stop` or closing it ends it."""
    paths, references, settings, repeats = wish
    news: queue.Queue[Result | None] = queue.Queue()
    outcome: list[list[Result] | BaseException] = []

    def work() -> None:
        try:
            outcome.append(
                compare(asr, paths, settings, references, repeats, news.put, stop.is_set, max_seconds=max_seconds)
            )
        except BaseException as error:
            outcome.append(error)
        news.put(None)

    with turns.place(True) as wait:
        while (before := wait(0.2)) and not stop.is_set():
            yield [], before
        thread = threading.Thread(target=work, name="nanoasr-compare", daemon=True)
        thread.start()
        found: list[Result] = []
        try:
            while True:
                try:
                    result = news.get(timeout=0.3)
                except queue.Empty:
                    yield found, 0  # lets a visitor who left be noticed
                    continue
                if result is None:
                    break
                found = [*found, result]
                yield found, 0
        finally:
            stop.set()
            thread.join()  # before the next in line loads its model
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    yield outcome[0], 0


def _wish(paths: list[str] | None, references: str | None, settings: list[Setting], repeats: float) -> tuple:
    if not paths:
        raise AudioError("There is no recording yet: upload some, or click an example.")
    if len(paths) > _MOST_RECORDINGS:
        raise OptionError(f"{len(paths)} recordings: compare {_MOST_RECORDINGS} at most at a time.")
    lines = (references or "").rstrip().splitlines()
    if len(paths) == 1:
        lines = [" ".join(lines)]
    if lines and len(lines) != len(paths):
        raise OptionError(
            f"{len(paths)} recordings but {len(lines)} lines of what is said: write one line for each, in their order."
        )
    return paths, [line.strip() or None for line in lines] or None, settings, round(repeats)


def _settings_of_objects(rows: object) -> list[Setting]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise OptionError('settings: give a list of objects, such as [{"name": "warm", "temperature": 0.8}]')
    unknown = sorted({str(name) for row in rows for name in row} - set(_COLUMNS))
    if unknown:
        raise OptionError(f"settings: {unknown[0]!r:.80} is not one; there are {', '.join(_COLUMNS)}")
    usual = dict(zip(_COLUMNS, _AS_LOADED, strict=True))
    return _settings([[(usual | row)[name] for name in _COLUMNS] for row in rows])


def _settings(table: list[list]) -> list[Setting]:
    """What the rows of the table mean; empty cells are as loaded, rows without anything are passed over."""
    rows = [row for row in table if any(cell not in ("", None, False) for cell in row)]
    if not rows:
        raise OptionError("There is no setting in the table: press one of the buttons above it.")
    if len(rows) > _MOST_SETTINGS:
        raise OptionError(f"{len(rows)} settings: compare {_MOST_SETTINGS} at most at a time.")
    found = [_setting(number, row) for number, row in enumerate(rows, 1)]
    if len({setting.name for setting in found}) < len(found):
        raise OptionError("Two settings have the same name: give each its own.")
    return found


def _setting(number: int, row: Sequence) -> Setting:
    cells = [usual if cell is None or cell == "" else cell for cell, usual in zip(row, _AS_LOADED, strict=True)]
    name, temperature, top_k, top_p, quantize, chunk, language, hotwords, figures = cells
    try:
        temperature, top_k, top_p, chunk = float(temperature), int(float(top_k)), float(top_p), float(chunk)
        if not 2 <= chunk <= 30:
            raise OptionError(f"chunk, s={chunk:g}: must be from 2 to 30")
        if quantize and quantize not in QUANTIZATIONS:
            raise OptionError(f"quantize={quantize!r:.40}: leave it empty or use {', '.join(QUANTIZATIONS)}")
        return Setting(
            str(name)[:60] or f"row {number}", Sampling(temperature=temperature, top_k=top_k, top_p=top_p),
            quantize or None, chunk, str(language) or None,
            tuple(word.strip() for word in str(hotwords).replace("，", ",").split(",") if word.strip()),
            str(figures).strip().lower() not in ("false", "0", "no"),
        )  # fmt: skip
    except OptionError as error:
        raise OptionError(f"Row {number} of the settings: {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise OptionError(
            f"Row {number} of the settings: a number is missing or is none ({str(error)[:80]})."
        ) from error


def _runs(paths: list, references: object, settings: list[Setting], repeats: int) -> int:
    return len(paths) * sum(1 if setting.sampling.greedy else repeats for setting in settings)


def _outcome(found: list[Result], total: int) -> str:
    failed = [result.error for result in found if result.error]
    if len(found) < total:
        return html.message(f"Stopped after {len(found)} of {total} runs. What was done until then stays.", "warning")
    if failed:
        return html.message(f"Done, but {len(failed)} of {total} runs failed: {failed[0]}", "warning")
    return html.message(f"Done: {total} runs.", "done")


def _file(found: list[Result], cache: Path) -> gr.DownloadButton:
    """The button with its file, in Gradio's own folder, where it is deleted with the rest."""
    path = cache / secrets.token_hex(16) / "comparison.csv"
    path.parent.mkdir(parents=True)
    path.write_text(to_csv(found), encoding="utf-8-sig", newline="")  # the mark lets spreadsheets read it as UTF-8
    return gr.DownloadButton(value=str(path), interactive=True)


def _json(result: Result) -> dict:
    content = {field.name: getattr(result, field.name) for field in fields(result)}
    return content | {"setting": result.setting.name, "real_time_factor": result.real_time_factor}


def _examples() -> list[tuple[list[str], str]]:
    """The recordings that ship, each with its text where that is known."""
    paths = shipped()
    known = dict(_REFERENCE.findall(licences())) if paths else {}
    return [[[str(path)], known.get(path.name, "")] for path in paths]
