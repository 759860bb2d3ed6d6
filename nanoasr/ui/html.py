"""Results as HTML. Everything that comes from a model, a file or a visitor is escaped."""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from ..introspection.info import Info
from ..plots import Sound, stage_seconds
from ..results import html as text_html
from ..results.html import clean, clock, escape, visible
from ..results.transcript import Segment, Transcript

__all__ = ["clock", "escape", "visible"]  # besides what is defined here


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
    """The text, and how to read it. Pointing at a token shows the alternatives; a click plays its word."""
    if not found.segments:
        return streaming_text("")
    times = any(token.start is not None for token in found.tokens)
    return (
        '<div class="legend"><span>sure</span><i class="scale"></i>'
        f"<span>unsure. Point at a token to see its alternatives{', click it to hear its word' if times else ''}."
        '</span></div><div class="text" tabindex="0" role="region" aria-label="Text">'
        f"{text_html.transcript(found.segments)}</div>"
    )


def what_if(before: Segment, after: Segment, place: int) -> str:
    """A paragraph as it was and as the model went on from another token; `place` is its number in the text."""
    return (
        f'<section class="what-if" data-segment="{place}" data-use="{escape(clean(after.text))}">'
        f"<h2>What if</h2>{text_html.transcript([before])}{text_html.transcript([after])}"
        '<button type="button" class="small use">Use the second text</button> '
        '<button type="button" class="small close">Close</button></section>'
    )


def overview(sound: Sound, start: float, window: float) -> str:
    """The whole recording as a strip, and a slider for the part of it that the timeline shows."""
    if sound.seconds <= window:
        return ""
    columns = len(sound.high)
    top = " ".join(f"{x},{50 - 50 * y:.1f}" for x, y in enumerate(sound.high / max(sound.peak, 1e-6)))
    bottom = " ".join(f"{x},{50 - 50 * y:.1f}" for x, y in reversed(list(enumerate(sound.low / max(sound.peak, 1e-6)))))
    return (
        f'<div class="overview" style="--share:{window / sound.seconds:.4f}"><svg viewBox="0 0 {columns} 100" '
        f'preserveAspectRatio="none" aria-hidden="true"><polygon points="{top} {bottom}"/></svg>'
        f'<input type="range" min="0" max="{sound.seconds - window:.1f}" step="0.5" value="{start:.1f}" '
        f'aria-label="Beginning of the part shown, in seconds"></div>'
    )


def figures(found: Transcript) -> str:
    """Times, tokens and memory of a run."""
    timings = found.timings
    shown = [
        (f"{timings.audio_seconds:.1f} s", "of audio"),
        (f"{timings.total:.2f} s", "of work"),
        (f"{timings.real_time_factor:.3f}", "real-time factor"),
        (f"{timings.tokens}", "tokens"),
    ]
    if timings.tokens_per_second:
        shown.append((f"{timings.tokens_per_second:.0f}", "tokens/s"))
    passes = timings.steps + len(found.segments)  # a segment's prefill, which checks its draft, is a pass
    if timings.tokens:
        shown.append(
            (f"{timings.tokens / passes:.1f}", f"tokens a pass, in {passes} pass{'' if passes == 1 else 'es'}")
        )
    if timings.drafted:
        shown.append((f"{timings.accepted} of {timings.drafted}", "drafted tokens accepted"))
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


def model_table(info: Info, stored: int) -> str:
    """All details of the loaded model, whose files have `stored` bytes."""
    times = (
        f"yes, by {info.aligner}" if info.timestamps else "no: it has no usable CTC branch, so segments have times only"
    )
    rows = [
        ("Checkpoint", info.source),
        ("Family", info.family),
        ("Layout", info.layout),
        ("Precision", info.precision),
        ("Size", f"{stored / 1e6:,.0f} MB stored, {sum(info.megabytes.values()):,.0f} MB in memory"),
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
    return f'<button type="button" class="small" data-copy="{escape(clean(text))}">Copy</button>'
