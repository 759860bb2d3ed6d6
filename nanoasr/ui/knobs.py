"""The settings of a transcription as inputs of the page, and as options of `transcribe`."""

import gradio as gr

from ..decode.prompt import split_hotwords
from ..decode.sampling import Sampling
from ..errors import OptionError

AUTO = ("Detect automatically", "auto")
_DEFAULTS = Sampling()
_SAMPLING = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram", "max_tokens", "seed", "beams",
)  # fmt: skip
_ONE_SPEAKER, _SOME_SPEAKERS = "do not", "find how many"


def build() -> list[gr.components.Component]:
    """The inputs, in the order of the arguments of `options`; the first is the language."""
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
        knobs = _sampling_knobs()
        reset = gr.Button("Reset", size="sm", elem_id="reset")
        reset.click(
            lambda: [getattr(_DEFAULTS, name) if name != "seed" else "" for name in _SAMPLING],
            outputs=knobs,
            api_visibility="private",
        )
    speakers = gr.Dropdown(
        [_ONE_SPEAKER, _SOME_SPEAKERS, *map(str, range(2, 9))], value=_ONE_SPEAKER, label="Tell speakers apart",
        elem_id="speakers",
    )  # fmt: skip
    return [language, hotwords, itn, timestamps, *knobs, speakers]


def _sampling_knobs() -> list[gr.components.Component]:
    """The inputs in the order of `_SAMPLING`."""
    return [
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
        gr.Textbox("", label="Seed", max_length=20,  # a number field shows 0 where it is empty
                   info="The same seed gives the same text; leave it empty for a new draw each time."),
        gr.Slider(1, 16, _DEFAULTS.beams, step=1, label="Beams",
                  info="Above 1 keeps that many hypotheses and takes the likeliest text; for temperature 0."),
    ]  # fmt: skip


def options(language: str | None, hotwords: str | None, itn: bool, timestamps: bool, *knobs: object) -> dict:
    """Convert the page's inputs to options of `transcribe`."""
    *sampling, speakers = knobs
    values = dict(zip(_SAMPLING, sampling, strict=True))
    for name in ("top_k", "no_repeat_ngram", "max_tokens", "beams"):
        values[name] = round(values[name])
    values["seed"] = _seed(values["seed"])
    return {
        "language": language, "hotwords": split_hotwords(hotwords), "itn": bool(itn), "timestamps": bool(timestamps),
        "sampling": Sampling(**values), "speakers": _speaker_count(speakers),
    }  # fmt: skip


def prompt(options: dict) -> dict:
    """Those of the options that the prompt depends on."""
    return {name: options[name] for name in ("language", "hotwords", "itn")}


def _seed(text: object) -> int | None:
    try:
        return int(str(text)) if text not in (None, "") else None
    except ValueError:
        raise OptionError(f"seed={text!r:.40}: give a whole number, or leave it empty") from None


def _speaker_count(choice: object) -> bool | int:
    if choice in (_ONE_SPEAKER, None, "", False):
        return False
    if choice is True or choice == _SOME_SPEAKERS:
        return True
    try:
        return int(str(choice))
    except ValueError:
        raise OptionError(f"speakers={choice!r:.40}: give a number, {_SOME_SPEAKERS!r} or {_ONE_SPEAKER!r}") from None
