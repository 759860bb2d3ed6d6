"""Parse and validate the form fields of `/v1/audio/transcriptions`."""

import json
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from starlette.datastructures import FormData, UploadFile

from ..audio.vad import VadOptions
from ..decode.prompt import split_hotwords
from ..decode.sampling import Sampling
from ..errors import OptionError
from .errors import APIError

FORMATS = ("json", "text", "srt", "vtt", "verbose_json", "diarized_json")
GRANULARITIES = ("word", "segment")
_LONGEST_PROMPT_WORD = 60  # characters; a longer piece of a prompt is prose, not a word to listen for
_MOST_PROMPT_WORDS = 200
Value = TypeVar("Value")


@dataclass(frozen=True)
class TranscriptionRequest:
    """A validated request. `recognizer` holds the keyword arguments for `Recognizer.transcribe`."""

    model: str
    file: UploadFile
    format: str
    granularities: tuple[str, ...]
    logprobs: bool
    stream: bool
    recognizer: dict[str, Any]


def read_request(form: FormData) -> TranscriptionRequest:
    """Validate a form; an invalid field raises a 400 that names it."""
    read = _Fields(form)
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise APIError(400, "file: a recording is required.", code="missing_required_parameter", param="file")
    if not file.size:
        raise APIError(400, "file: the recording is empty.", code="invalid_value", param="file")
    model = read.text("model")
    if not model:
        raise APIError(400, "model: required.", code="missing_required_parameter", param="model")
    if read.many("known_speaker_names") or read.many("known_speaker_references"):
        raise APIError(
            400, "known_speaker_names: not supported.", code="unsupported_parameter", param="known_speaker_names"
        )
    format_ = read.choice("response_format", FORMATS, "json")
    granularities = tuple(read.choices("timestamp_granularities", GRANULARITIES)) or ("segment",)
    include = read.choices("include", ("logprobs",))
    needs_times = format_ in ("srt", "vtt", "diarized_json") or (format_ == "verbose_json" and "word" in granularities)
    recognizer = {
        "language": read.text("language") or only(read.many("languages")),
        "hotwords": [*prompt_words(read.text("prompt")), *_words(read.many("hotwords")), *read.many("keywords")],
        "itn": read.flag("itn", True),
        "sampling": _sampling(read),
        "timestamps": needs_times,
        "vad": _vad(read),
        "speakers": read.number("speakers", int) or format_ == "diarized_json",
    }
    return TranscriptionRequest(
        model, file, format_, granularities, "logprobs" in include, read.flag("stream", False), recognizer
    )


def prompt_words(prompt: str | None) -> list[str]:
    """Extract hotwords from a prompt: its pieces between commas and line ends that are short enough."""
    words = [word for word in split_hotwords(prompt) if len(word) <= _LONGEST_PROMPT_WORD]
    return words[:_MOST_PROMPT_WORDS]


def only(languages: list[str]) -> str | None:
    """Return the language if there is exactly one; else None, so that it is detected."""
    return languages[0] if len(languages) == 1 else None


def vad_options(threshold: float | None, padding_ms: float | None, silence_ms: float | None) -> VadOptions:
    """Convert OpenAI's `server_vad` settings, clipped to the detector's range."""
    default = VadOptions()
    silence = default.min_silence if silence_ms is None else _between(silence_ms / 1000, 0.1, 10.0)
    padding = default.pad if padding_ms is None else padding_ms / 1000
    return VadOptions(
        threshold=default.threshold if threshold is None else _between(threshold, 0.2, 0.95),
        min_silence=silence,
        pad=_between(padding, 0.0, min(silence / 2, 0.5)),
    )


def _words(texts: list[str]) -> list[str]:
    return [word for text in texts for word in split_hotwords(text)]


def _between(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _sampling(read: "_Fields") -> Sampling:
    values = {}
    hints = typing.get_type_hints(Sampling)
    for field in fields(Sampling):
        kind = hints[field.name]
        kind = typing.get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
        value = read.number(field.name, kind)
        if value is not None:
            values[field.name] = value
    try:
        return Sampling(**values)
    except OptionError as error:
        name = str(error).partition("=")[0]
        raise APIError(400, str(error), code="invalid_value", param=name if name in values else None) from error


def _vad(read: "_Fields") -> VadOptions:
    """Parse `chunking_strategy`: "auto", a JSON object, or an object spread over fields with brackets."""
    text = read.text("chunking_strategy")
    names = ("type", "threshold", "prefix_padding_ms", "silence_duration_ms")
    found: dict[str, Any] = {name: read.text(f"chunking_strategy[{name}]") for name in names}
    if text and text != "auto":
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = {}
        if not isinstance(found, dict):
            found = {}
    elif not any(found.values()):
        return VadOptions()
    if found.get("type") != "server_vad":
        raise _invalid("chunking_strategy", 'use "auto" or an object of type "server_vad"')
    threshold, padding, silence = (_finite("chunking_strategy", found.get(name)) for name in names[1:])
    return vad_options(threshold, padding, silence)


def _finite(name: str, value: object) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isinstance(value, bool) or not abs(number) < 1e9:
        raise _invalid(name, f"{str(value)[:40]!r} is not a number")
    return number


class _Fields:
    """Text fields of a form, each read by its name or, for lists, by its name with brackets."""

    def __init__(self, form: FormData):
        self._form = form

    def many(self, name: str) -> list[str]:
        """Return all values of a list field."""
        values = [*self._form.getlist(name), *self._form.getlist(f"{name}[]")]
        if any(not isinstance(value, str) for value in values):
            raise _invalid(name, "must be text, not a file")
        return [value.strip() for value in values if value.strip()]

    def text(self, name: str) -> str | None:
        """Return the value of a field; None when it is missing or blank."""
        return (self.many(name) or [None])[-1]

    def number(self, name: str, kind: Callable[[str], Value]) -> Value | None:
        """Parse a number of that type."""
        text = self.text(name)
        try:
            return None if text is None else kind(text)
        except (ValueError, OverflowError) as error:
            raise _invalid(name, f"{text[:40]!r} is not a {'whole ' if kind is int else ''}number") from error

    def flag(self, name: str, default: bool) -> bool:
        """Parse true or false."""
        text = self.text(name)
        return default if text is None else self.choice(name, ("true", "1", "false", "0"), "") in ("true", "1")

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """Parse one of a few words."""
        text = self.text(name)
        if text is None:
            return default
        if text.lower() not in allowed:
            raise _invalid(name, f"{text[:40]!r} is not one of {', '.join(allowed)}")
        return text.lower()

    def choices(self, name: str, allowed: tuple[str, ...]) -> list[str]:
        """Parse a list of a few words."""
        values = self.many(name)
        for value in values:
            if value not in allowed:
                raise _invalid(name, f"{value[:40]!r} is not one of {', '.join(allowed)}")
        return values


def _invalid(name: str, problem: str) -> APIError:
    return APIError(400, f"{name}: {problem}.", code="invalid_value", param=name)
