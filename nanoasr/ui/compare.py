"""The Compare tab: recordings under several settings, side by side."""

import queue
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import gradio as gr

from .. import plots
from ..introspection.compare import Result, Setting, compare, summarize, to_csv
from ..recognizer import Recognizer
from . import compared, html
from .jobs import FairQueue, Jobs
from .models import Access, SharedModel
from .problems import api_error, status_message
from .recordings import SUFFIXES, licences, shipped, title
from .repeating import repeating
from .settings import (
    COLUMNS,
    MOST_REPEATS,
    MOST_TEXT,
    OTHER_PRESETS,
    PRESETS,
    Comparison,
    form,
    preset,
    read_comparison,
    settings_of_objects,
    settings_of_rows,
)

_IN_LINE = 24
_REFERENCE = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|", re.MULTILINE)  # in the table of the examples


def build(model: SharedModel, max_seconds: float, access: Access) -> None:
    """Build the tab."""
    jobs, waiting = Jobs(), FairQueue(1)  # one at a time: each may have a second model in memory
    offered = PRESETS | (OTHER_PRESETS if access is not Access.NONE else {})
    gr.Markdown("Transcribe the same recordings in several ways and see what changes.")
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=300):
            files = gr.File(
                file_count="multiple", type="filepath", label="Recordings", elem_id="compare-recordings", height=140,
            )  # fmt: skip
            folder = gr.UploadButton(
                "A whole folder", file_count="directory", type="filepath", size="sm", elem_id="compare-folder"
            )
            references = gr.Textbox(
                "", label="Reference texts", lines=3, max_lines=8, max_length=MOST_TEXT, elem_id="references",
                placeholder="One line for each recording, in their order; or upload texts: a.txt for a.wav. "
                "Leave it empty if it is not known.",
            )  # fmt: skip
            examples = _examples()
            if examples:
                gr.Examples(
                    examples, inputs=[files, references], cache_examples=False, api_visibility="private",
                    example_labels=[title(Path(paths[0])) for paths, _ in examples], label="Examples",
                )  # fmt: skip
        with gr.Column(scale=2, min_width=300):
            with gr.Row(elem_id="compare-presets"):
                presets = [gr.Button(name, size="sm", min_width=130) for name in offered]
            table = gr.HTML(
                form(preset(next(iter(offered.values()))), access), elem_id="settings",
                js_on_load="nanoasr.settings.edit(element)",
            )  # fmt: skip
            rows_sent = gr.JSON([], visible=False)  # replaced by the rows of the form (js=)
            repeats = gr.Slider(
                1, MOST_REPEATS, 3, step=1, label="Repeats",
                info="Of settings with a temperature, each with another seed; greedy text is always the same.",
            )  # fmt: skip
    with gr.Row():
        run = gr.Button("Compare", variant="primary", elem_id="compare", min_width=120)
        stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="compare-stop", min_width=90)
    status = gr.HTML(html.message("Choose recordings and settings, then press Compare."), elem_id="compare-status")
    with gr.Column(visible=False, elem_id="compare-results") as results:
        download = gr.DownloadButton(
            "Save as .csv", interactive=False, elem_id="compare-csv", size="sm", scale=0, min_width=160
        )
        summary = gr.HTML(elem_id="compare-summary")
        with gr.Row():
            with gr.Column(min_width=300):
                quality = gr.Plot(show_label=False, elem_id="compare-quality")
            with gr.Column(min_width=300):
                speed = gr.Plot(show_label=False, elem_id="compare-speed")
        rows = gr.HTML(elem_id="compare-rows")
        with gr.Column(visible=False) as searched:
            hypotheses = gr.HTML(elem_id="compare-hypotheses")
            beams = gr.Plot(show_label=False, elem_id="compare-beams")

    @repeating
    def work(request: gr.Request, paths, references, table, repeats) -> Iterator[dict]:
        job, found = jobs.start(request.session_hash), []
        try:
            comparison = read_comparison(paths, references, settings_of_rows(table, access), repeats, max_seconds)
            yield {
                status: html.progress("Waiting for the model…" if model.loading else "Comparing…", None),
                stop: gr.Button(interactive=True), download: gr.DownloadButton(interactive=False),
                results: gr.Column(visible="hidden"), summary: "", rows: "", quality: None, speed: None,
                searched: gr.Column(visible=False),
            }  # fmt: skip
            total, played = comparison.runs, {Path(path).name: path for path in comparison.recordings}
            for so_far in _compare_in_turn(waiting, model.get(), comparison, max_seconds, job.stop):
                shown = {}
                if len(so_far.found) > len(found):
                    shown = {rows: compared.rows(so_far.found, played), results: gr.Column(visible=True)}
                found = so_far.found
                yield {status: _how_far(so_far, total), **shown}
            summaries = summarize(found)
            outcome = _outcome(found, total)
            said, tree = compared.beam_search(found)
            if found:
                yield {
                    status: outcome, rows: compared.rows(found, played), summary: compared.summary(summaries),
                    quality: plots.quality_chart(summaries), speed: plots.speed_chart(summaries),
                    download: _file(found, Path(download.GRADIO_CACHE)), results: gr.Column(visible=True),
                    searched: gr.Column(visible=tree is not None), hypotheses: said, beams: tree,
                }  # fmt: skip
            else:
                yield {status: outcome}
        except Exception as error:
            yield {status: status_message(error, "a comparison failed")}
        finally:
            job.stop.set()
        yield {stop: gr.Button(interactive=False)}

    run.click(
        work, [files, references, rows_sent, repeats],
        [status, stop, download, results, summary, quality, speed, rows, searched, hypotheses, beams],
        show_progress="hidden", concurrency_id="compare", concurrency_limit=_IN_LINE, api_visibility="private",
        js="(files, references, _, repeats) => [files, references, nanoasr.settings.rows(), repeats]",
    )  # fmt: skip

    def end(request: gr.Request) -> str:
        jobs.stop(request.session_hash)
        return html.progress("Stopping…", None)

    stop.click(end, outputs=status, queue=False, show_progress="hidden", api_visibility="private")
    for button, changes in zip(presets, offered.values(), strict=True):
        button.click(
            lambda changes=changes: form(preset(changes), access),
            outputs=table,
            show_progress="hidden",
            api_visibility="private",
        )
    folder.upload(_usable, folder, files, show_progress="hidden", api_visibility="private")
    _add_api(model, waiting, max_seconds, access, files, references, repeats)


def _usable(paths: list[str] | None) -> list[str]:
    """The recordings and texts of a folder."""
    return sorted(path for path in paths or [] if Path(path).suffix.lower() in {".txt", *SUFFIXES})


def _how_far(so_far: "_SoFar", total: int) -> str:
    done = len(so_far.found)
    if so_far.before:
        others = f"{so_far.before} other comparison{'' if so_far.before == 1 else 's'}"
        return html.progress(f"In line: {others} before this one…", None)
    said = f"{done} of {total} runs" if done else ""
    return html.progress(f"Comparing… {so_far.loading or said}", done / total if done else None)


def _add_api(
    model: SharedModel, waiting: FairQueue, max_seconds: float, access: Access, files, references, repeats
) -> None:
    """`/compare` for programs."""

    def compare(recordings, references="", repeats=3, settings=None) -> Iterator[dict]:
        """Compare settings, each an object such as {"name": "warm", "temperature": 0.8, "chunk, s": 5}."""
        try:
            comparison = read_comparison(
                recordings, references, settings_of_objects(settings, access), repeats, max_seconds
            )
            stop, found = threading.Event(), []
            for so_far in _compare_in_turn(waiting, model.get(), comparison, max_seconds, stop):
                found = so_far.found
                yield {"done": len(found), "of": comparison.runs}
            yield {
                "results": [_json(result) for result in found],
                "summary": [asdict(summary) for summary in summarize(found)],
            }  # fmt: skip
        except Exception as error:
            raise api_error(error, "a comparison failed") from error

    first = [dict(zip(COLUMNS, row, strict=True)) for row in preset(next(iter(PRESETS.values())))]
    settings, answer = gr.JSON(first, visible=False), gr.JSON(visible=False)
    gr.Button(visible=False).click(
        compare, [files, references, repeats, settings], answer, api_name="compare", concurrency_id="compare",
        concurrency_limit=_IN_LINE,
    )  # fmt: skip


@dataclass(frozen=True)
class _SoFar:
    """Progress of a comparison: its results, how many others come before it, and what is being loaded."""

    found: list[Result]
    before: int = 0
    loading: str | None = None


def _compare_in_turn(
    waiting: FairQueue, asr: Recognizer, comparison: Comparison, max_seconds: float, stop: threading.Event
) -> Iterator[_SoFar]:
    """Compare on a thread of its own, with updates several times a second; setting `stop` or closing it ends it."""
    news: queue.Queue[Result | str | None] = queue.Queue()
    outcome: list[list[Result] | Exception] = []

    def loading(setting: Setting, share: float) -> None:
        what = " as ".join(filter(None, [setting.checkpoint or "the model", setting.quantize]))
        news.put(f"loading {what}" + (f", {share:.0%}" if share else ""))

    def work() -> None:
        try:
            outcome.append(
                compare(
                    asr, comparison.recordings, comparison.settings, comparison.references, comparison.repeats,
                    news.put, stop.is_set, max_seconds, loading,
                )
            )  # fmt: skip
        except Exception as error:
            outcome.append(error)
        except BaseException as error:  # of a native library: Gradio would not answer the request
            outcome.append(RuntimeError(f"{type(error).__name__}: {error}"))
        news.put(None)

    names = [Path(path).name for path in comparison.recordings]
    settings = [setting.name for setting in comparison.settings]

    def order(result: Result) -> tuple[int, int, int]:  # as given, although those that share a model run together
        return names.index(result.recording), settings.index(result.setting.name), result.repeat

    with waiting.place(True) as wait:
        while (before := wait(0.2)) and not stop.is_set():
            yield _SoFar([], before)
        thread = threading.Thread(target=work, name="nanoasr-compare", daemon=True)
        thread.start()
        so_far = _SoFar([])
        try:
            while True:
                for new in _all_news(news):
                    if isinstance(new, Result):
                        so_far = _SoFar(sorted([*so_far.found, new], key=order))
                    elif new is not None:
                        so_far = replace(so_far, loading=new)
                    elif isinstance(outcome[0], Exception):
                        raise outcome[0]
                    else:
                        yield _SoFar(outcome[0])
                        return
                yield so_far  # without news too: so that a visitor who left is noticed
        finally:
            stop.set()
            thread.join()  # before the next in line loads its model


def _all_news(news: "queue.Queue[Result | str | None]") -> list[Result | str | None]:
    """Wait for news and return all there are."""
    found = []
    try:
        found.append(news.get(timeout=0.3))
        while True:
            found.append(news.get(timeout=0.05))
    except queue.Empty:
        return found


def _outcome(found: list[Result], total: int) -> str:
    failed = [result.error for result in found if result.error]
    if len(found) < total:
        return html.message(f"Stopped after {len(found)} of {total} runs. The results so far are kept.", "warning")
    if failed:
        return html.message(f"Done, but {len(failed)} of {total} runs failed: {failed[0]}", "warning")
    return html.message(f"Done: {total} runs.", "done")


def _file(found: list[Result], cache: Path) -> gr.DownloadButton:
    """The button with its file, in the folder for uploads and downloads."""
    path = cache / secrets.token_hex(16) / "comparison.csv"
    path.parent.mkdir(parents=True)
    path.write_text(to_csv(found), encoding="utf-8-sig", newline="")  # the mark lets spreadsheets read it as UTF-8
    return gr.DownloadButton(value=str(path), interactive=True)


def _json(result: Result) -> dict:
    content = {field.name: getattr(result, field.name) for field in fields(result) if field.name != "segments"}
    return content | {"setting": result.setting.name, "real_time_factor": result.real_time_factor}


def _examples() -> list[tuple[list[str], str]]:
    """The example recordings, with their texts where they are known."""
    paths = shipped()
    known = dict(_REFERENCE.findall(licences())) if paths else {}
    return [[[str(path)], known.get(path.name, "")] for path in paths]
