"""A finished transcription as the page shows it, keeps it in the browser, and changes it."""

import base64
import gzip
import io
import itertools
import json
import os
import secrets
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from .. import plots
from ..audio.vad import SILENCE
from ..errors import OptionError
from ..results.corrections import correct_segment
from ..results.transcript import Segment, Token, Transcript, join_texts, write_all
from . import html
from .models import SharedModel
from .problems import user_message
from .recordings import excerpt, shipped

FORMATS = ("txt", "srt", "vtt", "tsv", "json")
WINDOW = 30.0  # seconds that the timeline shows at once
_MOST_BYTES = 64 << 20  # of a transcript that a browser kept


@dataclass(frozen=True)
class Shown:
    """A transcript, and where its recording is; None once the server has deleted it.

    `prompt` has the language, hotwords and itn that it was transcribed with, where they are known.
    """

    path: str | None
    transcript: Transcript
    prompt: Mapping = field(default_factory=dict, compare=False)


class FirstExample:
    """The best example, transcribed and drawn once at the start: the page opens with it, and later work is warm."""

    def __init__(self, model: SharedModel):
        self._model = model
        self.ready = threading.Event()
        self.shown: Shown | None = None
        self.whole: plots.Sound | None = None
        self.timeline: object = None  # it fits into WINDOW

    def prepare(self) -> None:
        """Transcribe the example; without a model the page opens empty."""
        try:
            if paths := shipped():
                found = self._model.get().transcribe(str(paths[0]), alternatives=True)
                shown = Shown(str(paths[0]), found)
                self.whole = overview(shown)
                self.timeline = plots.timeline(self.whole, found)
                self.shown = shown
        except Exception as error:
            user_message(error, "the first example failed")
        finally:
            self.ready.set()


def overview(shown: Shown) -> plots.Sound:
    """The whole recording in a few hundred columns."""
    return plots.sound(shown.path, shown.transcript.duration)


def draw(shown: Shown, start: float, max_seconds: float, whole: plots.Sound | None = None) -> object:
    """The timeline from `start` on; `whole` is the recording, where it is already read."""
    length = shown.transcript.duration
    if whole is None or length > WINDOW:
        start = min(max(start, 0.0), max(length - WINDOW, 0.0))
        samples = excerpt(shown.path, start, min(WINDOW, length), max_seconds)
        whole = plots.sound(samples, len(samples) / 16_000, start=start)
    return plots.timeline(whole, shown.transcript)


def outcome(found: Transcript, peak: float, stopped: bool) -> str:
    """The status line at the end."""
    if stopped:
        return html.message("Stopped. The text so far is kept.", "warning")
    if not found.segments:
        silent = f"The recording is silent: {found.duration:.1f} s without sound. Is the microphone on?"
        speechless = f"No speech was found in these {found.duration:.1f} s."
        return html.message(silent if peak < SILENCE else speechless, "warning")
    if found.repetition_stopped:
        return html.message("Done, but the model began to repeat itself; a segment is marked.", "warning")
    if any(segment.truncated for segment in found.segments):
        return html.message("Done, but a segment reached the limit of tokens: some text may be missing.", "warning")
    if not found.text:
        return html.message("The model wrote nothing for this recording.", "warning")
    return html.message(f"Done: {found.duration:.1f} s of audio in {found.timings.total:.2f} s.", "done")


def write_files(found: Transcript, stem: str, buttons: Sequence[gr.DownloadButton], formats: Sequence[str]) -> dict:
    """The download buttons with their files, in the folder for uploads and downloads; txt has paragraphs."""
    paths = _write(found, Path(buttons[0].GRADIO_CACHE), stem, formats)
    return {
        button: gr.DownloadButton(value=str(path), interactive=True)
        for button, path in zip(buttons, paths, strict=True)
    }


def write_zip(all_shown: Sequence[Shown], cache: Path) -> str:
    """Every transcript in every format, in one file."""
    path, names = cache / secrets.token_hex(16) / "transcripts.zip", {}
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for shown in all_shown:
            stem = stem_of(shown)
            names[stem] = names.get(stem, 0) + 1
            unique = stem if names[stem] == 1 else f"{stem} {names[stem]}"
            for file in _write(shown.transcript, cache, unique, FORMATS):
                archive.write(file, file.name)
    return str(path)


def stem_of(shown: Shown) -> str:
    """The name of the recording without its suffix."""
    return Path(shown.transcript.name or "transcript").stem or "transcript"


def _write(found: Transcript, cache: Path, stem: str, formats: Sequence[str]) -> list[Path]:
    paths = write_all(found, cache / secrets.token_hex(16), stem, formats)
    if "txt" in formats and not any(segment.speaker for segment in found.segments):
        text = "\n\n".join(segment.text for segment in found.segments if segment.text)
        paths[list(formats).index("txt")].write_text(text + "\n", encoding="utf-8")
    return paths


def corrected(shown: Shown, texts: Sequence[str]) -> Shown:
    """The same with other texts of its segments."""
    found = shown.transcript
    if len(texts) != len(found.segments) or not all(isinstance(text, str) for text in texts):
        raise OptionError("The corrections do not belong to this text: reload the page.")
    segments = tuple(map(correct_segment, found.segments, texts))
    return replace(shown, transcript=_with(found, segments))


def renamed(shown: Shown, before: str, after: str) -> Shown:
    """The same with another name for a speaker."""
    name = " ".join(str(after).split())[:60] or before
    segments = tuple(
        replace(segment, speaker=name) if segment.speaker == before else segment
        for segment in shown.transcript.segments
    )
    return replace(shown, transcript=_with(shown.transcript, segments))


def _with(found: Transcript, segments: tuple[Segment, ...]) -> Transcript:
    return replace(found, segments=segments, text=join_texts(segment.text for segment in segments))


def what_if(shown: Shown, model: SharedModel, choice: Mapping, max_seconds: float) -> str:
    """What the model writes from another alternative of a token on, beside what it wrote."""
    segment = shown.transcript.segments[int(choice["segment"])]
    place, other_id = int(choice["token"]), int(choice["id"])
    token = segment.tokens[place]
    other = next((other for other in token.alternatives if other.id == other_id), None)
    if other is None or shown.path is None:
        raise OptionError("The recording is no longer here: transcribe it again first.")
    recognizer = model.get()
    samples = excerpt(shown.path, segment.start, segment.end - segment.start, max_seconds)
    before = segment.tokens[:place]
    inspected = recognizer.inspect(samples, **shown.prompt)
    rest = recognizer.continue_text(inspected, [*(token.id for token in before), other_id])
    tokens = (*before, Token(other.id, other.text, other.logprob, alternatives=token.alternatives), *rest)
    tokens = tuple(replace(token, start=None, end=None) for token in tokens)
    text = " ".join("".join(token.text for token in tokens).split())
    return html.what_if(segment, replace(segment, text=text, tokens=tokens), int(choice["segment"]))


def pack(shown: Shown) -> str:
    """A transcript as a short text that the browser keeps; alternatives are left out of long ones."""
    found = shown.transcript
    if len(found.tokens) > 3000:
        segments = (
            replace(segment, tokens=tuple(replace(token, alternatives=()) for token in segment.tokens))
            for segment in found.segments
        )
        found = replace(found, segments=tuple(segments))
    content = json.dumps({"path": shown.path, "transcript": found.to_json(indent=None)}).encode()
    label = " ".join(itertools.islice(found.text.split(), 8)) or "no text"
    packed = base64.b64encode(gzip.compress(content)).decode()
    return json.dumps({"name": found.name or "recording", "label": label[:80], "packed": packed})


def unpack(packed: str) -> Shown:
    """Read what `pack` wrote. The browser may send anything, so only recordings that it can address are opened."""
    try:
        with gzip.open(io.BytesIO(base64.b64decode(packed, validate=True))) as file:
            content = json.loads(file.read(_MOST_BYTES))
        path, found = content["path"], Transcript.from_json(content["transcript"])
    except (ValueError, KeyError, TypeError, OSError, EOFError, OptionError):
        raise OptionError("What this browser kept cannot be read any more.") from None
    return Shown(path if _is_ours(path) else None, found)


def _is_ours(path: object) -> bool:
    """Whether it is an example or a file in the folder of uploads."""
    if not isinstance(path, str) or "\x00" in path:
        return False
    real = Path(os.path.realpath(path))
    uploads = Path(os.path.realpath(get_upload_folder()))
    return real.is_file() and (real in shipped() or (real.is_relative_to(uploads) and real.parent != uploads))
