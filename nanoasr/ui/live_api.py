"""`/live` for programs: a recording transcribed as if it came from a microphone."""

import json
from collections.abc import Iterator

import gradio as gr

from ..audio.files import SAMPLE_RATE, read_blocks
from ..decode.prompt import split_hotwords
from ..errors import AudioError
from ..live.session import Update
from .models import SharedModel
from .problems import api_error
from .recordings import check_length

_AT_ONCE = 4
_BLOCK = 0.5  # seconds of sound between two updates


def build(model: SharedModel, max_seconds: float) -> None:
    """Add the endpoint; the page does not show it."""

    def live(audio, language="auto", hotwords="", itn=True) -> Iterator[dict]:
        """Transcribe a recording live: updates every half second, then the transcript.

        Each update has the `seconds` so far, the `committed` and `tentative` text of the open segment, and the
        `segments` that have ended since the last update.
        """
        try:
            if not audio:
                raise AudioError("There is no recording in the request.")
            check_length(audio, max_seconds)
            words = split_hotwords(hotwords)
            heard, known = 0, {"committed": "", "tentative": "", "segments": []}
            with model.get().stream(language=language, hotwords=words, itn=bool(itn)) as session:
                for block in read_blocks(audio, seconds=_BLOCK, max_seconds=max_seconds):
                    heard += len(block)
                    update = session.push(block)
                    if update:
                        known = _json(update)
                    yield known | {"seconds": heard / SAMPLE_RATE}  # unchanged ones, too: they notice clients that left
                    known["segments"] = []
                yield json.loads(session.finish().to_json())
        except Exception as error:
            raise api_error(error, "live transcription failed") from error

    audio = gr.Audio(type="filepath", visible=False)
    language, hotwords = gr.Textbox("auto", visible=False), gr.Textbox("", max_length=4000, visible=False)
    itn = gr.Checkbox(True, visible=False)
    gr.Button(visible=False).click(
        live, [audio, language, hotwords, itn], gr.JSON(visible=False), api_name="live", concurrency_limit=_AT_ONCE
    )


def _json(update: Update) -> dict:
    ended = [{"text": segment.text, "start": segment.start, "end": segment.end} for segment in update.segments]
    return {"committed": update.committed, "tentative": update.tentative, "segments": ended}
