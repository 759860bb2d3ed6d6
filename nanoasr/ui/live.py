"""The Live tab: text while somebody speaks. Committed and tentative text look different."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from .. import plots
from ..decode.prompt import split_hotwords
from ..errors import AudioError, NanoASRError
from ..results.transcript import Segment, join_texts
from . import html, microphone
from .knobs import AUTO
from .listening import LiveState, Microphones, MicrophoneSession
from .models import SharedModel
from .shown import write_files

_FORMATS = ("txt", "srt", "vtt", "json")
_AT_ONCE = 8
_EVERY = 0.3  # seconds between two requests with new sound
_PATIENCE = 0.4  # seconds that a request waits for the text of its piece; the browser collects the next meanwhile
_MOST_SHOWN, _MOST_LISTED = 6000, 200  # characters and segments during a session: each update sends all of them
_INVITATION = "Press Start and speak. The sound goes to this server only."


@dataclass(frozen=True)
class Tab:
    """What other parts of the page need: the kept sound, and the buttons that open it elsewhere."""

    recording: gr.Audio
    to_transcribe: gr.Button
    to_inside: gr.Button


def build(model: SharedModel, tab: gr.Tab, max_seconds: float) -> Tab:
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
            text = gr.HTML(_text(LiveState()), elem_id="live-text")
            figures = gr.HTML(_figures(LiveState()), elem_id="live-figures")
            with gr.Row():
                copy = gr.Button("Copy", size="sm", min_width=60, interactive=False, elem_id="live-copy")
                downloads = [
                    gr.DownloadButton(f".{name}", interactive=False, size="sm", min_width=60) for name in _FORMATS
                ]
            with gr.Column(visible=False) as after:
                recording = gr.Audio(
                    type="filepath", label="What the microphone heard", elem_id="live-recording", buttons=[],
                    interactive=False,
                )  # fmt: skip
                with gr.Row():
                    to_transcribe, to_inside = (
                        gr.Button(f"Open in {name}", size="sm", min_width=120, elem_id=f"to-{name.lower()}")
                        for name in ("Transcribe", "Inside")
                    )
    segments = gr.HTML(_segments(()), elem_id="live-segments")
    with gr.Accordion("How late each word came, as a chart", open=False, visible=False, elem_id="latency-fold") as fold:
        chart = gr.Plot(label="Latency of the text", show_label=False, elem_id="latency")

    sound = gr.Textbox(visible=False)  # replaced by the sound of the browser's microphone (js=)
    clock = gr.Timer(_EVERY, active=False)

    def switched(on: bool) -> dict:
        return {start: gr.Button(interactive=not on), stop: gr.Button(interactive=on), clock: gr.Timer(active=on)}

    def begin(request: gr.Request, problem: str, language: str, hotwords: str, itn: bool) -> dict:
        options = {"language": language, "hotwords": split_hotwords(hotwords), "itn": bool(itn)}
        try:
            if problem:
                raise AudioError(problem)
            path = Path(copy.GRADIO_CACHE, secrets.token_hex(16), "live.wav")
            microphones.start(_visitor(request), lambda: MicrophoneSession(model.get, max_seconds, path, **options))
        except NanoASRError as error:
            return switched(False) | {status: html.message(str(error), "error")}
        return switched(True) | {
            status: so_far(LiveState()),
            text: _text(LiveState()), figures: _figures(LiveState()), segments: _segments(()),
            fold: gr.Accordion(visible=False), copy: gr.Button(interactive=False), after: gr.Column(visible=False),
            recording: None,
            **{button: gr.DownloadButton(interactive=False) for button in downloads},
        }  # fmt: skip

    def hear(request: gr.Request, piece: str) -> dict:
        listening = microphones.of(request.session_hash)
        if not listening or not piece:
            return {status: gr.skip()} if listening else switched(False)
        before = listening.state
        try:
            state = listening.push(microphone.read_piece(piece), _PATIENCE)
        except NanoASRError as error:
            microphones.end(request.session_hash)
            listening.close()
            return switched(False) | {status: html.message(str(error), "error")}
        if listening.over:
            microphones.end(request.session_hash)
            return finished(listening)
        drawn = drawing(state) if len(state.segments) > len(before.segments) else {}
        return {status: so_far(state), **seen(state), **drawn}

    def so_far(state: LiveState) -> str:
        if model.recognizer is None:
            return html.progress("Waiting for the model…", None)
        return html.message(f"Listening… {html.clock(state.seconds)}{_lost(state)}", "recording")

    def seen(state: LiveState) -> dict:
        return {text: _text(state), figures: _figures(state), segments: _segments(state.segments)}

    def drawing(state: LiveState) -> dict:
        figure = plots.latency_chart(state.words, state.late, state.seconds)
        return {chart: figure, fold: gr.Accordion(visible=bool(state.late))}

    def finished(listening: MicrophoneSession) -> dict:
        state = listening.state
        found = state.transcript
        shown = switched(False) | {status: _outcome(state)}
        if not found:
            return shown
        return {
            **shown, **drawing(state), text: _text(state), figures: _figures(state),
            segments: _segments(found.segments, can_play=True), copy: gr.Button(interactive=bool(found.text)),
            after: gr.Column(visible=True), recording: str(listening.path),
            **write_files(found, "live", downloads, _FORMATS),
        }  # fmt: skip

    def end(request: gr.Request, piece: str) -> Iterator[dict]:
        listening = microphones.of(request.session_hash)
        if not listening:
            yield switched(False)
            return
        yield {stop: gr.Button(interactive=False), status: html.progress("Finishing…", None)}
        try:
            if piece:
                listening.push(microphone.read_piece(piece))
            listening.finish()
            while not listening.over:
                yield seen(listening.wait(0.25))
            yield finished(listening)
        except NanoASRError as error:
            yield switched(False) | {status: html.message(str(error), "error")}
        finally:
            microphones.end(request.session_hash)
            listening.close()

    shown = [
        status, text, figures, segments, fold, chart, start, stop, clock, copy, after, recording, *downloads
    ]  # fmt: skip
    quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 4 * _AT_ONCE}
    start.click(begin, [sound, language, hotwords, itn], shown, js=microphone.START, **quiet)
    clock.tick(hear, sound, shown, js=microphone.TAKE, trigger_mode="once", **quiet)
    stop.click(end, sound, shown, js=microphone.STOP, **quiet)
    tab.select(lambda: _languages(model), None, language, **quiet)
    scripts = {copy: "copyText('#live-text')", to_transcribe: "go('#transcribe')", to_inside: "go('#inside')"}
    for button, script in scripts.items():
        button.click(None, js=f"() => nanoasr.{script}", show_progress="hidden", api_visibility="private")
    return Tab(recording, to_transcribe, to_inside)


def _visitor(request: gr.Request) -> str:
    if not request.session_hash:
        raise AudioError("Live transcription needs an open page.")
    return request.session_hash


def _languages(model: SharedModel) -> gr.Dropdown:
    known = model.recognizer.languages if model.recognizer else ()
    return gr.Dropdown([AUTO, *((item.name, item.code) for item in known)])


def _text(state: LiveState) -> str:
    """All text; the box stays scrolled to its end."""
    if state.transcript:
        parts = [_part("committed", state.transcript.text)]
    else:
        stands = join_texts([*(segment.text for segment in state.segments), state.committed])
        tentative = join_texts([stands, state.tentative])[len(stands) :] if state.tentative else ""
        shown = stands if len(stands) <= _MOST_SHOWN else "…" + stands[-_MOST_SHOWN:]
        parts = [_part("committed", shown), _part("tentative", tentative)]
    copied = html.escape(state.transcript.text) if state.transcript else ""
    shown = "".join(parts) or '<span class="nothing">The text appears here.</span>'
    legend = '<span class="committed">final</span><span class="tentative">may still change</span>'
    return (
        f'<div class="legend">{legend}</div>'
        f'<div class="live-text" tabindex="0" role="log" aria-label="Text">'
        f'<div data-text="{copied}">{shown}</div></div>'
    )


def _part(kind: str, text: str) -> str:
    return f'<span class="{kind}">{html.escape(text)}</span>' if text else ""


def _figures(state: LiveState) -> str:
    """Latencies of the text, as a row of figures."""
    cost, waits = state.latency, sorted(state.waits)
    shown = [
        (_seconds(cost.first_text), "of speech until the first text"),
        (_seconds(waits[len(waits) // 2] if waits else None), "from a word to its final text, in the middle"),
        (_seconds(state.late[-1][1] if state.late else None), "to compute the last update"),
        (_seconds(cost.work / cost.audio if cost.audio else None), "of computing for a second of speech"),
        (f"{cost.accepted / cost.drafted:.0%}" if cost.drafted else "–", "of its guesses of the text were right"),
    ]
    cells = "".join(f"<div><b>{value}</b><span>{html.escape(name)}</span></div>" for value, name in shown)
    return f'<div class="figures">{cells}</div>'


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _lost(state: LiveState) -> str:
    return f" · {max(state.lost, 0.1):.1f} s of sound were lost on the way" if state.lost else ""


def _segments(found: tuple[Segment, ...], can_play: bool = False) -> str:
    """The finished segments, the newest first; they can be played once the sound is complete."""
    items = "".join(
        f"<li>{_time(segment, can_play)}<span>{html.escape(segment.text)}</span></li>"
        for segment in reversed(found[-_MOST_LISTED:])
    )
    return f'<ol class="segments">{items}</ol>' if items else ""


def _time(segment: Segment, can_play: bool) -> str:
    span = f"{html.clock(segment.start)}–{html.clock(segment.end)}"
    if not can_play:
        return f'<span class="time">{span}</span>'
    times = f'data-start="{segment.start:.3f}" data-end="{segment.end:.3f}"'
    return f'<button type="button" class="time small" {times} aria-label="Play {span}">▶ {span}</button>'


def _outcome(state: LiveState) -> str:
    if state.problem:
        return html.message(state.problem, "warning" if state.transcript else "error")
    if not state.transcript:
        return html.message("No sound came from the microphone. Is it on, and may this page use it?", "warning")
    if not state.transcript.text:
        return html.message(f"No words were recognized in {state.seconds:.0f} s. Is the microphone too far?", "warning")
    return html.message(
        f"Done: {state.seconds:.1f} s{_lost(state)}. The text can be saved and the segments played below.", "done"
    )
