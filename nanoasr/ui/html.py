"""Results as HTML. Everything that comes from a model, a file or a visitor is escaped here."""

import html
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from ..introspection.info import Info
from ..plots import stage_seconds
from ..results.transcript import Segment, Timings, Token, Transcript

_MOST_TOKENS = 4000  # spans that a page stays quick with; segments beyond are plain text


def message(text: str, kind: str = "info") -> str:
    """A sentence for the visitor. kind: info, done, warning or error."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="message {kind}" role="{role}">{escape(text)}</div>'


def progress(text: str, share: float | None) -> str:
    """A sentence with a progress bar; `share` is None where the progress is not known."""
    value = "" if share is None else f' value="{min(max(share, 0.0), 1.0):.4f}"'
    return (
        f'<div class="message info" role="status"><span>{escape(text)}</span>'
        f'<progress max="1"{value} aria-label="{escape(text)}"></progress></div>'
    )


def streaming_text(text: str) -> str:
    """Text while it is being written; its end stays in sight."""
    return f'<div class="text streaming" role="log" aria-label="Text" tabindex="0"><div>{escape(text)}</div></div>'


def transcript(found: Transcript) -> str:
    """The text: one paragraph a segment with its time, and tokens shaded by how unsure the model was of them.

    Pointing at a token shows the alternatives; a click plays its word.
    """
    if not found.segments:
        return streaming_text("")
    times = any(token.start is not None for token in found.tokens)
    left, rows = _MOST_TOKENS, []
    for segment in found.segments:
        shown = _segment_tokens(segment, left, is_first=not rows)
        left = max(0, left - len(segment.tokens))
        rows.append(_paragraph(segment, shown or escape(_clean(segment.text))))
    return (
        '<div class="legend"><span>sure</span><i class="scale"></i>'
        f"<span>unsure. Point at a token to see its alternatives{', click it to hear its word' if times else ''}."
        f'</span></div><div class="text" tabindex="0" role="region" aria-label="Text">{"".join(rows)}</div>'
    )


def _paragraph(segment: Segment, text: str) -> str:
    marks = ""
    if segment.repetition_stopped:
        marks += '<em title="The model began to repeat itself and was stopped.">repetition stopped</em>'
    if segment.truncated:
        marks += '<em title="The limit of tokens was reached: text may be missing.">cut off</em>'
    if segment.speaker:
        marks += f"<b>{escape(_clean(segment.speaker))}</b>"
    span = f"{clock(segment.start)}–{clock(segment.end)}"
    return (
        f'<div class="paragraph" data-text="{escape(_clean(segment.text))}">'
        f'<button type="button" class="time" data-start="{segment.start:.3f}" data-end="{segment.end:.3f}" '
        f'title="Play {span}" aria-label="Play {span}">▶ {clock(segment.start)}</button>'
        f"<p>{text}{marks}</p></div>"
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
        pieces.append(_token(token, word, first=is_first and place == 0))
    return "".join(pieces).lstrip()


def _token(token: Token, word: tuple[float, float] | None, first: bool) -> str:
    share = _probability(token.logprob)
    lines = [f"{visible(token.text)}   {share:.1%}   id {token.id}"]
    if token.start is not None and token.end is not None:
        lines.append(f"{token.start:.2f}–{token.end:.2f} s")
    if token.alternatives:
        lines.append("alternatives:")
        lines += [_alternative(other.text, other.logprob, other.id == token.id) for other in token.alternatives]
    tip = escape("\n".join(lines))
    play = f' data-start="{word[0]:.3f}" data-end="{word[1]:.3f}"' if word else ""
    # one stop of the Tab key for all tokens: arrow keys move between them (page.js)
    attributes = f'class="token" tabindex="{0 if first else -1}" style="--p:{share:.3f}" data-tip="{tip}"{play}'
    return f"<span {attributes}>{escape(_shown(token.text))}</span>"


def _alternative(text: str, logprob: float, chosen: bool) -> str:
    share = _probability(logprob)
    bar = "█" * round(share * 12) or "▏"
    return f"{'▸' if chosen else ' '} {share:6.1%}  {visible(text)}  {bar}"


def _probability(logprob: float) -> float:
    return min(math.exp(logprob), 1.0) if math.isfinite(logprob) else 0.0


def figures(timings: Timings) -> str:
    """Times, tokens and memory of a run."""
    shown = [
        (f"{timings.audio_seconds:.1f} s", "of audio"),
        (f"{timings.total:.2f} s", "of work"),
        (f"{timings.real_time_factor:.3f}", "real-time factor"),
        (f"{timings.tokens}", "tokens"),
    ]
    if timings.tokens_per_second:
        shown.append((f"{timings.tokens_per_second:.0f}", "tokens/s"))
    if timings.peak_memory is not None:
        shown.append((f"{timings.peak_memory / 2**20:,.0f} MiB", "peak memory of the process"))
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for value, name in shown)
    stages = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)} {seconds:.3f} s</span>'
        for name, seconds, colour in stage_seconds(timings)
    )
    return f'<div class="figures">{cells}</div><div class="stages">{stages}</div>'


def model_line(info: Info) -> str:
    """The loaded model in one line, for the head of the page."""
    millions = sum(info.parameters.values()) / 1e6
    name = info.source.rstrip("/").split("/")[-1]
    return (
        f'<div class="model-line"><b>{escape(name)}</b> · {millions:.1f} M parameters · '
        f"{escape(info.precision)} · {escape(info.device)}</div>"
    )


def model_table(info: Info) -> str:
    """All details of the loaded model."""
    times = (
        f"yes, by {info.aligner}" if info.timestamps else "no: it has no usable CTC branch, so segments have times only"
    )
    rows = [
        ("Checkpoint", info.source),
        ("Family", info.family),
        ("Layout", info.layout),
        ("Precision", info.precision),
        *([("Audio tokens", f"{info.audio_tokens} rate")] if info.audio_tokens else []),
        ("Token times", times),
        ("Languages", ", ".join(info.languages)),
        ("Device", info.device),
    ]
    if info.blas:
        rows.append(("BLAS", info.blas))
    rows += [("Note", note) for note in info.notes]
    parts = [
        (name, f"{count / 1e6:,.2f} M", f"{info.megabytes[name]:,.1f} MB") for name, count in info.parameters.items()
    ]
    total = f"{sum(info.parameters.values()) / 1e6:,.2f} M", f"{sum(info.megabytes.values()):,.1f} MB"
    return table(None, rows) + table(("Part", "Parameters", "Memory"), [*parts, ("all", *total)])


def table(head: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> str:
    """A plain table; without a head the first column names the rows."""
    top = f"<thead><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    body = "".join(
        "<tr>" + f"<th>{escape(first)}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    return f'<div class="scroll"><table class="plain">{top}<tbody>{body}</tbody></table></div>'


def prompt(before: Sequence[tuple[int, str]], audio_tokens: int, after: Sequence[tuple[int, str]]) -> str:
    """The prompt, token by token, with the position of the audio."""

    def chips(ids: Sequence[tuple[int, str]]) -> str:
        return "".join(f"<span class='chip'><b>{escape(text)}</b><i>{i}</i></span>" for i, text in ids)

    first, last = len(before), len(before) + audio_tokens - 1
    audio = f"<span class='chip audio'><b>{audio_tokens} audio tokens</b><i>positions {first}–{last}</i></span>"
    return f'<div class="prompt">{chips(before)}{audio}{chips(after)}</div>'


def play_button(path: str, name: str) -> str:
    """A button that plays a recording on this server."""
    address = escape(f"gradio_api/file={quote(path)}")
    return f'<button type="button" class="small" data-src="{address}" aria-label="Play {escape(name)}">▶</button>'


def copy_button(text: str) -> str:
    """A button that copies a text."""
    return f'<button type="button" class="small" data-copy="{escape(_clean(text))}">Copy</button>'


def visible(text: str) -> str:
    """A token's text with visible spaces, line ends and incomplete characters."""
    if not text.strip("\ufffd"):
        return "(bytes)"
    return _clean(text).replace("\n", "↵").replace(" ", "␣")


def clock(seconds: float) -> str:
    """1:02.50"""
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes)}:{rest:05.2f}"


def escape(text: object) -> str:
    """Text as HTML, quotes too."""
    return html.escape(str(text), quote=True)


def _clean(text: str) -> str:
    """Text without the control characters that HTML cannot hold."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def _shown(text: str) -> str:
    return _clean(text).replace("\n", "↵") or "·"
