"""The Inside tab: one recording followed through the network, stage by stage."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import gradio as gr
import mlx.core as mx
import numpy as np

from .. import plots
from ..decode.sampling import Sampling
from ..errors import AudioEmptyError, AudioError, NanoASRError, OptionError
from ..families.base import Inspection
from ..introspection.attention import TextAttention
from ..recognizer import Recognizer
from ..results.transcript import Token
from . import html
from .models import SharedModel
from .problems import api_error, status_message
from .recordings import excerpt, offer_examples
from .repeating import repeating

_SECONDS = 15  # as long as a segment is
_TEXT = Sampling(max_tokens=200)  # nobody says more in that time
_ALL_HEADS = -1
_WHAT = {
    "samples": "the sound: 16,000 numbers a second",
    "filterbank": "how loud 80 mel bands are, in the log, every 10 ms",
    "features": "seven filterbank frames stacked, every 60 ms: a low frame rate",
    "encoded": "the encoder's view of each frame, with its surroundings taken in",
    "adapted": "the same, in the space that the language model reads",
    "audio_tokens": "those of the adapted frames that the language model is given",
    "ctc_logprobs": "how likely each text unit is at each frame, by the CTC branch",
    "prefix_ids": "ids of the prompt before the audio",
    "suffix_ids": "ids of the prompt after it",
    "first_logits": "a score for every token to be the first of the text",
}


@dataclass(frozen=True)
class _Seen:
    """What a visitor looked at last, kept so that another layer or head is there at once."""

    recognizer: "weakref.ref[Recognizer]"  # weak: a model that was replaced must not stay in memory
    x: Inspection
    tokens: tuple[Token, ...]


def build(model: SharedModel, max_seconds: float) -> gr.Audio:
    """Lay the tab out and wire it. -> its recording."""
    gr.Markdown(f"Follow up to {_SECONDS} seconds of a recording through the network.")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            audio = gr.Audio(
                sources=["upload", "microphone"], type="filepath", label="Recording", elem_id="inside-recording",
                buttons=[],
            )  # fmt: skip
            offer_examples(audio)
            start = gr.Number(0, minimum=0, label="From second", info="Where in the recording to begin.")
            run = gr.Button("Look inside", variant="primary", elem_id="look-inside")
            status = gr.HTML(html.message("Choose a recording, then press Look inside."), elem_id="inside-status")
        with gr.Column(scale=3, min_width=300):
            shapes = gr.HTML(elem_id="shapes")
    with gr.Column(visible="hidden", elem_id="stages") as stages:
        _note("**Prompt.** What the language model reads, id by id; the audio stands in the middle.")
        prompt = gr.HTML(elem_id="prompt")
        filterbank = _stage("**Filterbank.** The sound as the network hears it: energy in 80 mel bands against time.")
        with gr.Row():
            with gr.Column(min_width=300):
                features = _stage(
                    "**LFR features.** Seven of those frames stacked every 60 ms: six times fewer frames."
                )
            with gr.Column(min_width=300):
                encoded = _stage("**Encoder output.** Each row is a dimension, red above and blue below its own mean.")
        with gr.Row():
            with gr.Column(min_width=300):
                frames = _Attention(
                    "encoder",
                    "**Attention in the encoder.** Each row is a frame, and bright are the frames that it draws on.",
                )
            with gr.Column(min_width=300):
                similar = _stage("**Similarity.** How alike the encoder's frames are; squares are sounds that last.")
        with gr.Row():
            with gr.Column(min_width=300):
                adapted = _stage(
                    "**Adaptor output.** What is passed to the language model; with a low rate of audio tokens only "
                    "the frames left of the green line are."
                )
            with gr.Column(min_width=300):
                first = _stage("**First token.** What the model would write first, before it has written anything.")
        with gr.Row():
            with gr.Column(min_width=300):
                text = _Attention(
                    "text",
                    "**Attention from the text to the audio.** Each row is a token of the text, and bright are the "
                    "audio tokens that the model looks at while it chooses it; white lines: when the CTC branch "
                    "heard it.",
                )
                shares = gr.HTML(elem_id="attention-shares")
            with gr.Column(min_width=300, visible="hidden") as ctc_part:
                ctc = _stage("**CTC posteriors.** Which text units the CTC branch hears when; mostly it hears blank.")
    seen = gr.State(time_to_live=3600)

    @repeating
    def work(path: str | None, start: float | None) -> Iterator[dict]:
        try:
            yield {status: html.progress("Waiting for the model…" if model.loading else "Looking…", None)}
            recognizer, samples = model.get(), _samples(path, start, max_seconds)
            found = recognizer.inspect(samples)
            posteriors = plots.ctc_map(found, _unit_name(recognizer))
            yield {
                status: html.progress("Reading the text and where the model looks…", None),
                shapes: _shapes(found), stages: gr.Column(visible=True), prompt: _prompt(found, recognizer),
                filterbank: plots.filterbank_map(found), features: plots.features_map(found),
                encoded: plots.encoded_map(found), adapted: plots.adapted_map(found),
                similar: plots.similarity_map(found), first: plots.first_token_bar(found, _token_name(recognizer)),
                ctc: posteriors, ctc_part: gr.Column(visible="hidden" if posteriors is None else True),
            }  # fmt: skip
            written = recognizer.transcribe(samples, sampling=_TEXT).tokens
            config = recognizer.checkpoint.model.config
            kept = _Seen(weakref.ref(recognizer), replace(found, ctc_logprobs=None), written)
            yield {
                status: html.message(f"{len(samples) / recognizer.sample_rate:.1f} s, stage by stage.", "done"),
                seen: kept,
                **frames.knobs(recognizer.encoder_layers, config.encoder.attention_heads),
                **text.knobs(recognizer.text_layers, config.llm.num_attention_heads),
                **draw_frames(kept, -1, _ALL_HEADS), **draw_text(kept, -1, _ALL_HEADS),
            }  # fmt: skip
        except Exception as error:
            yield {status: status_message(error, "an inspection failed")}

    def draw_frames(kept: _Seen, layer: float, head: int) -> dict:
        weights = _same_model(kept).attention(kept.x, round(layer))
        return {frames.plot: plots.attention_map(kept.x, weights, _head(head))}

    def draw_text(kept: _Seen, layer: float, head: int) -> dict:
        found = _same_model(kept).text_attention(kept.x, round(layer), kept.tokens)
        return {text.plot: plots.text_attention_map(kept.x, found, _head(head)), shares: _shares(kept.x, found)}

    def _same_model(kept: _Seen | None) -> Recognizer:
        recognizer = kept.recognizer() if kept else None
        if recognizer is None or recognizer is not model.recognizer:
            raise NanoASRError("The model is another one by now: press Look inside once more.")
        return recognizer

    def redraw(draw: Callable[[_Seen, float, int], dict]) -> Callable[[_Seen, float, int], dict]:
        def handler(kept: _Seen, layer: float, head: int) -> dict:
            try:
                return draw(kept, layer, head)
            except Exception as error:
                return {status: status_message(error, "drawing attention failed")}

        return handler

    outputs = [
        status, shapes, stages, prompt, filterbank, features, encoded, adapted, similar, first, ctc, ctc_part,
        seen, shares, *frames.parts, *text.parts,
    ]  # fmt: skip
    run.click(
        work, [audio, start], outputs, show_progress="minimal", show_progress_on=status, concurrency_limit=2,
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


def _add_api(model: SharedModel, audio: gr.Audio, start: gr.Number, max_seconds: float) -> None:
    """`/inspect` for programs."""

    def inspect(audio, start=0, layer=-1, head=-1, text_layer=-1, text_head=-1) -> dict:
        """Look inside: shapes, prompt, tokens, and where a layer of the encoder and of the language model look.

        The last layers, and the mean of their heads, if nothing else is asked for.
        """
        try:
            recognizer, samples = model.get(), _samples(audio, start, max_seconds)
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
        raise AudioError("There is no recording yet: upload one, record one, or click an example.")
    start = float(start or 0)
    if not 0 <= start <= max_seconds:
        raise OptionError(f"From second {start:g}: must be from 0 to {max_seconds:g}.")
    samples = excerpt(path, start, _SECONDS, max_seconds)
    if not len(samples):
        raise AudioEmptyError(f"The recording is over before second {start:g}: begin earlier.")
    return samples


def _rows(weights: mx.array, head: int) -> list[list[float]]:
    return plots.one_head(weights, _head(head)).round(5).tolist()


class _Attention:
    """A map of attention with its two knobs."""

    def __init__(self, name: str, note: str):
        _note(note)
        with gr.Row(elem_classes="attention-knobs"):
            self.layer = gr.Slider(
                0, 1, 0, step=1, label="Layer", info="0 is the first.", elem_id=f"{name}-layer", min_width=200,
                buttons=[],
            )  # fmt: skip
            self.head = gr.Dropdown([("all, averaged", _ALL_HEADS)], value=_ALL_HEADS, label="Head", min_width=140,
                info="Each looks for something else.", elem_id=f"{name}-head",
            )  # fmt: skip
        self.plot = gr.Plot(show_label=False, elem_classes="stage", elem_id=f"{name}-attention")
        self.parts = (self.layer, self.head, self.plot)

    def knobs(self, layers: int, heads: int) -> dict:
        """The knobs for a model of so many layers and heads, at its last layer and all heads."""
        choices = [("all, averaged", _ALL_HEADS), *((str(head), head) for head in range(heads))]
        layer = gr.Slider(maximum=layers - 1, value=layers - 1, interactive=layers > 1)
        return {self.layer: layer, self.head: gr.Dropdown(choices, value=_ALL_HEADS)}


def _head(head: int) -> int | None:
    return None if head == _ALL_HEADS else head


def _shares(x: Inspection, found: TextAttention) -> str:
    if not found.tokens:
        return html.message("Nothing was written for this recording, so there is nothing to look from.", "warning")
    shares = plots.attention_shares(x, found)
    listed = ", ".join(f"{share:.0%} to {part}" for part, share in shares.items())
    return f'<div class="legend"><span>Where this layer looks, on average: {html.escape(listed)}.</span></div>'


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
