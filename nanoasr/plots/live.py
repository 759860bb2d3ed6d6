"""Latency of the text of a live session."""

from collections.abc import Sequence

import plotly.graph_objects as go

from ..live.word_times import WordTime
from .style import BLUE, FAINT, GREEN, GREY, ORANGE, plain, styled

_MOST_NAMED = 40  # words; more names would overlap
_LONGEST_NAME = 24


def latency_chart(words: Sequence[WordTime], updates: Sequence[tuple[float, float]], seconds: float) -> go.Figure:
    """Draw for each word how long after its end it was first shown, and how long until it was final.

    words     of a session (`WordTimes`); those without an end are left out
    updates   (second of the recording, seconds of work) of each update, drawn for comparison
    seconds   how long the recording is
    """
    known = [word for word in words if word.end is not None]
    figure = go.Figure()
    figure.add_scatter(
        x=[at for at, _ in updates], y=[late for _, late in updates], name="work for an update", mode="lines",
        line={"color": BLUE, "width": 1.5}, hovertemplate="at %{x:.1f} s: %{y:.2f} s of work<extra></extra>",
    )  # fmt: skip
    gap = [None] * len(known)
    ends = [word.end for word in known]
    figure.add_scatter(
        x=_interleaved(ends, ends, gap), mode="lines", line={"color": FAINT, "width": 2}, hoverinfo="skip",
        y=_interleaved([w.shown - w.end for w in known], [w.settled - w.end for w in known], gap), showlegend=False,
    )  # fmt: skip
    figure.add_scatter(
        x=ends, y=[0] * len(known), name="a word's end", mode="markers",
        marker={"color": GREY, "size": 9, "symbol": "line-ns-open"}, customdata=[plain(w.text, 90) for w in known],
        hovertemplate="“%{customdata}” ends at %{x:.2f} s<extra></extra>",
    )  # fmt: skip
    names = [plain(word.text, _LONGEST_NAME) for word in known] if len(known) <= _MOST_NAMED else None
    for name, times, marker, text in (
        ("first shown", [w.shown for w in known], {"color": ORANGE, "symbol": "circle-open", "line_width": 2}, None),
        ("final", [w.settled for w in known], {"color": GREEN, "symbol": "diamond"}, names),
    ):
        figure.add_scatter(
            x=ends, y=[time - end for time, end in zip(times, ends, strict=True)], name=name,
            mode="markers+text" if text else "markers", marker={"size": 8} | marker, cliponaxis=False,
            text=text, textposition="top center", textfont={"size": 9},
            customdata=[[plain(word.text, 90), time] for word, time in zip(known, times, strict=True)],
            hovertemplate=f"“%{{customdata[0]}}” {name} at %{{customdata[1]:.1f}} s, "
            "%{y:.2f} s after its end<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="time in the recording, s", range=[0, max(seconds, 1.0)], minallowed=0)
    figure.update_yaxes(title_text="after the word's end, s")
    legend = {"orientation": "h", "x": 0, "y": 1.1, "yanchor": "bottom"}
    return styled(figure, height=275).update_layout(showlegend=True, legend=legend, margin_t=45)


def _interleaved(*rows: Sequence[float | None]) -> list[float | None]:
    return [value for column in zip(*rows, strict=True) for value in column]
