"""Results of the Compare tab as HTML; everything is escaped."""

from collections.abc import Callable, Sequence

from ..introspection.compare import Result, Spread, Summary
from ..results.scoring import word_diff
from . import html

_FIGURES = ("WER", "CER", "log prob.", "RTF")


def rows(found: Sequence[Result]) -> str:
    """Every run, equal ones folded, with differences from the reference or else from the recording's first text."""
    if not found:
        return ""
    several = len({result.recording for result in found}) > 1
    first: dict[str, str] = {}
    known_errors: set[tuple[str, str]] = set()
    body, recording = [], None
    for runs in _folded(found):
        result = runs[0]
        heading = several and result.recording != recording
        if heading:
            body.append(f"<tr class='recording'><th colspan='6'>{html.escape(result.recording)}</th></tr>")
            recording = result.recording
        if result.error:
            key = result.setting.name, result.error
            text = f"<em>{'the same error' if key in known_errors else html.escape(result.error)}</em>"
            known_errors.add(key)
        else:
            text = _marked(result.reference or first.setdefault(result.recording, result.text), result.text)
        speeds = [run.real_time_factor for run in runs if run.real_time_factor is not None]
        figures = (
            _share(result.wer), _share(result.cer), _number(result.logprob, 3),
            _number(sum(speeds) / len(speeds) if speeds else None, 3),
        )  # fmt: skip
        name = html.escape(result.setting.name) + _runs(runs)
        body.append(f"<tr><th>{name}</th><td class='said'>{text}</td>{_cells(_FIGURES, figures)}</tr>")
    against = "the reference" if any(result.reference for result in found) else "the first text"
    legend = (
        f'<div class="legend"><span>Compared with {against}:</span> <ins>changed or added</ins> '
        "<del>missing or replaced</del></div>"
    )
    return legend + _table(["setting", "text", *_FIGURES], "".join(body))


def _folded(found: Sequence[Result]) -> list[list[Result]]:
    """Runs of one setting on one recording that gave the same come together, in the order of the first."""
    groups: dict[tuple, list[Result]] = {}
    for result in found:
        groups.setdefault((result.recording, result.setting.name, result.text, result.error), []).append(result)
    return list(groups.values())


def _runs(runs: list[Result]) -> str:
    seeds = ", ".join(str(run.seed) for run in runs if run.seed is not None)
    times = f"{len(runs)} × the same" if len(runs) > 1 else ""
    said = ": ".join(part for part in (times, f"seed {seeds}" if seeds else "") if part)
    return f" <small>{said}</small>" if said else ""


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
    """One row of figures for each setting."""
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
