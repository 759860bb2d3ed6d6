"""The Transcribe tab: a recording in, text as it is written, and under it everything that can be seen of it."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from .. import plots
from ..audio.vad import SILENCE
from ..decode.prompt import split_hotwords
from ..decode.sampling import Sampling
from ..errors import AudioError, NanoASRError
from ..results.transcript import Transcript, write_all
from . import html
from .jobs import Stops, Turns, Update, transcribe_in_turn
from .models import SharedModel
from .problems import api_error, status_message
from .recordings import check_length, licences, offer_examples, shipped
from .repeating import repeating

AUTO = ("Let the model tell", "auto")
_FORMATS = ("txt", "srt", "vtt", "json")
_IN_LINE = 48  # visitors whose place is shown; more wait in Gradio's queue before
_AT_ONCE = 4  # long recordings, and as many short ones, that take turns on the model, segment by segment
_DEFAULTS = Sampling()


def build(model: SharedModel, max_seconds: float) -> tuple[gr.Audio, gr.Dropdown]:
    """Lay the tab out and wire it. -> the recording and the languages, which other parts of the page need."""
    stops, turns = Stops(), Turns(_AT_ONCE)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            audio = gr.Audio(
                sources=["upload", "microphone"], type="filepath", label="Recording", elem_id="recording", buttons=[]
            )
            examples = offer_examples(audio)
            if examples:
                with gr.Accordion("Sources and licences", open=False):
                    gr.Markdown(licences())
            language = gr.Dropdown([AUTO], value="auto", label="Language", allow_custom_value=True)
            hotwords = gr.Textbox(
                "",  # not None: API callers may then leave it out
                label="Hotwords",
                placeholder="names and terms to listen for, with commas between",
                max_length=4000,
            )
            with gr.Row():
                itn = gr.Checkbox(True, label="Numbers and dates in figures", min_width=140)
                timestamps = gr.Checkbox(True, label="Times for words", min_width=140)
            with gr.Accordion("Sampling: how the next token is chosen", open=False):
                knobs, reset = _sampling_knobs()
        with gr.Column(scale=3, min_width=300):
            with gr.Row():
                run = gr.Button("Transcribe", variant="primary", elem_id="transcribe", min_width=120)
                stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop", min_width=90)
            status = gr.HTML(html.message("Choose a recording or record one, then press Transcribe."), elem_id="status")
            text = gr.Textbox(
                label="Text", lines=7, max_lines=7, interactive=False, buttons=["copy"], elem_id="text", autoscroll=True
            )
            with gr.Row():
                downloads = [
                    gr.DownloadButton(f".{name}", interactive=False, size="sm", min_width=60) for name in _FORMATS
                ]
    with gr.Column(visible="hidden", elem_id="results") as results:
        tokens = gr.HTML(elem_id="tokens")
        player = gr.HTML(elem_id="player")
        segments = gr.HTML(elem_id="segments")
        timeline = gr.Plot(label="On one time axis", show_label=False, elem_id="timeline")
        figures = gr.HTML(elem_id="figures")
        timings = gr.Plot(label="Where the time went", show_label=False, elem_id="timings")

    inputs = [audio, language, hotwords, itn, timestamps, *knobs]

    @repeating
    def work(request: gr.Request, path, *settings) -> Iterator[dict]:
        visitor, job = request.session_hash, threading.Event()
        try:
            if not path:
                raise AudioError("There is no recording yet: upload one, record one, or click an example.")
            job = stops.start(visitor)
            yield {
                status: html.progress("Waiting for the model…" if model.loading else "Listening…", None),
                text: "", results: gr.Column(visible="hidden"), stop: gr.Button(interactive=True),
                **{button: gr.DownloadButton(interactive=False) for button in downloads},
            }  # fmt: skip
            options = _options(*settings) | {"alternatives": True, "max_seconds": max_seconds}
            began, length = time.monotonic(), check_length(path, max_seconds)
            for update in transcribe_in_turn(turns, model.get(), path, length, job, **options):
                if update.before:
                    began = time.monotonic()
                yield {text: update.text, status: how_far(update, length, time.monotonic() - began)}
            found = update.transcript
            yield {
                text: found.text, status: html.progress("Drawing…", None), tokens: html.tokens(found),
                player: html.player(path), segments: html.segments(found), figures: html.figures(found.timings),
                timings: plots.timings_bar(found.timings), timeline: None, results: gr.Column(visible=True),
                **_files(found, Path(downloads[0].GRADIO_CACHE), downloads),
            }  # fmt: skip
            heard = plots.sound(path, found.duration)
            yield {timeline: plots.timeline(heard, found), status: _outcome(found, heard, update.stopped)}
        except Exception as error:
            yield {status: status_message(error, "a transcription failed")}
        finally:
            job.set()
            stops.end(visitor, job)
        yield {stop: gr.Button(interactive=False)}

    outputs = [status, text, results, stop, tokens, player, segments, timeline, figures, timings, *downloads]
    wiring = {
        "inputs": inputs, "outputs": outputs, "show_progress": "minimal", "show_progress_on": status,
        "concurrency_id": "transcribe", "concurrency_limit": _IN_LINE, "api_visibility": "private",
    }  # fmt: skip
    run.click(work, **wiring)
    if examples:
        examples.load_input_event.then(work, **wiring)

    def end(request: gr.Request) -> str:
        stops.stop(request.session_hash)
        return html.progress("Stopping after this token…", None)

    stop.click(end, outputs=status, queue=False, show_progress="hidden", api_visibility="private")
    reset.click(lambda: [getattr(_DEFAULTS, name) for name in _KNOBS], outputs=knobs, api_visibility="private")
    _add_api(model, turns, max_seconds, inputs)
    return audio, language


def warm_up(model: SharedModel) -> None:
    """Do once what a recording takes, so that the first visitor need not wait for all that is slow the first time."""
    recordings = shipped()
    try:
        if recordings:
            path = str(min(recordings, key=lambda path: path.stat().st_size))
            found = model.get().transcribe(path, sampling=Sampling(max_tokens=4), alternatives=True)
            plots.timeline(plots.sound(path, found.duration), found).to_json()
            plots.timings_bar(found.timings).to_json()
    except NanoASRError:
        pass  # there is no model; the page says so


_KNOBS = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram", "max_tokens", "seed",
)  # fmt: skip


def _sampling_knobs() -> tuple[list[gr.components.Component], gr.Button]:
    """The knobs in the order of `_KNOBS`, and the button that resets them."""
    knobs = [
        gr.Slider(0, 2, _DEFAULTS.temperature, step=0.05, label="Temperature",
                  info="0 always takes the likeliest token; above, tokens are drawn, the more freely the higher."),
        gr.Slider(0, 200, _DEFAULTS.top_k, step=1, label="Top-k", info="Draw from the k likeliest only; 0 is all."),
        gr.Slider(0.05, 1, _DEFAULTS.top_p, step=0.01, label="Top-p",
                  info="Draw from the likeliest that together hold this probability; 1 is all."),
        gr.Slider(0, 1, _DEFAULTS.min_p, step=0.01, label="Min-p",
                  info="Draw from those at least this share as likely as the likeliest; 0 is all."),
        gr.Slider(0.5, 2, _DEFAULTS.repetition_penalty, step=0.05, label="Repetition penalty",
                  info="Above 1 makes the last 64 tokens less likely to come again."),
        gr.Slider(0, 10, _DEFAULTS.no_repeat_ngram, step=1, label="No-repeat n-gram",
                  info="Never write the same n tokens in a row twice; 0 allows it."),
        gr.Slider(1, 2048, _DEFAULTS.max_tokens, step=1, label="Most tokens", info="For one segment."),
        gr.Number(_DEFAULTS.seed, precision=0, label="Seed",
                  info="The same seed gives the same text; empty draws anew each time."),
    ]  # fmt: skip
    return knobs, gr.Button("Reset", size="sm", elem_id="reset")


def _options(language: str | None, hotwords: str | None, itn: bool, timestamps: bool, *knobs: float) -> dict:
    """What the page's inputs mean to `transcribe`."""
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


def how_far(update: Update, length: float | None, spent: float) -> str:
    """What the page says meanwhile; `length` of the recording and `spent` so far in seconds."""
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
        return html.message("Stopped. What was done until then stays.", "warning")
    if not found.segments:
        silent = f"The recording is silent: {found.duration:.1f} s with nothing to hear. Is the microphone on?"
        speechless = f"Nobody speaks in these {found.duration:.1f} s, as far as can be heard."
        return html.message(silent if heard.peak < SILENCE else speechless, "warning")
    if found.repetition_stopped:
        return html.message("Done, but the model began to repeat itself; a segment is marked.", "warning")
    if any(segment.truncated for segment in found.segments):
        return html.message("Done, but a segment reached the most tokens allowed: some text may be missing.", "warning")
    if not found.text:
        return html.message("The model wrote nothing for this recording.", "warning")
    return html.message(f"Done: {found.duration:.1f} s of audio in {found.timings.total:.2f} s.", "done")


def _files(found: Transcript, cache: Path, buttons: list[gr.DownloadButton]) -> dict:
    """The download buttons with their files, which lie in Gradio's own folder and are deleted with the rest of it."""
    folder = cache / secrets.token_hex(16)
    paths = write_all(found, folder, Path(found.name or "transcript").stem or "transcript", _FORMATS)
    return {
        button: gr.DownloadButton(value=str(path), interactive=True)
        for button, path in zip(buttons, paths, strict=True)
    }
