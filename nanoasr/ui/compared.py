"""What the Compare tab shows, as HTML; everything is escaped."""

from collections.abc import Callable, Sequence

from ..introspection.compare import Result, Spread, Summary
from ..results.scoring import word_diff
from . import html

_FIGURES = ("WER", "CER", "log prob.", "RTF")


def rows(found: list[Result]) -> str:
    """Every run; differences from the reference or, where there is none, from the first text of that recording."""
    if not found:
        return ""
    several, first = len({result.recording for result in found}) > 1, {}
    body = []
    for result in found:
        base = result.reference or first.setdefault(result.recording, result.text) if not result.error else None
        text = f"<em>{html.escape(result.error)}</em>" if result.error else _marked(base, result.text)
        run = f" <small>seed {result.seed}</small>" if result.seed is not None else ""
        where = f"<td>{html.escape(result.recording)}</td>" if several else ""
        figures = (
            _share(result.wer), _share(result.cer), _number(result.logprob, 3), _number(result.real_time_factor, 3)
        )  # fmt: skip
        name = html.escape(result.setting.name)
        body.append(
            f"<tr>{where}<th>{name}{run}</th><td class='said'>{text}</td>{_cells(_FIGURES, figures)}</tr>"
        )  # fmt: skip
    heads = (["recording"] if several else []) + ["setting", "text", *_FIGURES]
    against = "what is said" if any(result.reference for result in found) else "the first text"
    legend = (
        f'<div class="legend"><span>Against {against}:</span> <ins>changed or added</ins> <del>missing or '
        "replaced</del></div>"
    )
    return legend + _table(heads, "".join(body))


def _marked(base: str | None, text: str) -> str:
    if not base:
        return html.escape(text)
    parts = []
    for part in word_diff(base, text):
        if part.kind == "same":
            parts.append(html.escape(part.text))
            continue
        if part.reference:
            parts.append(f"<del>{html.escape(part.reference)}</del>")
        if part.text:
            parts.append(f"<ins>{html.escape(part.text)}</ins>")
    return " ".join(parts) or "<em>no text</em>"


def summary(summaries: list[Summary]) -> str:
    """Every setting in figures."""
    heads = ("repeats", *_FIGURES, "weights in memory")
    body = "".join(
        f"<tr><th>{html.escape(s.setting.name)}{_precision(s.precision)}</th>" + _cells(heads, (
            f"{s.repeats}", _spread(s.wer, _share), _spread(s.cer, _share), _spread(s.logprob, _number),
            _spread(s.real_time_factor, _number), "–" if s.model_megabytes is None else f"{s.model_megabytes:.0f} MB",
        )) + "</tr>"
        for s in summaries
    )  # fmt: skip
    return _table(("setting", *heads), body)


def _precision(words: str | None) -> str:
    return f"<small class='model'>{html.escape(words)}</small>" if words else ""


def _cells(names: Sequence[str], figures: Sequence[str]) -> str:
    return "".join(
        f"<td class='figure' data-name='{name}'>{figure}</td>"
        for name, figure in zip(names, figures, strict=True)
    )  # fmt: skip


def _table(heads: Sequence[str], body: str) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        f'<div class="scroll"><table class="plain compared"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _spread(spread: Spread | None, shown: Callable[[float], str]) -> str:
    if spread is None:
        return "–"
    return shown(spread.mean) + (f" ({shown(spread.low)} to {shown(spread.high)})" if spread.low < spread.high else "")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
