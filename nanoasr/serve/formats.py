"""Transcripts in OpenAI's response formats."""

import zlib
from collections.abc import Iterable

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..recognizer import Recognizer
from ..results.transcript import Segment, Token, Transcript
from .options import TranscriptionRequest

_FRAME_SECONDS = 0.06  # of an encoder frame, which is what usage counts as one token of audio


def response(transcript: Transcript, request: TranscriptionRequest, asr: Recognizer) -> Response:
    """Make the response to a request that is not streamed."""
    if request.format == "text":
        return PlainTextResponse(transcript.to_txt())
    if request.format == "srt":
        return PlainTextResponse(transcript.to_srt(), media_type="application/x-subrip")
    if request.format == "vtt":
        return PlainTextResponse(transcript.to_vtt(), media_type="text/vtt")
    if request.format == "diarized_json":
        content = diarized_json(transcript)
    elif request.format == "verbose_json":
        content = verbose_json(transcript, request, asr)
    else:
        content = {"text": transcript.text}
        if transcript.language:
            content["languages"] = [{"code": transcript.language}]
    if request.logprobs:
        content["logprobs"] = logprobs(transcript.tokens)
    return JSONResponse(content | {"usage": usage_by_duration(transcript.duration)})


def verbose_json(transcript: Transcript, request: TranscriptionRequest, asr: Recognizer) -> dict:
    """Return the text with the segments and words that were asked for."""
    names = {language.code: language.name.lower() for language in asr.languages}
    code = transcript.language or ""
    content = {
        "task": "transcribe",
        "language": names.get(code, code or "unknown"),
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
    }
    if "segment" in request.granularities:
        temperature = request.recognizer["sampling"].temperature
        content["segments"] = [_segment(i, segment, temperature) for i, segment in enumerate(transcript.segments)]
    if "word" in request.granularities:
        content["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3), "confidence": word.confidence}
            for word in transcript.words
            if word.start is not None and word.end is not None
        ]
    return content


def diarized_json(transcript: Transcript) -> dict:
    """Return the text with its speakers."""
    return {
        "task": "transcribe",
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "segments": [segment_event(i, segment) for i, segment in enumerate(transcript.segments)],
    }


def segment_event(index: int, segment: Segment) -> dict:
    """Format a segment for `diarized_json` and streams; the speaker is "" where unknown."""
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{index}",
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "speaker": segment.speaker or "",
    }


def logprobs(tokens: Iterable[Token]) -> list[dict]:
    """Return the tokens with their log-probabilities."""
    return [
        {"token": token.text, "logprob": round(token.logprob, 6), "bytes": list(token.text.encode())}
        for token in tokens
    ]


def usage_by_duration(seconds: float) -> dict:
    """Usage in seconds of audio."""
    return {"type": "duration", "seconds": round(seconds, 3)}


def usage_by_tokens(transcript: Transcript) -> dict:
    """Usage in tokens: those of the text, and the encoder frames of the audio."""
    heard, written = round(transcript.duration / _FRAME_SECONDS), len(transcript.tokens)
    return {
        "type": "tokens",
        "input_tokens": heard,
        "output_tokens": written,
        "total_tokens": heard + written,
        "input_token_details": {"audio_tokens": heard, "text_tokens": 0},
    }


def _segment(index: int, segment: Segment, temperature: float) -> dict:
    text, tags = segment.text.encode(), segment.tags
    known = {"speaker": segment.speaker, "emotion": tags.emotion, "events": list(tags.events)}
    return {
        "id": index,
        "seek": round(segment.start * 100),
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": [token.id for token in segment.tokens],
        "temperature": temperature,
        "avg_logprob": segment.avg_logprob or 0.0,
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 3),
        "no_speech_prob": 0.0,  # a segment is what the voice-activity detector took for speech
    } | {name: value for name, value in known.items() if value}
