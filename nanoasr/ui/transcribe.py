"""The Transcribe tab: recordings in, text as it is written, and below it everything that can be seen of it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from .. import plots
from ..errors import AudioError
from . import html, knobs, many
from .jobs import FairQueue, Job, Jobs, Update, transcribe_in_turn
from .models import SharedModel
from .problems import api_error, status_message
from .recordings import check_length, licences, offer_examples, title
from .repeating import repeating
from .shown import (
    FORMATS,
    WINDOW,
    FirstExample,
    Shown,
    corrected,
    draw,
    outcome,
    overview,
    pack,
    renamed,
    stem_of,
    unpack,
    what_if,
    write_files,
    write_zip,
)

_IN_LINE = 48  # visitors whose place is shown; more wait in Gradio's queue before
_AT_ONCE = 4  # long recordings, and as many short ones, that take turns on the model, segment by segment
_INVITATION = "Record, upload or drop recordings, or choose an example."
_HOLD = (
    '<button type="button" id="hold" class="hold">Hold to record</button>'
    '<p class="hint">Speak while you hold the button or the R key; letting go transcribes.</p>'
)
_FIND = '<input type="search" id="find" placeholder="Find" aria-label="Find in the text"><span role="status"></span>'


@dataclass(frozen=True)
class Tab:
    """What other parts of the page need; `run(event)` transcribes the recording after an event."""

    recording: gr.Audio
    language: gr.Dropdown
    run: Callable[[gr.events.Dependency], None]


def build(page: gr.Blocks, model: SharedModel, example: FirstExample, max_seconds: float) -> Tab:
    """Build the tab."""
    jobs, waiting = Jobs(), FairQueue(_AT_ONCE)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            gr.HTML(_HOLD, elem_id="hold-box", js_on_load="nanoasr.microphone.hold(element)")
            with gr.Row(elem_id="uploads"):
                upload, folder = (
                    gr.UploadButton(
                        label, type="filepath", file_count=count, elem_id=name, size="sm", min_width=120
                    )
                    for label, count, name in (
                        ("Upload recordings", "multiple", "upload"), ("A whole folder", "directory", "upload-folder"),
                    )
                )  # fmt: skip
            audio = gr.Audio(type="filepath", label="Recording", elem_id="recording", buttons=[], interactive=False)
            examples = offer_examples(audio)
            with gr.Accordion("Settings", open=False, elem_id="settings-drawer"):
                settings = knobs.build()
            recent = gr.HTML(elem_id="recent", js_on_load="nanoasr.recent.show(element, trigger)")
            if examples:
                with gr.Accordion("Sources and licences of the examples", open=False):
                    gr.Markdown(licences())
        with gr.Column(scale=3, min_width=300):
            with gr.Row(elem_id="actions"):
                run = gr.Button("Transcribe", variant="primary", elem_id="transcribe", min_width=120)
                stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop", min_width=90)
            status = gr.HTML(html.message(_INVITATION), elem_id="status")
            with gr.Column(visible=False) as several:
                files = gr.HTML(elem_id="files", js_on_load="nanoasr.files(element, trigger)")
                all_texts = gr.DownloadButton("All texts, one .zip", interactive=False, size="sm", elem_id="zip")
            text = gr.HTML(html.streaming_text(""), elem_id="text", js_on_load="nanoasr.results(trigger)")
            question = gr.HTML(elem_id="question")
            with gr.Row(elem_id="downloads"):
                gr.HTML(_FIND, elem_id="find-box", min_width=140, js_on_load="nanoasr.find(element)")
                copy, correct = (
                    gr.Button(name, size="sm", min_width=60, interactive=False, elem_id=name.lower())
                    for name in ("Copy", "Correct")
                )
                downloads = [
                    gr.DownloadButton(f".{name}", interactive=False, size="sm", min_width=60) for name in FORMATS
                ]
    with gr.Column(visible=False, elem_id="results") as results:
        strip = gr.HTML(elem_id="overview", js_on_load="nanoasr.overview(element, trigger)")
        timeline = gr.Plot(label="On one time axis", show_label=False, elem_id="timeline")
        with gr.Column(visible=False) as searched:
            beams = gr.Plot(label="Beam search", show_label=False, elem_id="beams")
        figures = gr.HTML(elem_id="figures")
        timings = gr.Plot(label="Where the time went", show_label=False, elem_id="timings")
    kept = gr.HTML(visible="hidden", html_template="", js_on_load="nanoasr.recent.keep(props, watch)")
    on_page, batch = gr.State(time_to_live=3600), gr.State([], time_to_live=3600)

    def running(on: bool) -> dict:
        return {run: gr.Button(interactive=not on), stop: gr.Button(interactive=on)}

    def empty() -> dict:
        off = {button: gr.DownloadButton(interactive=False) for button in downloads}
        return {
            text: html.streaming_text(""), results: gr.Column(visible="hidden"), question: "", on_page: None,
            several: gr.Column(visible=False), all_texts: gr.DownloadButton(interactive=False),
            copy: gr.Button(interactive=False), correct: gr.Button(interactive=False), **off,
        }  # fmt: skip

    def written(shown: Shown, keep: bool = True) -> dict:
        found = shown.transcript
        is_text = bool(found.text)
        return {
            text: html.transcript(found), on_page: shown, question: "",
            copy: gr.Button(interactive=is_text), correct: gr.Button(interactive=is_text),
            **write_files(found, stem_of(shown), downloads, FORMATS), **({kept: pack(shown)} if keep else {}),
        }  # fmt: skip

    def measured(shown: Shown) -> dict:
        tree = plots.beam_tree(shown.transcript.segments)
        return {
            figures: html.figures(shown.transcript), timings: plots.timings_bar(shown.transcript.timings),
            searched: gr.Column(visible=tree is not None), beams: tree, timeline: None, strip: "",
            results: gr.Column(visible=True),
        }  # fmt: skip

    def drawn(shown: Shown, whole: plots.Sound) -> dict:
        return {
            strip: html.overview(whole, 0.0, WINDOW), timeline: draw(shown, 0.0, max_seconds, whole)
        }  # fmt: skip

    @repeating
    def work(request: gr.Request, given: str | list[str] | None, *values) -> Iterator[dict]:
        paths = [given] if isinstance(given, str) else sorted(given or [])
        job = jobs.start(request.session_hash, paths)
        try:
            for update in several_steps(job, paths, values) if len(paths) > 1 else steps(job, paths, values):
                if job.abandoned:  # another recording was chosen: these results must not appear beside it
                    break
                yield update
        except Exception as error:
            if not job.abandoned:
                yield {status: status_message(error, "a transcription failed")}
        finally:
            job.stop.set()
        # Gradio repeats the last update as a handler ends: that of an abandoned job must be empty
        yield dict.fromkeys(outputs, gr.skip()) if job.abandoned else running(False)

    def started() -> dict:
        said = html.progress("Waiting for the model…" if model.loading else "Reading the recording…", None)
        return {status: said, **running(True), **empty()}

    def steps(job: Job, paths: list[str], values: tuple) -> Iterator[dict]:
        if not paths:
            raise AudioError("There is no recording yet: record one, upload one, or choose an example.")
        path = paths[0]
        yield started() | {audio: path}
        length = check_length(path, max_seconds)
        options = knobs.options(*values) | {"alternatives": True, "max_seconds": max_seconds}
        began = time.monotonic()
        for update in transcribe_in_turn(waiting, model.get(), path, length, job.stop, **options):
            if update.before:
                began = time.monotonic()
            shown = {status: progress(update, length, time.monotonic() - began)}
            yield shown | ({text: html.streaming_text(update.text)} if update.text else {})
        shown = Shown(path, update.transcript, knobs.prompt(options))
        yield {status: html.progress("Drawing…", None), **written(shown), **measured(shown)}
        whole = overview(shown)
        yield drawn(shown, whole) | {status: outcome(shown.transcript, whole.peak, update.stopped)}

    def several_steps(job: Job, paths: list[str], values: tuple) -> Iterator[dict]:
        yield started() | {audio: None, several: gr.Column(visible=True)}
        options = knobs.options(*values) | {"alternatives": True, "max_seconds": max_seconds}
        items: list[many.Item] = []
        for items, update in many.transcribe_all(waiting, model, paths, job.stop, max_seconds, options):
            done = sum(bool(item.shown or item.error) for item in items)
            said = html.progress(f"{done} of {len(items)} recordings done", done / len(items))
            yield {status: said, files: many.listed(items), text: html.streaming_text(update.text)}
        good = [item.shown for item in items if item.shown]
        failed = sum(bool(item.error) for item in items)
        said = f"Done: {len(good)} of {len(items)} recordings" + (f", {failed} failed." if failed else ".")
        yield {
            status: html.message(said, "done" if len(good) == len(items) else "warning"),
            files: many.listed(items, now=False), batch: [item.shown for item in items],
            all_texts: gr.DownloadButton(
                value=write_zip(good, Path(all_texts.GRADIO_CACHE)) if good else None, interactive=bool(good)
            ),
        }  # fmt: skip
        if good:
            yield open_it(good[0])

    def open_it(shown: Shown, keep: bool = False) -> dict:
        update = {audio: shown.path, **written(shown, keep), **measured(shown)}
        if shown is example.shown:
            return update | {strip: html.overview(example.whole, 0.0, WINDOW), timeline: example.timeline}
        return update | (drawn(shown, overview(shown)) if shown.path else {})

    def first_screen(request: gr.Request, packed: str) -> Iterator[dict]:
        try:
            update = restored(unpack(packed)) if packed else None
        except Exception as error:
            status_message(error, "what a browser kept could not be shown")
            update = None
        while update is None and not example.ready.wait(0.3):
            yield {status: html.progress("Loading the model…", model.share or None)}
        if update is None and (shown := example.shown):
            name, source = title(Path(shown.path)), model.get().info().source.rsplit("/", 1)[-1]
            said = f"An example, transcribed by {source}: “{name}”. {_INVITATION}"
            update = {status: html.message(said), **open_it(shown)}
        # what the visitor has started meanwhile comes first
        yield {status: gr.skip()} if update is None or jobs.has_any(request.session_hash) else update

    def restored(shown: Shown) -> dict:
        gone = "" if shown.path else " Its recording is no longer on the server."
        said = f"From this browser: {shown.transcript.name or 'a recording'}.{gone}"
        return {status: html.message(said), **open_it(shown)}

    def change(shown: Shown | None, event: gr.EventData) -> dict:
        """Apply what a visitor did to the text: corrections, names of speakers, another alternative of a token."""
        try:
            if shown is None:
                raise AudioError("This text was shown too long ago: transcribe the recording again.")
            done = event._data
            if "texts" in done:
                return written(corrected(shown, done["texts"]))
            if "speaker" in done:
                return written(renamed(shown, done["speaker"], done["name"]))
            return {question: what_if(shown, model, done, max_seconds)}
        except Exception as error:
            return {question: status_message(error, "a change failed")}

    def look(shown: Shown | None, event: gr.EventData) -> dict:
        ready = shown is not None and shown.path is not None
        return {timeline: draw(shown, float(event._data["start"]), max_seconds) if ready else gr.skip()}

    def open_row(request: gr.Request, all_shown: list[Shown | None], event: gr.EventData) -> dict:
        shown = dict(enumerate(all_shown)).get(event._data["index"])
        return open_it(shown, keep=True) if shown else {status: gr.skip()}

    def open_recent(request: gr.Request, event: gr.EventData) -> dict:
        try:
            shown = unpack(str(event._data["packed"]))
            jobs.start(request.session_hash, shown.path)
            return {**empty(), **running(False), **restored(shown)}
        except Exception as error:
            return {status: status_message(error, "what a browser kept could not be shown")}

    outputs = [
        status, audio, text, question, results, run, stop, copy, correct, strip, timeline, searched, beams, figures,
        timings, several, files, all_texts, kept, on_page, batch, *downloads,
    ]  # fmt: skip
    quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None, "outputs": outputs}
    wiring = quiet | {"concurrency_id": "transcribe", "concurrency_limit": _IN_LINE}
    last = gr.Textbox(visible=False)  # replaced by what the browser kept last (js=)
    page.load(first_screen, last, js="() => [nanoasr.recent.last()]", **quiet)
    run.click(work, [audio, *settings], **wiring)
    for button in (upload, folder):
        button.upload(work, [button, *settings], trigger_mode="multiple", **wiring)  # another one ends the first
    if examples:
        examples.load_input_event.then(work, [audio, *settings], **wiring)
    text.edit(change, on_page, **quiet)
    strip.release(look, on_page, **quiet | {"trigger_mode": "always_last"})
    files.select(open_row, batch, **quiet)
    recent.select(open_recent, None, **quiet)
    for button, script in ((copy, "nanoasr.copyText('#text')"), (correct, "nanoasr.correct()")):
        button.click(None, js=f"() => {script}", show_progress="hidden", api_visibility="private")

    def end(request: gr.Request) -> str:
        jobs.stop(request.session_hash)
        return html.progress("Stopping after this token…", None)

    stop.click(end, outputs=status, queue=False, show_progress="hidden", api_visibility="private")
    _add_api(model, waiting, max_seconds, [audio, *settings[:-1], gr.JSON(False, visible=False)])
    return Tab(audio, settings[0], lambda event: event.then(work, [audio, *settings], **wiring))


def _add_api(model: SharedModel, waiting: FairQueue, max_seconds: float, inputs: list) -> None:
    """`/transcribe` for programs: the transcript as JSON; partial texts come before it."""

    def transcribe(
        audio, language="auto", hotwords="", itn=True, timestamps=True, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0,
        repetition_penalty=1.0, no_repeat_ngram=0, max_tokens=512, seed=None, beams=1, speakers=False,
    ) -> Iterator[dict]:  # fmt: skip
        """Transcribe a recording: the text, its segments and tokens, and what each stage cost."""
        sampling = temperature, top_k, top_p, min_p, repetition_penalty, no_repeat_ngram, max_tokens, seed, beams
        try:
            if not audio:
                raise AudioError("There is no recording in the request.")
            options = knobs.options(language, hotwords, itn, timestamps, *sampling, speakers)
            length, stop = check_length(audio, max_seconds), threading.Event()
            options["max_seconds"] = max_seconds
            for update in transcribe_in_turn(waiting, model.get(), audio, length, stop, **options):
                done = update.transcript
                yield json.loads(done.to_json()) if done else {"text": update.text, "seconds": update.seconds_done}
        except Exception as error:
            raise api_error(error, "a transcription failed") from error

    answer = gr.JSON(visible=False)
    gr.Button(visible=False).click(
        transcribe, inputs, answer, api_name="transcribe", concurrency_id="transcribe", concurrency_limit=_IN_LINE
    )


def progress(update: Update, length: float | None, spent: float) -> str:
    """The status line during a transcription; `length` of the recording and time `spent` are in seconds."""
    done = update.seconds_done
    if update.before:
        others = f"{update.before} other recording{'' if update.before == 1 else 's'}"
        return html.progress(f"In line: {others} before this one…", None)
    if not length or done > length:
        return html.progress(f"Transcribing… {done:.0f} s done" if done else "Transcribing…", None)
    left = f", about {max(spent / done * (length - done), 1):.0f} s left" if done and spent > 2 else ""
    return html.progress(f"Transcribing… {done:.0f} of {length:.0f} s{left}", done / length)
