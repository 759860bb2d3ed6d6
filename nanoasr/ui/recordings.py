"""Recordings: the examples that ship, and the files of visitors."""

from pathlib import Path

import av
import gradio as gr
import numpy as np
from gradio.helpers import Examples

from ..audio.ffmpeg import CONTAINERS
from ..audio.files import SAMPLE_RATE, read_blocks, source_name
from ..errors import AudioTooLongError
from ..resources import assets_folder

_FOLDER = assets_folder() / "speech"
SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"}
_TITLES = {  # in the order in which they are offered: what the bundled checkpoint reads best comes first
    "kokoro-number": "A phone number",
    "kokoro-command": "A command",
    "LJ002-0020": "A date",
    "jfk": "A president's speech",
    "librivox-0890": "A novel, one sentence",
    "librivox-0870": "A novel, a long sentence",
}


def shipped() -> list[Path]:
    """The example recordings, best first; none where no file states under which licences they may be passed on."""
    if not (_FOLDER / "README.md").is_file():
        return []
    names = list(_TITLES)
    paths = sorted(path for path in _FOLDER.iterdir() if path.suffix.lower() in SUFFIXES)
    return sorted(paths, key=lambda path: names.index(path.stem) if path.stem in names else len(names))


def title(path: Path) -> str:
    """What an example contains, in a few words."""
    return _TITLES.get(path.stem, path.stem.replace("_", " "))


def offer_examples(audio: gr.Audio) -> Examples | None:
    """A row of examples that fill `audio`; None where none ship."""
    paths = shipped()
    if not paths:
        return None
    gr.set_static_paths(paths)  # served from where they are: cached copies are deleted after an hour
    return gr.Examples(
        [[str(path)] for path in paths],
        inputs=[audio],
        example_labels=[title(path) for path in paths],
        cache_examples=False,
        label="Examples",
        api_visibility="private",
    )


def licences() -> str:
    """Where the examples come from and how they may be used, as Markdown."""
    text = (_FOLDER / "README.md").read_text("utf-8")
    return text.partition("\n")[2].strip()  # without its heading


def stated_seconds(path: str) -> float | None:
    """How long a file says it is, for a progress bar; None where it does not say."""
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
    try:
        with open(path, "rb") as file, av.open(file, "r", container_options=options) as container:
            return container.duration / av.time_base if container.duration else None
    except (OSError, ValueError, av.FFmpegError):
        return None


def check_length(path: str, max_seconds: float) -> float | None:
    """Return how long a file says it is, in seconds; raise an error if that is more than `max_seconds`."""
    seconds = stated_seconds(path)
    if seconds and seconds > max_seconds + 1:  # what is said may be rounded, and reading checks it again
        raise AudioTooLongError(
            f"{source_name(path)}: {seconds:.0f} s, longer than the limit of {max_seconds:g} s. Cut it into parts."
        )
    return seconds


def excerpt(path: str, start: float, seconds: float, max_seconds: float) -> np.ndarray:
    """At most `seconds` of a recording from `start` on, as 16 kHz samples; `max_seconds` is its longest length."""
    check_length(path, max_seconds)
    first, last = round(start * SAMPLE_RATE), round((start + seconds) * SAMPLE_RATE)
    kept, at = bytearray(), 0
    for block in read_blocks(path, max_seconds=max_seconds):
        kept += block[max(first - at, 0) : max(last - at, 0)].data
        at += len(block)
        if at >= last:
            break
    return np.frombuffer(kept, np.float32)
