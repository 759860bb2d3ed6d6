"""The story of each recognizer family: its stages in order, with a sentence and what to draw.

Another family needs a list of `Step` here and no more.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import plotly.graph_objects as go

from .. import plots
from ..recognizer import Recognizer
from . import inside_views as draw
from .inside_views import Draw, Look, Thumbnail, array_thumbnail, of_frames


@dataclass(frozen=True)
class View:
    """A figure, or HTML or data that inside.js shows; `layers` says how many layers one can choose from."""

    name: str
    title: str
    caption: str
    draw: Draw
    layers: Callable[[Recognizer], int] | None = None
    layers_of: str | None = None  # the view whose layer this one shares


@dataclass(frozen=True)
class Step:
    """A stage of the network. `array` names its output in the inspection, whose shape is shown."""

    name: str
    title: str
    sentence: str
    views: tuple[View, ...]
    array: str | None = None
    thumbnail: Thumbnail | None = None
    beside: bool = False  # a branch, drawn next to the main path


_WAVE = Step(
    "wave", "Waveform", "Sound as the microphone gives it: 16,000 numbers for every second.",
    (
        View("waveform", "Waveform", "Pressure of the air over time.", of_frames(plots.wave_chart)),
        View(
            "sound", "Pitch and level",
            "Pitch (pYIN), level and spectral centroid; vertical lines are onsets. The network does not see these.",
            draw.sound,
        ),
    ), "samples", draw.wave_thumbnail,
)  # fmt: skip
_FILTERBANK = Step(
    "filterbank", "Filterbank",
    "What the network hears: every 10 ms the energy in 80 bands, narrow for low pitches and wide for high ones.",
    (View("filterbank", "Log mel energies", "Energy in 80 mel bands over time; bright is loud.",
          of_frames(plots.filterbank_map)),),
    "filterbank", array_thumbnail("filterbank", scale=False),
)  # fmt: skip
_LFR = Step(
    "lfr", "LFR features",
    "Low frame rate: every 60 ms seven filterbank frames are stacked, so there are six times fewer frames to read.",
    (View("features", "Stacked frames", "Each column is one frame of 560 numbers.", of_frames(plots.features_map)),),
    "features", array_thumbnail("features", scale=False),
)  # fmt: skip
_ENCODER = Step(
    "encoder", "SAN-M encoder",
    "Attention lets every frame look at all others, and a memory of its neighbours keeps the order: "
    "sounds become speech units in their context.",
    (
        View("encoded", "Encoder output", "Each row is a dimension: red is above its mean, blue below.",
             of_frames(plots.encoded_map)),
        View("encoder-attention", "Attention, mean of all heads",
             "Each row is a frame, bright the frames that it attends to.", draw.encoder_attention,
             layers=lambda recognizer: recognizer.encoder_layers),
        View("encoder-heads", "Attention, head by head", "Heads of the same layer attend to different things.",
             draw.encoder_heads, layers_of="encoder-attention"),
        View("similarity", "Similarity of frames", "Cosine of each pair of frames. Squares are sounds that last.",
             of_frames(plots.similarity_map)),
    ), "encoded", array_thumbnail("encoded"),
)  # fmt: skip
_CHOICES = View(
    "choices", "What a token was chosen from",
    "Probabilities of the chosen token and its rivals. The sliders reshape the model's own scores; nothing is decoded.",
    draw.choices,
)  # fmt: skip

_RIVALS = replace(_CHOICES, caption="Probabilities of the chosen token and its likeliest rivals.")

_NANO = (
    _WAVE, _FILTERBANK, _LFR, _ENCODER,
    Step(
        "ctc", "CTC branch",
        "A small branch beside the main way spells at once: at most frames it says blank, and it spikes where a unit "
        "is heard. Word times and drafts come from here.",
        (View("ctc", "CTC posteriors", "Probabilities of text units over time.", draw.nano_ctc),),
        "ctc_logprobs", draw.ctc_thumbnail(lambda look: -1), beside=True,
    ),
    Step(
        "adaptor", "Adaptor",
        "Two layers translate each frame into the embedding space of the language model: sound turns into something "
        "that reads like words.",
        (View("adapted", "Audio tokens", "With a low rate of audio tokens, only the frames left of the green line "
              "are used.", of_frames(plots.adapted_map)),),
        "adapted", array_thumbnail("adapted"),
    ),
    Step(
        "prompt", "Prompt", "The audio tokens stand inside a written instruction, as if they were words of it.",
        (View("prompt", "The language model's input, token by token", "Names, and ids below them.", draw.prompt),),
        None, draw.prompt_thumbnail,
    ),
    Step(
        "qwen3", "Qwen3",
        "A language model reads the prompt and writes the text token by token, each time attending to the audio.",
        (
            View("text-attention", "Attention from the text to the audio",
                 "Each row is a token; bright columns are the audio tokens that the model attends to as it chooses "
                 "the token. White lines: its time according to the CTC branch.", draw.text_attention,
                 layers=lambda recognizer: recognizer.text_layers),
            View("text-heads", "Attention, head by head", "Rows are tokens, columns time.", draw.text_heads,
                 layers_of="text-attention"),
            View("shares", "Where attention goes", "", draw.shares, layers_of="text-attention"),
        ), None, draw.attention_thumbnail,
    ),
    Step(
        "text", "Text",
        "Each token is chosen from a distribution over the whole vocabulary; guesses of the CTC branch save passes.",
        (_CHOICES, View("drafts", "Drafts",
                        "The CTC branch proposes, the language model checks many tokens in one pass.", draw.drafts)),
        None, draw.words_thumbnail,
    ),
)  # fmt: skip

_SENSEVOICE = (
    _WAVE, _FILTERBANK, _LFR,
    Step(
        "queries", "Queries",
        "Four learned vectors stand before the features and ask: which language, which emotion, which sounds, and "
        "whether to write numbers in figures.",
        (View("queries", "Queries and answers", "The answers are read off the first four output frames.",
              draw.queries),),
        "query_ids",
    ),
    _ENCODER,
    Step(
        "ctc", "CTC head",
        "One linear layer names a unit for every frame at once; most frames say blank.",
        (View("ctc", "CTC posteriors", "Probabilities of text units over time.", draw.sensevoice_ctc),),
        "ctc_logprobs", draw.ctc_thumbnail(lambda look: look.recognizer.checkpoint.model.config.blank_id),
    ),
    Step(
        "text", "Text and tags",
        "Repeats are merged and blanks dropped: what is left is the text. The first four frames become tags.",
        (View("tags", "Tags", "", draw.tags), _RIVALS), None, draw.words_thumbnail,
    ),
)  # fmt: skip

_PARAFORMER = (
    _WAVE, _FILTERBANK, _LFR, _ENCODER,
    Step(
        "cif", "Integrate and fire",
        "Each frame gets a weight, the weights are summed up, and whenever the sum reaches 1 a token fires: so the "
        "network decides how many tokens there are, and when.",
        (
            View("fire", "Weights and their running sum", "A token fires where the running sum reaches 1.", draw.fire),
            View("fire-upsampled", "Upsampled weights", "Three times finer; the times of words come from these.",
                 draw.fire_upsampled),
        ), "alphas", draw.fire_thumbnail,
    ),
    Step(
        "decoder", "Decoder",
        "All tokens are written in one pass: each reads its own weighted frames and attends to the encoder's output.",
        (View("acoustic", "Acoustic embeddings", "One column for each token that fired.",
              draw.acoustic),),
        "acoustic",
    ),
    Step(
        "text", "Text", "The likeliest token at every place, joined into words.", (_RIVALS,), None,
        draw.words_thumbnail,
    ),
)  # fmt: skip

STORIES = {"nano": _NANO, "sensevoice": _SENSEVOICE, "paraformer": _PARAFORMER}


def steps_of(look: Look) -> tuple[Step, ...]:
    """The story of a look's family, without branches that the checkpoint does not have."""
    return tuple(
        step for step in STORIES[look.recognizer.family] if not step.beside or getattr(look.x, step.array) is not None
    )


def outline(look: Look) -> list[dict]:
    """The steps as data: what the picture shows of each."""
    return [
        {
            "name": step.name, "title": step.title, "sentence": step.sentence, "beside": step.beside,
            "shape": " × ".join(f"{size:,}" for size in getattr(look.x, step.array).shape) if step.array else "",
            "views": [view.name for view in step.views],
        }
        for step in steps_of(look)
    ]  # fmt: skip


def thumbnails(look: Look) -> dict[str, dict]:
    """Small pictures of the steps' outputs, by step, as far as they are known."""
    found = {step.name: step.thumbnail(look) for step in steps_of(look) if step.thumbnail}
    return {name: draw.encode_thumbnail(z) for name, z in found.items() if z is not None}


def views(look: Look, wanted: Callable[[View], bool] = lambda view: True) -> dict[str, str]:
    """The wanted views that can be drawn by now, each as JSON, by name."""
    found = {}
    for step in steps_of(look):
        for view in filter(wanted, step.views):
            shown = view.draw(look)
            if shown is not None:
                found[view.name] = _encoded(view, shown, look.recognizer)
    return found


def _encoded(view: View, shown: "go.Figure | str | dict", recognizer: Recognizer) -> str:
    kind = "figure" if isinstance(shown, go.Figure) else "html" if isinstance(shown, str) else "data"
    about = {"title": view.title, "caption": view.caption}
    if view.layers:
        about["layers"] = view.layers(recognizer)
    body = shown.to_json() if kind == "figure" else json.dumps(shown)
    return json.dumps(about)[:-1] + f', "{kind}": {body}}}'
