"""The Inside tab: one recording followed through the network, stage by stage."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import gradio as gr
import mlx.core as mx
import numpy as np

from .. import plots
from ..audio.sound import describe_sound
from ..decode.sampling import Sampling
from ..errors import AudioEmptyError, AudioError, NanoASRError, OptionError
from ..families.base import Inspection
from ..introspection.attention import TextAttention
from ..recognizer import Recognizer
from ..results.transcript import Token
from . import html
from .jobs import Jobs
from .models import SharedModel
from .problems import api_error, status_message
from .recordings import excerpt, offer_examples
from .repeating import repeating

_SECONDS = 15  # the length of a segment
_TEXT = Sampling(max_tokens=200)  # more than anybody says in that time
_ALL_HEADS = -1
_INVITATION = "Choose a recording, then press Look inside."
_WHAT = {
    "samples": "the waveform: 16,000 samples per second",
    "filterbank": "log energy of 80 mel bands, every 10 ms",
    "features": "seven filterbank frames stacked, every 60 ms (low frame rate)",
    "encoded": "hidden states of the encoder: each frame with its context",
    "adapted": "the same, projected into the embedding space of the language model",
    "audio_tokens": "the adapted frames that the language model is given",
    "ctc_logprobs": "log probabilities of the text units at each frame, from the CTC branch",
    "prefix_ids": "ids of the prompt before the audio",
    "suffix_ids": "ids of the prompt after it",
    "first_logits": "logits of the first token of the text",
}


@dataclass(frozen=True)
class _Inspected:
    """What a visitor inspected last, kept so that another layer or head can be drawn at once."""

    recognizer: "weakref.ref[Recognizer]"  # weak: a replaced model must not stay in memory
    x: Inspection
    tokens: tuple[Token, ...]


def build(model: SharedModel, max_seconds: float) -> gr.Audio:
    """Build the tab. Return its recording."""
    jobs = Jobs()
    gr.Markdown(f"Follow up to {_SECONDS} seconds of a recording through the network.")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            audio = gr.Audio(
                sources=["upload", "microphone"], type="filepath", label="Recording", elem_id="inside-recording",
                buttons=[],
            )  # fmt: skip
            offer_examples(audio)
            start = gr.Number(
                0, label="Start, s", info="Second of the recording at which to begin.", elem_id="inside-start"
            )
            run = gr.Button("Look inside", variant="primary", elem_id="look-inside")
            status = gr.HTML(html.message(_INVITATION), elem_id="inside-status")
        with gr.Column(scale=3, min_width=300):
            shapes = gr.HTML(elem_id="shapes")
    with gr.Column(visible=False, elem_id="stages") as stages:
        _note("**Prompt.** The input of the language model, token by token; the audio is in the middle.")
        prompt = gr.HTML(elem_id="prompt")
        filterbank = _stage("**Filterbank.** The input of the network: energy in 80 mel bands over time.")
        with gr.Column(visible=False) as acoustics_part:
            acoustics = _stage("**Sound.** Pitch (pYIN), level and spectral centroid; vertical lines are onsets.")
        with gr.Row():
            with gr.Column(min_width=300):
                features = _stage(
                    "**LFR features.** Seven of those frames stacked, every 60 ms: six times fewer frames."
                )
            with gr.Column(min_width=300):
                encoded = _stage("**Encoder output.** Each row is a dimension: red is above its mean, blue below.")
        with gr.Row():
            with gr.Column(min_width=300):
                frames = _Attention(
                    "encoder",
                    "**Attention in the encoder.** Each row is a frame, bright the frames that it attends to.",
                )
            with gr.Column(min_width=300):
                similar = _stage("**Similarity** of the encoder's frames (cosine). Squares are sounds that last.")
        with gr.Row():
            with gr.Column(min_width=300):
                adapted = _stage(
                    "**Adaptor output.** The embeddings for the language model; with a low rate of audio tokens, only "
                    "the frames left of the green line are used."
                )
            with gr.Column(min_width=300):
                first = _stage("**First token.** Probabilities of the first token of the text.")
        with gr.Row():
            with gr.Column(min_width=300):
                text = _Attention(
                    "text",
                    "**Attention from the text to the audio.** Each row is a token of the text; bright columns are the "
                    "audio tokens that the model attends to as it chooses the token. White lines: its time according "
                    "to the CTC branch.",
                )
                shares = gr.HTML(elem_id="attention-shares")
            with gr.Column(min_width=300, visible=False) as ctc_part:
                ctc = _stage("**CTC posteriors.** Probabilities of text units over time; most frames are blank.")
    seen = gr.State(time_to_live=3600)

    @repeating
    def work(request: gr.Request, path: str | None, start: float | None) -> Iterator[dict]:
        job = jobs.start(request.session_hash, path)
        try:
            for update in steps(path, start):
                if job.abandoned:  # another recording was chosen: these results must not appear beside it
                    yield cleared()
                    return
                yield update
        except Exception as error:
            if not job.abandoned:
                yield {status: status_message(error, "an inspection failed")}

    def steps(path: str | None, start: float | None) -> Iterator[dict]:
        yield {status: html.progress("Waiting for the model…" if model.loading else "Looking…", None)}
        recognizer, samples = _nano(model.get()), _samples(path, start, max_seconds)
        found = recognizer.inspect(samples)
        posteriors = plots.ctc_map(found, _unit_name(recognizer))
        yield {
            status: html.progress("Transcribing and reading attention weights…", None),
            shapes: _shapes(found), stages: gr.Column(visible=True), prompt: _prompt(found, recognizer),
            filterbank: plots.filterbank_map(found), features: plots.features_map(found),
            encoded: plots.encoded_map(found), adapted: plots.adapted_map(found),
            similar: plots.similarity_map(found), first: plots.first_token_bar(found, _token_name(recognizer)),
            ctc: posteriors, ctc_part: gr.Column(visible=posteriors is not None),
        }  # fmt: skip
        written = recognizer.transcribe(samples, sampling=_TEXT).tokens
        config = recognizer.checkpoint.model.config
        kept = _Inspected(weakref.ref(recognizer), replace(found, ctc_logprobs=None), written)
        seconds = len(samples) / recognizer.sample_rate
        yield {
            status: html.progress("Analysing the sound…", None),
            seen: kept,
            **frames.knobs(recognizer.encoder_layers, config.encoder.attention_heads),
            **text.knobs(recognizer.text_layers, config.llm.num_attention_heads),
            **draw_frames(kept, -1, _ALL_HEADS), **draw_text(kept, -1, _ALL_HEADS),
        }  # fmt: skip
        yield {
            acoustics: plots.acoustics_chart(describe_sound(samples), seconds),
            acoustics_part: gr.Column(visible=True),
            status: html.message(f"{seconds:.1f} s, stage by stage.", "done"),
        }

    def cleared() -> dict:
        return {status: html.message(_INVITATION), stages: gr.Column(visible=False), shapes: ""}

    def draw_frames(kept: _Inspected, layer: float, head: int) -> dict:
        weights = _same_model(kept).attention(kept.x, round(layer))
        return {frames.plot: plots.attention_map(kept.x, weights, _head(head))}

    def draw_text(kept: _Inspected, layer: float, head: int) -> dict:
        found = _same_model(kept).text_attention(kept.x, round(layer), kept.tokens)
        return {text.plot: plots.text_attention_map(kept.x, found, _head(head)), shares: _shares(kept.x, found)}

    def _same_model(kept: _Inspected | None) -> Recognizer:
        recognizer = kept.recognizer() if kept else None
        if recognizer is None or recognizer is not model.recognizer:
            raise NanoASRError("Another model was loaded: press Look inside again.")
        return recognizer

    def redraw(draw: Callable[[_Inspected, float, int], dict]) -> Callable[[_Inspected, float, int], dict]:
        def handler(kept: _Inspected, layer: float, head: int) -> dict:
            try:
                return draw(kept, layer, head)
            except Exception as error:
                return {status: status_message(error, "drawing attention failed")}

        return handler

    def choose(request: gr.Request, path: str | None) -> dict:
        if not jobs.choose(request.session_hash, path):
            return {status: gr.skip()}
        return cleared()

    outputs = [
        status, shapes, stages, prompt, filterbank, acoustics, acoustics_part, features, encoded, adapted, similar,
        first, ctc, ctc_part, seen, shares, *frames.parts, *text.parts,
    ]  # fmt: skip
    run.click(
        work, [audio, start], outputs, show_progress="hidden", concurrency_limit=2, api_visibility="private",
    )  # fmt: skip
    audio.change(
        choose, audio, [status, stages, shapes], show_progress="hidden", concurrency_limit=None,
        api_visibility="private",
    )  # fmt: skip
    for attention, draw, drawn in ((frames, draw_frames, [frames.plot]), (text, draw_text, [text.plot, shares])):
        gr.on(
            [attention.layer.input, attention.head.input], redraw(draw), [seen, attention.layer, attention.head],
            [status, *drawn], trigger_mode="always_last", show_progress="hidden", concurrency_limit=4,
            api_visibility="private",
        )  # fmt: skip
    _add_api(model, audio, start, max_seconds)
    return audio


def _nano(recognizer: Recognizer) -> Recognizer:
    if recognizer.family != "nano":
        raise OptionError(
            f"this page shows Fun-ASR-Nano from inside, and a {recognizer.family} checkpoint is loaded; "
            "Recognizer.inspect returns its stages in Python"
        )
    return recognizer


def _add_api(model: SharedModel, audio: gr.Audio, start: gr.Number, max_seconds: float) -> None:
    """`/inspect` for programs."""

    def inspect(audio, start=0, layer=-1, head=-1, text_layer=-1, text_head=-1) -> dict:
        """Inspect a recording: shapes, prompt, tokens, and attention weights of the encoder and the language model.

        By default, attention is that of the last layers, averaged over heads.
        """
        try:
            recognizer, samples = _nano(model.get()), _samples(audio, start, max_seconds)
            x = recognizer.inspect(samples)
            written = recognizer.transcribe(samples, sampling=_TEXT).tokens
            text = recognizer.text_attention(x, round(text_layer), written)
            first = len(x.prefix_ids)
            return {
                "seconds": len(samples) / recognizer.sample_rate,
                "shapes": {name: [*value.shape] for name, value in vars(x).items() if value is not None},
                "prefix_ids": x.prefix_ids.tolist(),
                "suffix_ids": x.suffix_ids.tolist(),
                "audio_positions": [first, first + len(x.audio_tokens) - 1],
                "tokens": [asdict(token) for token in written],
                "attention": _rows(recognizer.attention(x, round(layer)), head),
                "text_attention": _rows(text.audio, text_head),
            }
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
    return plots.one_head(weights, _head(head)).round(5).tolist()


class _Attention:
    """An attention map with its two inputs."""

    def __init__(self, name: str, note: str):
        _note(note)
        with gr.Row(elem_classes="attention-knobs"):
            self.layer = gr.Slider(
                0, 1, 0, step=1, label="Layer", info="0 is the first.", elem_id=f"{name}-layer", min_width=200,
                buttons=[],
            )  # fmt: skip
            self.head = gr.Dropdown([("all, averaged", _ALL_HEADS)], value=_ALL_HEADS, label="Head", min_width=140,
                info="Heads attend to different things.", elem_id=f"{name}-head",
            )  # fmt: skip
        self.plot = gr.Plot(show_label=False, elem_classes="stage", elem_id=f"{name}-attention")
        self.parts = (self.layer, self.head, self.plot)

    def knobs(self, layers: int, heads: int) -> dict:
        """Set the inputs up for a model: its last layer, and all heads."""
        choices = [("all, averaged", _ALL_HEADS), *((str(head), head) for head in range(heads))]
        layer = gr.Slider(maximum=layers - 1, value=layers - 1, interactive=layers > 1)
        return {self.layer: layer, self.head: gr.Dropdown(choices, value=_ALL_HEADS)}


def _head(head: int) -> int | None:
    return None if head == _ALL_HEADS else head


def _shares(x: Inspection, found: TextAttention) -> str:
    if not found.tokens:
        return html.message("The model wrote no text for this recording, so there is no attention from it.", "warning")
    shares = plots.attention_shares(x, found)
    listed = ", ".join(f"{share:.0%} to {part}" for part, share in shares.items())
    return f'<div class="legend"><span>Attention of this layer, on average: {html.escape(listed)}.</span></div>'


def _note(text: str) -> gr.Markdown:
    return gr.Markdown(text, elem_classes="stage-note")


def _stage(text: str) -> gr.Plot:
    _note(text)
    return gr.Plot(show_label=False, elem_classes="stage")


def _shapes(found: Inspection) -> str:
    values = {name: getattr(found, name) for name in _WHAT}
    rows = [(name, " × ".join(map(str, x.shape)), _WHAT[name]) for name, x in values.items() if x is not None]
    return html.table(("Stage", "Shape", "What it is"), rows)


def _prompt(found: Inspection, recognizer: Recognizer) -> str:
    name = _token_name(recognizer)
    before, after = ([(i, name(i)) for i in ids.tolist()] for ids in (found.prefix_ids, found.suffix_ids))
    return html.prompt(before, found.audio_tokens.shape[0], after)


def _token_name(recognizer: Recognizer) -> Callable[[int], str]:
    tokenizer = recognizer.checkpoint.tokenizer
    return lambda i: html.visible(tokenizer.decode([i]) or tokenizer.token(i))


def _unit_name(recognizer: Recognizer) -> Callable[[int], str]:
    units = recognizer.model_family.ctc_tokens
    return (lambda i: html.visible(units.decode([i]))) if units else (lambda i: "unit")
