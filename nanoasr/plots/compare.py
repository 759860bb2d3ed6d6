"""Settings side by side."""

from collections.abc import Sequence

import plotly.graph_objects as go

from ..introspection.compare import Spread, Summary
from .style import BLUE, GREEN, GREY, ORANGE, plain, styled


def quality_chart(summaries: Sequence[Summary]) -> go.Figure:
    """Draw each setting's word error rate, or its log probability without references; lines show the spread."""
    rates = [summary.wer for summary in summaries]
    if any(rates):
        figure = _chart(summaries, rates, "word error rate", ".1%", BLUE)
        return figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    logprobs = [summary.logprob for summary in summaries]
    return _chart(summaries, logprobs, "mean log probability per token (0 is certain)", ".3f", ORANGE)


def speed_chart(summaries: Sequence[Summary]) -> go.Figure:
    """Draw each setting's real-time factor; lines show the spread."""
    speeds = [summary.real_time_factor for summary in summaries]
    return _chart(summaries, speeds, "work, s per s of audio", ".3f", GREEN).update_xaxes(rangemode="tozero")


def _chart(
    summaries: Sequence[Summary], values: Sequence[Spread | None], what: str, digits: str, colour: str
) -> go.Figure:
    known = [(summary, value) for summary, value in zip(summaries, values, strict=True) if value]
    places = list(range(len(known)))  # not names: shortened, two may be equal
    names = [plain(summary.setting.name, 24) for summary, _ in known]
    spreads = [
        f"{value.low:{digits}} to {value.high:{digits}} in {summary.repeats} repeats" if summary.repeats > 1 else "once"
        for summary, value in known
    ]
    figure = go.Figure(
        go.Bar(
            orientation="h", x=[value.mean for _, value in known], y=places, width=0.6, marker={"color": colour},
            error_x={
                "type": "data", "symmetric": False, "color": GREY, "thickness": 2, "width": 5,
                "array": [value.high - value.mean for _, value in known],
                "arrayminus": [value.mean - value.low for _, value in known],
            },
            customdata=list(zip(names, spreads, strict=True)),
            hovertemplate=f"%{{customdata[0]}}<br>{what} %{{x:{digits}}}<br>%{{customdata[1]}}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text=what)
    figure.update_yaxes(tickvals=places, ticktext=names, autorange="reversed")
    return styled(figure, height=80 + 34 * max(len(known), 1))
