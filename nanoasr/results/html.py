"""Text as HTML for the page and for notebooks: paragraphs of coloured tokens. Everything is escaped here."""

import html
import math
from bisect import bisect_right
from collections.abc import Sequence

from .segments import Segment
from .words import Token

_MOST_TOKENS = 4000  # spans that a page stays quick with; segments beyond are plain text
_SPEAKER_COLOURS = 6  # in page.css


def transcript(segments: Sequence[Segment]) -> str:
    """The text: one paragraph a segment with its time, and tokens shaded by how unsure the model was of them."""
    speakers = list(dict.fromkeys(segment.speaker for segment in segments if segment.speaker))
    left, rows = _MOST_TOKENS, []
    for segment in segments:
        shown = _segment_tokens(segment, left, is_first=not rows)
        left = max(0, left - len(segment.tokens))
        colour = speakers.index(segment.speaker) % _SPEAKER_COLOURS if segment.speaker else None
        rows.append(_paragraph(segment, shown or escape(clean(segment.text)), colour))
    return "".join(rows)


def _paragraph(segment: Segment, text: str, colour: int | None) -> str:
    marks = ""
    if segment.repetition_stopped:
        marks += '<em title="The model began to repeat itself and was stopped.">repetition stopped</em>'
    if segment.truncated:
        marks += '<em title="The limit of tokens was reached: text may be missing.">cut off</em>'
    if segment.speaker:
        name = escape(clean(segment.speaker))
        marks += (
            f'<button type="button" class="speaker" data-speaker="{name}" aria-label="Rename {name}">{name}</button>'
        )
    span = f"{clock(segment.start)}–{clock(segment.end)}"
    kind = "paragraph" if colour is None else f"paragraph spoken-{colour}"
    return (
        f'<div class="{kind}" data-text="{escape(clean(segment.text))}">'
        f'<button type="button" class="time" data-start="{segment.start:.3f}" data-end="{segment.end:.3f}" '
        f'title="Play {span}" aria-label="Play {span}">▶ {clock(segment.start)}</button>'
        f"<p>{text}</p>{marks}</div>"
    )


def _segment_tokens(segment: Segment, most: int, is_first: bool) -> str:
    """The tokens of a segment as spans; empty where there are none, or more than `most`."""
    if len(segment.tokens) > most:
        return ""
    words = [(word.start, word.end) for word in segment.words if word.start is not None and word.end is not None]
    starts = [start for start, _ in words]
    pieces = []
    for place, token in enumerate(segment.tokens):
        at = bisect_right(starts, token.start) - 1 if words and token.start is not None else None
        word = words[max(at, 0)] if at is not None else None
        pieces.append(token_span(token, word, can_focus=is_first and place == 0))
    return "".join(pieces).lstrip()


def token_span(token: Token, word: tuple[float, float] | None, can_focus: bool) -> str:
    """A token with its alternatives as a tip, and the times of its word."""
    share = probability(token.logprob)
    lines = [f"{visible(token.text)}   {share:.1%}   " + (f"id {token.id}" if token.id >= 0 else "corrected")]
    if token.start is not None and token.end is not None:
        lines.append(f"{token.start:.2f}–{token.end:.2f} s")
    others = ""
    if token.alternatives:
        lines.append("alternatives:")
        lines += [_alternative(other.text, other.logprob, other.id == token.id) for other in token.alternatives]
        others = f' data-others="{" ".join(str(other.id) for other in token.alternatives)}"'
    tip = escape("\n".join(lines))
    play = f' data-start="{word[0]:.3f}" data-end="{word[1]:.3f}"' if word else ""
    # one stop of the Tab key for all tokens: arrow keys move between them (page.js)
    focus = f'tabindex="{0 if can_focus else -1}" style="--p:{share:.3f}"'
    kind = "token" if token.id >= 0 else "token corrected"
    return f'<span class="{kind}" {focus} data-tip="{tip}"{others}{play}>{escape(_shown(token.text))}</span>'


def _alternative(text: str, logprob: float, chosen: bool) -> str:
    share = probability(logprob)
    bar = "█" * round(share * 12) or "▏"
    return f"{'▸' if chosen else ' '} {share:6.1%}  {visible(text)}  {bar}"


def probability(logprob: float) -> float:
    """A log-probability as a probability; 0 where it is not a number."""
    return min(math.exp(logprob), 1.0) if math.isfinite(logprob) else 0.0


def visible(text: str) -> str:
    """A token's text with visible spaces, line ends and incomplete characters."""
    if not text.strip("\ufffd"):
        return "(bytes)"
    return clean(text).replace("\n", "↵").replace(" ", "␣")


def clock(seconds: float) -> str:
    """1:02.50"""
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes)}:{rest:05.2f}"


def escape(text: object) -> str:
    """Text as HTML, quotes too."""
    return html.escape(str(text), quote=True)


def clean(text: str) -> str:
    """Text without the control characters that HTML cannot hold."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def _shown(text: str) -> str:
    return clean(text).replace("\n", "↵") or "·"
