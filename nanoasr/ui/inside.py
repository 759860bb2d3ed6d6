"""The Inside tab: one recording followed through the network, step by step."""

import json
import secrets
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import gradio as gr
import mlx.core as mx
import numpy as np

from .. import backend, plots
from ..audio.sound import describe_sound
from ..decode.sampling import Sampling
from ..errors import AudioEmptyError, AudioError, NanoASRError, OptionError
from ..introspection.reruns import Patch, silence
from ..plots.style import bin_frequencies
from ..recognizer import Recognizer
from . import html
from .compared import marked
from .inside_steps import outline, thumbnails, views
from .inside_views import Look, said
from .jobs import Jobs
from .models import SharedModel
from .problems import api_error, status_message
from .recordings import excerpt, offer_examples
from .repeating import repeating

_SECONDS = 15  # the length of a segment
_TEXT = Sampling(max_tokens=200)  # more than anybody says in that time
_ALL_HEADS = -1
_INVITATION = "Choose a recording, then press Look inside."
_PARTS = ("story", "text", "sound", "answer")


@dataclass(frozen=True)
class _Seen:
    """What a visitor inspected last, kept for other layers and silenced patches."""

    recognizer: "weakref.ref[Recognizer]"  # weak: a replaced model must not stay in memory
    look: dict
    run: str


def build(model: SharedModel, max_seconds: float) -> gr.Audio:
    """Build the tab. Return its recording."""
    jobs = Jobs()
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            audio = gr.Audio(
                sources=["upload", "microphone"], type="filepath", label="Recording", elem_id="inside-recording",
                buttons=[],
            )  # fmt: skip
        with gr.Column(scale=2, min_width=300):
            offer_examples(audio)
            start = gr.Number(
                0, label="Start, s", elem_id="inside-start",
                info=f"Up to {_SECONDS} seconds from here are followed through the network.",
            )  # fmt: skip
            run = gr.Button("Look inside", variant="primary", elem_id="look-inside")
    status = gr.HTML(html.message(_INVITATION), elem_id="inside-status")
    gr.HTML("<div id='story' hidden></div>")  # inside.js fills it with what these bring
    parts = {name: gr.HTML(elem_id=f"inside-{name}", visible="hidden") for name in _PARTS}
    ask = gr.Button(visible="hidden", elem_id="inside-ask")
    request, seen = gr.Textbox(visible=False), gr.State(time_to_live=3600)

    @repeating
    def work(asking: gr.Request, path: str | None, start: float | None) -> Iterator[dict]:
        job = jobs.start(asking.session_hash, path)
        try:
            for update in steps(path, start):
                if job.abandoned:  # another recording was chosen, or a look begun anew: these results are not wanted
                    newer = jobs.has_any(asking.session_hash)
                    yield dict.fromkeys(outputs, gr.skip()) if newer else cleared()
                    return
                yield update
        except Exception as error:
            if not job.abandoned:
                yield {status: status_message(error, "an inspection failed")}

    def steps(path: str | None, start: float | None) -> Iterator[dict]:
        yield {status: html.progress("Waiting for the model…" if model.loading else "Looking…", None), **empty()}
        recognizer, samples = model.get(), _samples(path, start, max_seconds)
        look, about = Look(recognizer, recognizer.inspect(samples)), {"run": secrets.token_hex(4)}
        shown = views(look)
        story = about | {
            "start": float(start or 0),
            "seconds": look.seconds,
            "steps": outline(look),
            "hz": bin_frequencies().tolist(),
        }
        yield {
            parts["story"]: _carried(story | {"thumbnails": thumbnails(look)}, shown),
            status: html.progress("Transcribing and reading attention weights…", None),
        }
        found = recognizer.transcribe(samples, sampling=_TEXT, alternatives=True)
        kept = replace(look, recognizer=None, x=replace(look.x, ctc_logprobs=None), found=found)
        look = replace(look, found=found)
        late = views(look, lambda view: view.name not in shown or view.name == "fire")
        text = about | {"tokens": said(look), "text": found.text, "thumbnails": thumbnails(look)}
        yield {
            parts["text"]: _carried(text, late), seen: _Seen(weakref.ref(recognizer), vars(kept), about["run"]),
            status: html.progress("Analysing the sound…", None),
        }  # fmt: skip
        look = replace(look, sound=describe_sound(samples))
        yield {
            parts["sound"]: _carried(about, views(look, lambda view: view.name == "sound")),
            status: html.message(f"{look.seconds:.1f} s, step by step.", "done"),
        }

    def empty() -> dict:
        return {part: "" for part in parts.values()}

    def cleared() -> dict:
        return {status: html.message(_INVITATION), **empty()}

    def answer(kept: _Seen | None, request: str) -> dict:
        """Draw another layer's attention, or decode with a part of the sound silenced."""
        try:
            recognizer = kept.recognizer() if kept else None
            if recognizer is None or recognizer is not model.recognizer:
                raise NanoASRError("Another model was loaded: press Look inside again.")
            return {parts["answer"]: _answer(Look(**kept.look | {"recognizer": recognizer}), json.loads(request), kept)}
        except Exception as error:
            return {status: status_message(error, "looking again failed")}

    def choose(asking: gr.Request, path: str | None) -> dict:
        if not jobs.choose(asking.session_hash, path):
            return {status: gr.skip()}
        return cleared()

    outputs = [status, seen, *parts.values()]
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    run.click(work, [audio, start], outputs, trigger_mode="multiple", concurrency_limit=2, **quiet)
    audio.change(choose, audio, [status, *parts.values()], concurrency_limit=None, **quiet)
    ask.click(
        answer, [seen, request], [status, parts["answer"]], concurrency_limit=4, trigger_mode="always_last",
        js="() => [null, nanoasr.inside.request()]", **quiet,
    )  # fmt: skip
    _add_api(model, audio, start, max_seconds)
    return audio


def _answer(look: Look, request: dict, kept: _Seen) -> str:
    about = {"run": kept.run, "asked": request.get("asked")}
    if "patch" in request:
        patch = Patch(*(float(value) for value in request["patch"][:2]), *(int(bin) for bin in request["patch"][2:]))
        text = backend.run(silence, look.recognizer.model_family, look.x, patch).text
        before = look.found.text
        changed = marked(before, text) if text != before else f"<p>The same text: {html.escape(text)}</p>"
        return _carried(about | {"patched": changed}, {})
    name, layer = str(request["view"]), int(request["layer"])
    return _carried(about, views(replace(look, layers={name: layer}), lambda view: name in (view.name, view.layers_of)))


def _carried(about: dict, shown: dict[str, str]) -> str:
    """Data for inside.js, as an element that shows nothing."""
    figures = ", ".join(f"{json.dumps(name)}: {view}" for name, view in shown.items())
    data = f'{json.dumps(about)[:-1]}, "views": {{{figures}}}}}'
    return f'<script type="application/json">{data.replace("<", chr(92) + "u003c")}</script>'


def _add_api(model: SharedModel, audio: gr.Audio, start: gr.Number, max_seconds: float) -> None:
    """`/inspect` for programs."""

    def inspect(audio, start=0, layer=-1, head=-1, text_layer=-1, text_head=-1) -> dict:
        """Inspect a recording: shapes, tokens, and attention weights; of Fun-ASR-Nano also the prompt and where the
        language model attended to.

        By default, attention is that of the last layers, averaged over heads.
        """
        try:
            recognizer, samples = model.get(), _samples(audio, start, max_seconds)
            x = recognizer.inspect(samples)
            written = recognizer.transcribe(samples, sampling=_TEXT).tokens
            found = {
                "seconds": len(samples) / recognizer.sample_rate,
                "shapes": {name: [*value.shape] for name, value in vars(x).items() if value is not None},
                "tokens": [asdict(token) for token in written],
                "attention": _rows(recognizer.attention(x, round(layer)), head),
            }
            if recognizer.family == "nano":
                first = len(x.prefix_ids)
                text = recognizer.text_attention(x, round(text_layer), written)
                found |= {
                    "prefix_ids": x.prefix_ids.tolist(),
                    "suffix_ids": x.suffix_ids.tolist(),
                    "audio_positions": [first, first + len(x.audio_tokens) - 1],
                    "text_attention": _rows(text.audio, text_head),
                }
            return found
        except Exception as error:
            raise api_error(error, "an inspection failed") from error

    names = ("Layer of the encoder", "Its head", "Layer of the language model", "Its head")
    knobs = [gr.Number(-1, precision=0, label=name, visible=False) for name in names]
    gr.Button(visible=False).click(
        inspect, [audio, start, *knobs], gr.JSON(visible=False), api_name="inspect", concurrency_limit=2
    )


def _samples(path: str | None, start: float | None, max_seconds: float) -> np.ndarray:
    if not path:
        raise AudioError("There is no recording yet: upload one, record one, or choose an example.")
    start = float(start or 0)
    if not 0 <= start <= max_seconds:
        raise OptionError(f"start={start:g}: must be from 0 to {max_seconds:g} seconds.")
    samples = excerpt(path, start, _SECONDS, max_seconds)
    if not len(samples):
        raise AudioEmptyError(f"The recording ends before second {start:g}: start earlier.")
    return samples


def _rows(weights: mx.array, head: int) -> list[list[float]]:
    return plots.one_head(weights, None if head == _ALL_HEADS else head).round(5).tolist()
