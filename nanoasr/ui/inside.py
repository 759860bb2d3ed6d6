"""The Inside tab: one recording followed through the network, stage by stage."""

import logging
from collections.abc import Callable, Iterator

import gradio as gr

from .. import plots
from ..errors import AudioEmptyError, AudioError, NanoASRError
from ..recognizer import Inspection, Recognizer
from . import html
from .models import SharedModel
from .recordings import excerpt, offer_examples

_SECONDS = 15  # as long as a segment is
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
log = logging.getLogger(__name__)


def build(model: SharedModel) -> gr.Audio:
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
    with gr.Column(visible=False, elem_id="stages") as stages:
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
                adapted = _stage(
                    "**Adaptor output.** What is passed to the language model; with a low rate of audio tokens only "
                    "the frames left of the green line are."
                )
            with gr.Column(min_width=300):
                first = _stage("**First token.** What the model would write first, before it has written anything.")
        with gr.Row():
            with gr.Column(min_width=300):
                similar = _stage("**Similarity.** How alike the encoder's frames are; squares are sounds that last.")
            with gr.Column(min_width=300, visible=False) as ctc_part:
                ctc = _stage("**CTC posteriors.** Which text units the CTC branch hears when; mostly it hears blank.")

    def work(path: str | None, start: float | None) -> Iterator[dict]:
        try:
            if not path:
                raise AudioError("There is no recording yet: upload one, record one, or click an example.")
            yield {status: html.progress("Waiting for the model…" if model.loading else "Looking…", None)}
            recognizer = model.get()
            samples = excerpt(path, start or 0, _SECONDS)
            if not len(samples):
                raise AudioEmptyError(f"The recording is over before second {start:g}: begin earlier.")
            found = recognizer.inspect(samples)
            posteriors = plots.ctc_map(found, _unit_name(recognizer))
            yield {
                status: html.message(f"{len(samples) / recognizer.sample_rate:.1f} s, stage by stage.", "done"),
                shapes: _shapes(found), stages: gr.Column(visible=True), prompt: _prompt(found, recognizer),
                filterbank: plots.filterbank_map(found), features: plots.features_map(found),
                encoded: plots.encoded_map(found), adapted: plots.adapted_map(found),
                similar: plots.similarity_map(found), first: plots.first_token_bar(found, _token_name(recognizer)),
                ctc: posteriors, ctc_part: gr.Column(visible=posteriors is not None),
            }  # fmt: skip
        except NanoASRError as error:
            yield {status: html.message(str(error), "error")}
        except Exception:
            log.exception("an inspection failed")
            yield {status: html.message("Something went wrong here; the server's log says what.", "error")}

    outputs = [
        status, shapes, stages, prompt, filterbank, features, encoded, adapted, similar, first, ctc, ctc_part,
    ]  # fmt: skip
    run.click(
        work, [audio, start], outputs, show_progress="minimal", show_progress_on=status, concurrency_limit=2,
        api_visibility="private",
    )  # fmt: skip
    return audio


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
    units = recognizer.ctc_tokens
    return (lambda i: html.visible(units.decode([i]))) if units else (lambda i: "unit")
