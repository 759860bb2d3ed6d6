"""The Live tab: text while somebody speaks. Committed and tentative text look different."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from .. import plots
from ..decode.prompt import split_hotwords
from ..errors import AudioError, NanoASRError
from ..results.transcript import Segment, Transcript, join_texts, write_all
from . import html, microphone
from .knobs import AUTO
from .listening import Heard, Listening, Microphones
from .models import SharedModel

_FORMATS = ("txt", "srt", "vtt", "json")
_AT_ONCE = 8
_EVERY = 0.3  # seconds between two requests with new sound
_PATIENCE = 0.4  # seconds that a request waits for the text of its piece; the browser collects the next meanwhile
_MOST_SHOWN, _MOST_LISTED = 6000, 200  # characters and segments during a session: each update sends all of them
_INVITATION = "Press Start and speak. The sound goes to this server only."


def build(model: SharedModel, tab: gr.Tab, max_seconds: float) -> None:
    """Build the tab."""
    microphones = Microphones(_AT_ONCE)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            with gr.Row():
                start = gr.Button("Start", variant="primary", elem_id="live-start", min_width=120)
                stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="live-stop", min_width=90)
            gr.HTML(microphone.METER, elem_id="level")
            with gr.Accordion("Language and hotwords", open=False):
                language = gr.Dropdown([AUTO], value="auto", label="Language", allow_custom_value=True)
                hotwords = gr.Textbox(
                    "",
                    label="Hotwords",
                    placeholder="names and terms to listen for, separated by commas",
                    max_length=4000,
                )
                itn = gr.Checkbox(True, label="Numbers and dates in figures")
        with gr.Column(scale=3, min_width=300):
            status = gr.HTML(html.message(_INVITATION), elem_id="live-status")
            text = gr.HTML(_text(Heard()), elem_id="live-text")
            figures = gr.HTML(_figures(Heard()), elem_id="live-figures")
            with gr.Row():
                downloads = [
                    gr.DownloadButton(f".{name}", interactive=False, size="sm", min_width=60) for name in _FORMATS
                ]
    segments = gr.HTML(_segments(()), elem_id="live-segments")
    chart = gr.Plot(label="Latency of the text", show_label=False, visible=False, elem_id="latency")

    sound = gr.Textbox(visible=False)  # replaced by the sound of the browser's microphone (js=)
    clock = gr.Timer(_EVERY, active=False)

    def switched(on: bool) -> dict:
        return {start: gr.Button(interactive=not on), stop: gr.Button(interactive=on), clock: gr.Timer(active=on)}

    def begin(request: gr.Request, problem: str, language: str, hotwords: str, itn: bool) -> dict:
        options = {"language": language, "hotwords": split_hotwords(hotwords), "itn": bool(itn)}
        try:
            if problem:
                raise AudioError(problem)
            microphones.start(_visitor(request), lambda: Listening(model.get, max_seconds, **options))
        except NanoASRError as error:
            return switched(False) | {status: html.message(str(error), "error")}
        return switched(True) | {
            status: so_far(Heard()),
            text: _text(Heard()), figures: _figures(Heard()), segments: _segments(()), chart: gr.Plot(visible=False),
            **{button: gr.DownloadButton(interactive=False) for button in downloads},
        }  # fmt: skip

    def hear(request: gr.Request, piece: str) -> dict:
        listening = microphones.of(request.session_hash)
        if not listening or not piece:
            return {status: gr.skip()} if listening else switched(False)
        before = listening.heard
        try:
            heard = listening.hear(microphone.read_piece(piece), _PATIENCE)
        except NanoASRError as error:
            microphones.end(request.session_hash)
            listening.close()
            return switched(False) | {status: html.message(str(error), "error")}
        if listening.over:
            microphones.end(request.session_hash)
            return finished(listening.heard)
        drawn = {chart: drawing(heard)} if len(heard.segments) > len(before.segments) else {}
        return {status: so_far(heard), **seen(heard), **drawn}

    def so_far(heard: Heard) -> str:
        if model.recognizer is None:
            return html.progress("Waiting for the model…", None)
        return html.message(f"Listening… {html.clock(heard.seconds)}{_lost(heard)}", "recording")

    def seen(heard: Heard) -> dict:
        return {text: _text(heard), figures: _figures(heard), segments: _segments(heard.segments)}

    def drawing(heard: Heard) -> gr.Plot:
        return gr.Plot(plots.latency_chart(heard.words, heard.late, heard.seconds), visible=bool(heard.late))

    def finished(heard: Heard) -> dict:
        found = heard.transcript
        shown = switched(False) | {status: _outcome(heard)}
        if not found:
            return shown
        return {
            **shown, text: _text(heard), figures: _figures(heard), segments: _segments(found.segments),
            chart: drawing(heard),
            **_files(found, Path(downloads[0].GRADIO_CACHE), downloads),
        }  # fmt: skip

    def end(request: gr.Request, piece: str) -> Iterator[dict]:
        listening = microphones.of(request.session_hash)
        if not listening:
            yield switched(False)
            return
        yield {stop: gr.Button(interactive=False), status: html.progress("Finishing…", None)}
        try:
            if piece:
                listening.hear(microphone.read_piece(piece))
            listening.finish()
            while not listening.over:
                yield seen(listening.wait(0.25))
            yield finished(listening.heard)
        except NanoASRError as error:
            yield switched(False) | {status: html.message(str(error), "error")}
        finally:
            microphones.end(request.session_hash)
            listening.close()

    shown = [status, text, figures, segments, chart, start, stop, clock, *downloads]
    quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 4 * _AT_ONCE}
    start.click(begin, [sound, language, hotwords, itn], shown, js=microphone.START, **quiet)
    clock.tick(hear, sound, shown, js=microphone.TAKE, trigger_mode="once", **quiet)
    stop.click(end, sound, shown, js=microphone.STOP, **quiet)
    tab.select(lambda: _languages(model), None, language, **quiet)


def _visitor(request: gr.Request) -> str:
    if not request.session_hash:
        raise AudioError("Live transcription needs an open page.")
    return request.session_hash


def _languages(model: SharedModel) -> gr.Dropdown:
    known = model.recognizer.languages if model.recognizer else ()
    return gr.Dropdown([AUTO, *((item.name, item.code) for item in known)])


def _text(heard: Heard) -> str:
    """All text; the box stays scrolled to its end."""
    if heard.transcript:
        parts = [_part("committed", heard.transcript.text)]
    else:
        stands = join_texts([*(segment.text for segment in heard.segments), heard.committed])
        tentative = join_texts([stands, heard.tentative])[len(stands) :] if heard.tentative else ""
        shown = stands if len(stands) <= _MOST_SHOWN else "…" + stands[-_MOST_SHOWN:]
        parts = [_part("committed", shown), _part("tentative", tentative)]
    shown = "".join(parts) or '<span class="nothing">The text appears here.</span>'
    legend = '<span class="committed">final</span><span class="tentative">may still change</span>'
    return (
        f'<div class="legend">{legend}</div>'
        f'<div class="live-text" tabindex="0" role="log" aria-label="Text"><div>{shown}</div></div>'
    )


def _part(kind: str, text: str) -> str:
    return f'<span class="{kind}">{html.escape(text)}</span>' if text else ""


def _figures(heard: Heard) -> str:
    """Latencies of the text, as a row of figures."""
    cost, waits = heard.latency, sorted(heard.waits)
    shown = [
        (_seconds(cost.first_text), "of speech before the first text"),
        (_seconds(waits[len(waits) // 2] if waits else None), "from the end of a word until it is final (median)"),
        (_seconds(heard.late[-1][1] if heard.late else None), "of work for the last update"),
        (f"{cost.work / cost.audio:.2f}" if cost.audio else "–", "s of work per s of speech"),
        (f"{cost.accepted / cost.drafted:.0%}" if cost.drafted else "–", "of drafted tokens accepted"),
    ]
    cells = "".join(f"<div><b>{value}</b><span>{html.escape(name)}</span></div>" for value, name in shown)
    return f'<div class="figures">{cells}</div>'


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _lost(heard: Heard) -> str:
    return f" · {max(heard.lost, 0.1):.1f} s of sound were lost on the way" if heard.lost else ""


def _segments(found: tuple[Segment, ...]) -> str:
    """The finished segments, the newest first."""
    items = "".join(
        f'<li><span class="time">{html.clock(segment.start)}–{html.clock(segment.end)}</span>'
        f"<span>{html.escape(segment.text)}</span></li>"
        for segment in reversed(found[-_MOST_LISTED:])
    )
    return f'<ol class="segments">{items}</ol>' if items else ""


def _outcome(heard: Heard) -> str:
    if heard.problem:
        return html.message(heard.problem, "warning" if heard.transcript else "error")
    if not heard.transcript:
        return html.message("No sound came from the microphone. Is it on, and may this page use it?", "warning")
    if not heard.transcript.text:
        return html.message(f"No words were recognized in {heard.seconds:.0f} s. Is the microphone too far?", "warning")
    return html.message(f"Done: {heard.seconds:.1f} s{_lost(heard)}. The text can be downloaded below.", "done")


def _files(found: Transcript, cache: Path, buttons: list[gr.DownloadButton]) -> dict:
    """The download buttons with their files, in the folder for uploads and downloads."""
    paths = write_all(found, cache / secrets.token_hex(16), "live", _FORMATS)
    return {
        button: gr.DownloadButton(value=str(path), interactive=True)
        for button, path in zip(buttons, paths, strict=True)
    }
