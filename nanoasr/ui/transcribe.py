"""The Transcribe tab: a recording in, text as it is written, and below it everything that can be seen of it."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from .. import plots
from ..audio.vad import SILENCE
from ..decode.prompt import split_hotwords
from ..decode.sampling import Sampling
from ..errors import AudioError
from ..results.transcript import Transcript, write_all
from . import html
from .jobs import Job, Jobs, Turns, Update, transcribe_in_turn
from .models import SharedModel
from .problems import api_error, status_message, user_message
from .recordings import check_length, licences, offer_examples, shipped, title
from .repeating import repeating

AUTO = ("Detect automatically", "auto")
_FORMATS = ("txt", "srt", "vtt", "tsv", "json")
_IN_LINE = 48  # visitors whose place is shown; more wait in Gradio's queue before
_AT_ONCE = 4  # long recordings, and as many short ones, that take turns on the model, segment by segment
_DEFAULTS = Sampling()
_INVITATION = "Record, upload or drop a recording, or choose an example."
_COPY = "() => nanoasr.copyText('#text')"


@dataclass(frozen=True)
class _Shown:
    """A finished transcription as the page shows it."""

    path: str
    transcript: Transcript
    sound: plots.Sound


class FirstExample:
    """The best example, transcribed once at the start: the page opens with it, and later work need not warm up."""

    def __init__(self, model: SharedModel):
        self._model = model
        self.ready = threading.Event()
        self.shown: _Shown | None = None

    def prepare(self) -> None:
        """Transcribe the example; without a model the page opens empty."""
        try:
            if paths := shipped():
                found = self._model.get().transcribe(str(paths[0]), alternatives=True)
                self.shown = _Shown(str(paths[0]), found, plots.sound(paths[0], found.duration))
        except Exception as error:
            user_message(error, "the first example failed")
        finally:
            self.ready.set()


def build(
    page: gr.Blocks, model: SharedModel, example: FirstExample, max_seconds: float
) -> tuple[gr.Audio, gr.Dropdown]:
    """Build the tab. Return the recording and the languages, which other parts of the page need."""
    jobs, turns = Jobs(), Turns(_AT_ONCE)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            upload = gr.UploadButton("Upload a recording", type="filepath", elem_id="upload", variant="secondary")
            audio = gr.Audio(
                sources=["microphone"], type="filepath", label="Recording", elem_id="recording", buttons=[]
            )
            examples = offer_examples(audio)
            with gr.Accordion("Settings", open=False, elem_id="settings-drawer"):
                language = gr.Dropdown([AUTO], value="auto", label="Language", allow_custom_value=True)
                hotwords = gr.Textbox(
                    "",  # not None: API callers may then leave it out
                    label="Hotwords",
                    placeholder="names and terms to listen for, separated by commas",
                    max_length=4000,
                )
                itn = gr.Checkbox(True, label="Numbers and dates in figures")
                timestamps = gr.Checkbox(True, label="Times for words")
                with gr.Accordion("Sampling: how the next token is chosen", open=False):
                    knobs, reset = _sampling_knobs()
            if examples:
                with gr.Accordion("Sources and licences of the examples", open=False):
                    gr.Markdown(licences())
        with gr.Column(scale=3, min_width=300):
            with gr.Row():
                run = gr.Button("Transcribe", variant="primary", elem_id="transcribe", min_width=120)
                stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop", min_width=90)
            status = gr.HTML(html.message(_INVITATION), elem_id="status")
            text = gr.HTML(html.streaming_text(""), elem_id="text")
            with gr.Row(elem_id="downloads"):
                copy = gr.Button("Copy", size="sm", min_width=60, interactive=False, elem_id="copy")
                downloads = [
                    gr.DownloadButton(f".{name}", interactive=False, size="sm", min_width=60) for name in _FORMATS
                ]
    with gr.Column(visible=False, elem_id="results") as results:
        timeline = gr.Plot(label="On one time axis", show_label=False, elem_id="timeline")
        figures = gr.HTML(elem_id="figures")
        timings = gr.Plot(label="Where the time went", show_label=False, elem_id="timings")

    inputs = [audio, language, hotwords, itn, timestamps, *knobs]

    def running(on: bool) -> dict:
        return {run: gr.Button(interactive=not on), stop: gr.Button(interactive=on)}

    def empty() -> dict:
        off = {button: gr.DownloadButton(interactive=False) for button in downloads}
        return {
            text: html.streaming_text(""),
            results: gr.Column(visible="hidden"),
            copy: gr.Button(interactive=False),
            **off,
        }

    def cleared() -> dict:
        return {status: html.message(_INVITATION), **running(False), **empty()}

    def written(found: Transcript) -> dict:
        return {
            text: html.transcript(found), figures: html.figures(found.timings),
            timings: plots.timings_bar(found.timings), timeline: None, results: gr.Column(visible=True),
            copy: gr.Button(interactive=bool(found.text)),
            **_files(found, Path(downloads[0].GRADIO_CACHE), downloads),
        }  # fmt: skip

    @repeating
    def work(request: gr.Request, path: str | None, *settings) -> Iterator[dict]:
        job = jobs.start(request.session_hash, path)
        try:
            for update in steps(job, path, settings):
                if job.abandoned:  # another recording was chosen: these results must not appear beside it
                    break
                yield update
        except Exception as error:
            if not job.abandoned:
                yield {status: status_message(error, "a transcription failed")}
        finally:
            job.stop.set()
        if not job.abandoned:
            yield running(False)
        elif jobs.has_any(request.session_hash):  # Gradio repeats the last update as a handler ends: it must be empty
            yield dict.fromkeys(outputs, gr.skip())
        else:  # an update may have been under way as the page was cleared
            yield cleared()

    def steps(job: Job, path: str | None, settings: tuple) -> Iterator[dict]:
        if not path:
            raise AudioError("There is no recording yet: record one, upload one, or choose an example.")
        waiting = html.progress("Waiting for the model…" if model.loading else "Reading the recording…", None)
        yield {status: waiting, **running(True), **empty()}
        length = check_length(path, max_seconds)
        options = _options(*settings) | {"alternatives": True, "max_seconds": max_seconds}
        began = time.monotonic()
        for update in transcribe_in_turn(turns, model.get(), path, length, job.stop, **options):
            if update.before:
                began = time.monotonic()
            shown = {status: progress(update, length, time.monotonic() - began)}
            yield shown | ({text: html.streaming_text(update.text)} if update.text else {})
        found = update.transcript
        yield {status: html.progress("Drawing…", None), **written(found)}
        sound = plots.sound(path, found.duration)
        yield {timeline: plots.timeline(sound, found), status: _outcome(found, sound, update.stopped)}

    def show_example(request: gr.Request) -> Iterator[dict]:
        while not example.ready.wait(0.3):
            yield {status: html.progress("Loading the model…", model.share or None)}
        shown = example.shown
        if jobs.has_any(request.session_hash):
            yield {status: gr.skip()}
            return
        if shown is None:
            yield {status: html.message(_INVITATION)}
            return
        jobs.start(request.session_hash, shown.path)
        name = title(Path(shown.path))
        said = f"An example, transcribed by {model.get().info().source.rsplit('/', 1)[-1]}: “{name}”. {_INVITATION}"
        yield {
            audio: shown.path, status: html.message(said), **written(shown.transcript),
            timeline: plots.timeline(shown.sound, shown.transcript),
        }  # fmt: skip

    def choose(request: gr.Request, path: str | None) -> dict:
        if not jobs.choose(request.session_hash, path):
            return {status: gr.skip()}
        return cleared()

    outputs = [status, text, results, run, stop, copy, timeline, figures, timings, *downloads]
    wiring = {
        "inputs": inputs, "outputs": outputs, "show_progress": "hidden", "concurrency_id": "transcribe",
        "concurrency_limit": _IN_LINE, "api_visibility": "private",
    }  # fmt: skip
    quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    page.load(show_example, None, [audio, *outputs], **quiet)
    audio.change(choose, audio, outputs, **quiet)
    run.click(work, **wiring)
    audio.stop_recording(work, **wiring)
    upload.upload(lambda path: path, upload, audio, **quiet).then(work, **wiring)
    if examples:
        examples.load_input_event.then(work, **wiring)
    copy.click(None, js=_COPY, **quiet)

    def end(request: gr.Request) -> str:
        jobs.stop(request.session_hash)
        return html.progress("Stopping after this token…", None)

    stop.click(end, outputs=status, queue=False, show_progress="hidden", api_visibility="private")
    reset.click(lambda: [getattr(_DEFAULTS, name) for name in _KNOBS], outputs=knobs, api_visibility="private")
    _add_api(model, turns, max_seconds, inputs)
    return audio, language


_KNOBS = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram", "max_tokens", "seed",
)  # fmt: skip


def _sampling_knobs() -> tuple[list[gr.components.Component], gr.Button]:
    """Return the inputs in the order of `_KNOBS`, and the button that resets them."""
    knobs = [
        gr.Slider(0, 2, _DEFAULTS.temperature, step=0.05, label="Temperature",
                  info="0 always takes the likeliest token; higher values draw more freely."),
        gr.Slider(0, 200, _DEFAULTS.top_k, step=1, label="Top-k", info="Draw from the k likeliest; 0 means all."),
        gr.Slider(0.05, 1, _DEFAULTS.top_p, step=0.01, label="Top-p",
                  info="Draw from the likeliest tokens that together have this probability; 1 means all."),
        gr.Slider(0, 1, _DEFAULTS.min_p, step=0.01, label="Min-p",
                  info="Draw from tokens at least this fraction as likely as the likeliest; 0 means all."),
        gr.Slider(0.5, 2, _DEFAULTS.repetition_penalty, step=0.05, label="Repetition penalty",
                  info="Above 1 makes the last 64 tokens less likely to be repeated."),
        gr.Slider(0, 10, _DEFAULTS.no_repeat_ngram, step=1, label="No-repeat n-gram",
                  info="Never repeat a sequence of n tokens; 0 means no limit."),
        gr.Slider(1, 2048, _DEFAULTS.max_tokens, step=1, label="Maximum tokens", info="In one segment."),
        gr.Number(_DEFAULTS.seed, precision=0, label="Seed",
                  info="The same seed gives the same text; leave it empty for a new draw each time."),
    ]  # fmt: skip
    return knobs, gr.Button("Reset", size="sm", elem_id="reset")


def _options(language: str | None, hotwords: str | None, itn: bool, timestamps: bool, *knobs: float) -> dict:
    """Convert the page's inputs to options of `transcribe`."""
    values = dict(zip(_KNOBS, knobs, strict=True))
    for name in ("top_k", "no_repeat_ngram", "max_tokens"):
        values[name] = round(values[name])
    return {
        "language": language, "hotwords": split_hotwords(hotwords), "itn": bool(itn), "timestamps": bool(timestamps),
        "sampling": Sampling(**values),
    }  # fmt: skip


def _add_api(model: SharedModel, turns: Turns, max_seconds: float, inputs: list) -> None:
    """`/transcribe` for programs: the transcript as JSON; partial texts come before it."""

    def transcribe(
        audio, language="auto", hotwords="", itn=True, timestamps=True, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0,
        repetition_penalty=1.0, no_repeat_ngram=0, max_tokens=512, seed=None,
    ) -> Iterator[dict]:  # fmt: skip
        """Transcribe a recording: the text, its segments and tokens, and what each stage cost."""
        knobs = temperature, top_k, top_p, min_p, repetition_penalty, no_repeat_ngram, max_tokens, seed
        try:
            if not audio:
                raise AudioError("There is no recording in the request.")
            options = _options(language, hotwords, itn, timestamps, *knobs) | {"max_seconds": max_seconds}
            length, stop = check_length(audio, max_seconds), threading.Event()
            for update in transcribe_in_turn(turns, model.get(), audio, length, stop, **options):
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


def _outcome(found: Transcript, heard: plots.Sound, stopped: bool) -> str:
    if stopped:
        return html.message("Stopped. The text so far is kept.", "warning")
    if not found.segments:
        silent = f"The recording is silent: {found.duration:.1f} s without sound. Is the microphone on?"
        speechless = f"No speech was found in these {found.duration:.1f} s."
        return html.message(silent if heard.peak < SILENCE else speechless, "warning")
    if found.repetition_stopped:
        return html.message("Done, but the model began to repeat itself; a segment is marked.", "warning")
    if any(segment.truncated for segment in found.segments):
        return html.message("Done, but a segment reached the limit of tokens: some text may be missing.", "warning")
    if not found.text:
        return html.message("The model wrote nothing for this recording.", "warning")
    return html.message(f"Done: {found.duration:.1f} s of audio in {found.timings.total:.2f} s.", "done")


def _files(found: Transcript, cache: Path, buttons: list[gr.DownloadButton]) -> dict:
    """The download buttons with their files, in the folder for uploads and downloads."""
    folder = cache / secrets.token_hex(16)
    paths = write_all(found, folder, Path(found.name or "transcript").stem or "transcript", _FORMATS)
    return {
        button: gr.DownloadButton(value=str(path), interactive=True)
        for button, path in zip(buttons, paths, strict=True)
    }
