"""How results show themselves in notebooks: coloured tokens with their alternatives, times, and a player."""

import base64
import mimetypes
import os
from collections.abc import Sequence

from . import html
from .segments import Segment

_MOST_BYTES = 8 << 20  # of a recording that a notebook carries
_STYLE = """<style>
.nanoasr { line-height: 1.9; } .nanoasr audio { display: block; width: 100%; max-width: 40rem; margin: .4rem 0; }
.nanoasr .paragraph { display: flex; gap: .7rem; align-items: baseline; } .nanoasr p { margin: 0; flex: 1; }
.nanoasr .time, .nanoasr .speaker { font-size: .8rem; border: 0; background: none; color: inherit; opacity: .75; }
.nanoasr .token { border-bottom: 1px dotted #8a8f98; cursor: pointer;
  background: color-mix(in srgb, #E69F00 calc((1 - var(--p)) * 65%), transparent); }
.nanoasr .tentative { font-style: italic; opacity: .75; } .nanoasr small { opacity: .75; }
</style>"""
_PLAY = (
    "const at = event.target.closest('[data-start]'), player = this.querySelector('audio');"
    "if (at && player) { player.currentTime = at.dataset.start; player.play(); }"
)


def transcript_html(segments: Sequence[Segment], note: str, audio: str | None) -> str:
    """A transcript; a click on a word plays it, if its recording is there."""
    text = html.transcript(segments).replace(" data-tip=", " title=")
    return (
        f'{_STYLE}<div class="nanoasr" onclick="{_PLAY}">{_player(audio)}{text}<small>{html.escape(note)}</small></div>'
    )


def live_html(committed: str, tentative: str, note: str) -> str:
    """The text of a live session so far."""
    tentative = f' <span class="tentative">{html.escape(html.clean(tentative))}</span>' if tentative else ""
    text = f"<p>{html.escape(html.clean(committed))}{tentative}</p>"
    return f'{_STYLE}<div class="nanoasr">{text}<small>{html.escape(note)}</small></div>'


def arrays_html(arrays: dict[str, Sequence[int]]) -> str:
    """The shapes of named arrays, as a table."""
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{list(shape)}</td></tr>" for name, shape in arrays.items())
    return f"<table><thead><tr><th>stage</th><th>shape</th></tr></thead><tbody>{rows}</tbody></table>"


def _player(path: str | None) -> str:
    try:
        if path is None or os.path.getsize(path) > _MOST_BYTES:
            return ""
        with open(path, "rb") as file:
            content = base64.b64encode(file.read()).decode()
    except OSError:
        return ""
    kind = mimetypes.guess_type(path)[0] or "audio/wav"
    return f'<audio controls src="data:{kind};base64,{content}"></audio>'
