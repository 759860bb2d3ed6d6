"""Results of the Compare tab as HTML; everything is escaped."""

from collections.abc import Callable, Mapping, Sequence

import plotly.graph_objects as go

from .. import plots
from ..introspection.compare import Result, Spread, Summary
from ..results.scoring import word_diff
from . import html

_FIGURES = ("WER", "CER", "log prob.", "RTF")


def rows(found: Sequence[Result], paths: Mapping[str, str] | None = None) -> str:
    """Every text, grouped by recording, with its differences from the reference or else from the first text.

    Equal texts of a recording share a row. `paths` of the recordings let them be played.
    """
    if not found:
        return ""
    body, known_errors = [], set()
    for recording, runs in _grouped(found, lambda result: result.recording).items():
        texts = list(_grouped(runs, lambda result: (result.text, result.error)).values())
        first = next((same[0].text for same in texts if not same[0].error), "")
        play = html.play_button(paths[recording], recording) if paths else ""
        body.append(f"<tr class='recording'><th colspan='{len(_FIGURES) + 3}'>{play}{html.escape(recording)}</th></tr>")
        for same in texts:
            body.append(_row(same, same[0].reference or first, same[0].error in known_errors))
            known_errors.add(same[0].error)
    against = "the reference" if any(result.reference for result in found) else "the first text"
    legend = (
        f'<div class="legend"><span>Compared with {against}:</span> <ins>changed or added</ins> '
        "<del>missing or replaced</del></div>"
    )
    return legend + _table(["setting", "text", *_FIGURES, ""], "".join(body))


def _row(same: list[Result], base: str, known_error: bool) -> str:
    result = same[0]
    error = "the same error" if known_error else html.escape(result.error)
    text = f"<em>{error}</em>" if result.error else marked(base, result.text)
    speeds = [run.real_time_factor for run in same if run.real_time_factor is not None]
    figures = (
        _share(result.wer), _share(result.cer), _number(result.logprob),
        _number(sum(speeds) / len(speeds) if speeds else None),
    )  # fmt: skip
    copy = "" if result.error else html.copy_button(result.text)
    return f"<tr><th>{_names(same)}</th><td class='said'>{text}</td>{_cells(_FIGURES, figures)}<td>{copy}</td></tr>"


def _grouped(found: Sequence[Result], key: Callable[[Result], object]) -> dict:
    """Groups in the order of their first members."""
    groups: dict[object, list[Result]] = {}
    for result in found:
        groups.setdefault(key(result), []).append(result)
    return groups


def _names(same: list[Result]) -> str:
    """The settings, with their seeds, that gave the same text."""
    names = []
    for name, runs in _grouped(same, lambda result: result.setting.name).items():
        seeds = ", ".join(str(run.seed) for run in runs if run.seed is not None)
        names.append(html.escape(name) + (f" <small>seed {seeds}</small>" if seeds else ""))
    return ", ".join(names) + (f" <small>{len(same)} × the same</small>" if len(same) > 1 else "")


def marked(base: str | None, text: str) -> str:
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


def beam_search(found: Sequence[Result]) -> tuple[str, go.Figure | None]:
    """A caption and the tree of the hypotheses, of the first recording and the setting with most beams."""
    for result in sorted(found, key=lambda result: -result.setting.sampling.beams):
        if tree := plots.beam_tree(result.segments):
            of = f"{html.escape(result.recording)}, {html.escape(result.setting.name)}"
            return f'<p class="legend">The hypotheses of the beam search and their scores: {of}</p>', tree
    return "", None


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
