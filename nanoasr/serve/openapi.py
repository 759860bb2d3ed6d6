"""The OpenAPI document of the server."""

from dataclasses import fields

from .. import __version__
from ..decode.sampling import Sampling
from .options import FORMATS, GRANULARITIES

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {"id": _TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": _TEXT},
}
_VAD = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"const": "server_vad"},
        "threshold": {"type": "number"},
        "prefix_padding_ms": {"type": "number"},
        "silence_duration_ms": {"type": "number"},
    },
}


def form_fields() -> dict[str, dict]:
    """Return the schema of each field of `POST /v1/audio/transcriptions`."""
    knobs = {field.name: {"type": "number" if "float" in str(field.type) else "integer"} for field in fields(Sampling)}
    return {
        "file": {"type": "string", "format": "binary", "description": "A recording in any common format."},
        "model": _TEXT | {"description": "A model that /v1/models lists."},
        "language": _TEXT | {"description": "A code such as en, or a name; detected if missing."},
        "languages[]": _TEXTS | {"description": "Possible languages; a single one counts as language."},
        "prompt": _TEXT | {"description": "Words to listen for, with commas between them."},
        "hotwords": _TEXT | {"description": "The same."},
        "keywords[]": _TEXTS | {"description": "The same, one in each field."},
        "response_format": {"type": "string", "enum": list(FORMATS), "default": "json"},
        "timestamp_granularities[]": {"type": "array", "items": {"type": "string", "enum": list(GRANULARITIES)}},
        "include[]": {"type": "array", "items": {"type": "string", "enum": ["logprobs"]}},
        "stream": {"type": "boolean", "default": False, "description": "Answer with server-sent events."},
        "chunking_strategy": {"oneOf": [{"const": "auto"}, _VAD]},
        "speakers": {"type": "integer", "description": "How many there are; diarized_json finds out by itself."},
        "itn": {"type": "boolean", "default": True, "description": "Numbers and dates in figures."},
    } | knobs


def document() -> dict:
    """Build the OpenAPI 3.1 document."""
    upload = {"type": "object", "required": ["file", "model"], "properties": form_fields()}
    transcript = {
        "application/json": {"schema": {"type": "object", "required": ["text"], "properties": {"text": _TEXT}}},
        "text/plain": {"schema": _TEXT},
        "text/vtt": {"schema": _TEXT},
        "application/x-subrip": {"schema": _TEXT},
        "text/event-stream": {"schema": _TEXT},
    }
    models = {"type": "object", "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}}}
    name = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
    multipart = {"required": True, "content": {"multipart/form-data": {"schema": upload}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nanoasr",
            "version": __version__,
            "description": "Speech recognition by the OpenAI audio API. Live transcription: a WebSocket at "
            "/v1/realtime?intent=transcription, with the events that OpenAI documents.",
        },
        "security": [{"key": []}],
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "paths": {
            "/v1/audio/transcriptions": {
                "post": _operation("Transcribe a recording", transcript, 400, 404, 408, 413, 429, 500, 503)
                | {"requestBody": multipart}
            },
            "/v1/models": {"get": _operation("List the models", _json(models))},
            "/v1/models/{id}": {"get": _operation("Describe a model", _json(_MODEL), 404) | {"parameters": [name]}},
            "/health": {
                "get": _operation("Tell that the server runs", _json({"type": "object"}), 503) | {"security": []}
            },
            "/metrics": {"get": _operation("Metrics for Prometheus", {"text/plain": {"schema": _TEXT}})},
        },
    }


def _operation(summary: str, content: dict, *errors: int) -> dict:
    answers = {"200": {"description": "Done.", "content": content}}
    for status in (401, *errors):
        answers[str(status)] = {"description": "An error.", "content": _json(_ERROR)}
    return {"summary": summary, "responses": dict(sorted(answers.items()))}


def _json(schema: dict) -> dict:
    return {"application/json": {"schema": schema}}
