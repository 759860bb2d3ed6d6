"""The configuration of a realtime session, in the current shape and in the earlier flat one."""

from dataclasses import dataclass, replace
from typing import Any

from ..audio.vad import VadOptions
from .audio_codecs import PCM_RATES, TELEPHONE_RATE, AudioFormat
from .errors import APIError
from .options import only, prompt_words, vad_options

LOGPROBS = "item.input_audio_transcription.logprobs"
_FLAT_FORMATS = {
    "pcm16": AudioFormat(),
    "g711_ulaw": AudioFormat("audio/pcmu", TELEPHONE_RATE),
    "g711_alaw": AudioFormat("audio/pcma", TELEPHONE_RATE),
}
_EAGERNESS = {"low": 1200, "medium": 800, "auto": 800, "high": 400}  # of semantic_vad: ms of silence that end a turn
_MISSING = object()


@dataclass(frozen=True)
class TurnDetection:
    """Voice activity detection by the server, as the client asked for it."""

    type: str = "server_vad"
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    eagerness: str | None = None

    def options(self) -> VadOptions:
        """Return the detector's options."""
        silence = _EAGERNESS[self.eagerness or "auto"] if self.type == "semantic_vad" else self.silence_duration_ms
        return vad_options(self.threshold, self.prefix_padding_ms, silence)

    def describe(self) -> dict:
        """Return the settings as events have them."""
        if self.type == "semantic_vad":
            return {"type": self.type, "eagerness": self.eagerness or "auto"}
        names = ("type", "threshold", "prefix_padding_ms", "silence_duration_ms")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class SessionConfig:
    """Configuration of a session. With `turn_detection` None the client commits the buffer."""

    model: str
    format: AudioFormat = _FLAT_FORMATS["pcm16"]
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str = ""
    keywords: tuple[str, ...] = ()
    turn_detection: TurnDetection | None = TurnDetection()
    logprobs: bool = False

    @property
    def hotwords(self) -> list[str]:
        """The words to listen for."""
        return [*prompt_words(self.prompt), *self.keywords]

    @property
    def one_language(self) -> str | None:
        """The language to transcribe in, if there is one only."""
        return self.language or only(list(self.languages))

    def updated(self, session: object) -> "SessionConfig":
        """Apply a `session.update`; missing fields stay as they are."""
        session = _object(session, "session")
        if session.get("type", "transcription") != "transcription":
            raise _invalid("session.type", "this server has transcription sessions only")
        found = self._with_include(session)
        given = _object(_object(session.get("audio") or {}, "session.audio").get("input") or {}, "session.audio.input")
        where = "session.audio.input"
        if given.get("format") is not None:
            found = replace(found, format=_format(given["format"], f"{where}.format"))
        return found._with_common(given, "transcription", where)

    def updated_flat(self, session: object) -> "SessionConfig":
        """Apply a `transcription_session.update`; missing fields stay as they are."""
        session = _object(session, "session")
        found = self._with_include(session)
        name = session.get("input_audio_format")
        rate = session.get("input_audio_sample_rate")  # extension: pcm16 at another rate than 24 kHz
        if name is not None or rate is not None:
            if name is not None and not (isinstance(name, str) and name in _FLAT_FORMATS):
                raise _invalid("session.input_audio_format", f"use one of {', '.join(_FLAT_FORMATS)}")
            format_ = _FLAT_FORMATS[name or "pcm16"]
            if rate is not None and format_.type == "audio/pcm":
                format_ = _format({"type": "audio/pcm", "rate": rate}, "session.input_audio_sample_rate")
            found = replace(found, format=format_)
        return found._with_common(session, "input_audio_transcription", "session")

    def describe(self, session_id: str, expires_at: int) -> dict:
        """Return the session object of current events."""
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "id": session_id,
            "expires_at": expires_at,
            "audio": {
                "input": {
                    "format": {"type": self.format.type}
                    | ({"rate": self.format.rate} if self.format.type == "audio/pcm" else {}),
                    "noise_reduction": None,
                    "transcription": self._transcription(),
                    "turn_detection": self.turn_detection.describe() if self.turn_detection else None,
                }
            },
            "include": [LOGPROBS] if self.logprobs else None,
        }

    def describe_flat(self, session_id: str, expires_at: int) -> dict:
        """Return the session object of the earlier events."""
        names = {form.type: name for name, form in _FLAT_FORMATS.items()}
        return {
            "object": "realtime.transcription_session",
            "id": session_id,
            "expires_at": expires_at,
            "modalities": ["text"],
            "input_audio_format": names[self.format.type],
            "input_audio_sample_rate": self.format.rate,
            "input_audio_transcription": self._transcription(),
            "input_audio_noise_reduction": None,
            "turn_detection": self.turn_detection.describe() if self.turn_detection else None,
            "include": [LOGPROBS] if self.logprobs else None,
            "client_secret": None,
        }

    def _transcription(self) -> dict:
        found = {"model": self.model, "language": self.language, "prompt": self.prompt}
        lists = {"languages": list(self.languages), "keywords": list(self.keywords)}
        return found | {name: value for name, value in lists.items() if value}

    def _with_include(self, session: dict) -> "SessionConfig":
        include = session.get("include", _MISSING)
        if include is _MISSING:
            return self
        names = _texts(include, "session.include")
        if any(name != LOGPROBS for name in names):
            raise _invalid("session.include", f"only {LOGPROBS} can be included")
        return replace(self, logprobs=bool(names))

    def _with_common(self, given: dict, transcription: str, where: str) -> "SessionConfig":
        found = self
        if given.get(transcription) is not None:
            found = found._with_transcription(_object(given[transcription], f"{where}.{transcription}"), where)
        if "turn_detection" in given:
            found = replace(found, turn_detection=self._turns(given["turn_detection"], f"{where}.turn_detection"))
        return found

    def _with_transcription(self, given: dict, where: str) -> "SessionConfig":
        changes: dict[str, Any] = {}
        for name in ("model", "language", "prompt"):
            if name in given:
                value = given[name]
                if not isinstance(value, str | None):
                    raise _invalid(f"{where}.transcription.{name}", "must be text")
                if name != "model" or value:
                    changes[name] = value or ("" if name == "prompt" else None)
        for name in ("languages", "keywords"):
            if name in given:
                changes[name] = tuple(_texts(given[name], f"{where}.transcription.{name}"))
        return replace(self, **changes)

    def _turns(self, given: object, where: str) -> TurnDetection | None:
        if given is None:
            return None
        given = _object(given, where)
        old = self.turn_detection or TurnDetection()
        kind = given.get("type", old.type)
        if kind not in ("server_vad", "semantic_vad"):
            raise _invalid(f"{where}.type", "use server_vad, semantic_vad, or null for manual commits")
        eagerness = given.get("eagerness", old.eagerness)
        if eagerness is not None and not (isinstance(eagerness, str) and eagerness in _EAGERNESS):
            raise _invalid(f"{where}.eagerness", f"use one of {', '.join(_EAGERNESS)}")
        values = {}
        for name, low, high in (
            ("threshold", 0, 1),
            ("prefix_padding_ms", 0, 10_000),
            ("silence_duration_ms", 0, 10_000),
        ):
            value = given.get(name)
            value = getattr(old, name) if value is None else value
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise _invalid(f"{where}.{name}", f"must be a number from {low} to {high}")
            values[name] = value
        return TurnDetection(type=kind, eagerness=eagerness, **values)


def _format(given: object, where: str) -> AudioFormat:
    given = _object(given, where)
    kind = given.get("type", "audio/pcm")
    if kind in ("audio/pcmu", "audio/pcma"):
        return AudioFormat(kind, TELEPHONE_RATE)
    rate = given.get("rate") or AudioFormat.rate
    if kind != "audio/pcm":
        raise _invalid(f"{where}.type", "use audio/pcm, audio/pcmu or audio/pcma")
    if isinstance(rate, bool) or rate not in PCM_RATES:
        raise _invalid(f"{where}.rate", f"use one of {', '.join(map(str, PCM_RATES))}")
    return AudioFormat("audio/pcm", int(rate))


def _object(value: object, where: str) -> dict:
    if not isinstance(value, dict):
        raise _invalid(where, "must be an object")
    return value


def _texts(value: object, where: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _invalid(where, "must be a list of texts")
    return value


def _invalid(where: str, problem: str) -> APIError:
    return APIError(400, f"{where}: {problem}.", code="invalid_value", param=where)
