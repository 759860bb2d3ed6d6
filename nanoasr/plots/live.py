"""How late the text of a live session came."""

from collections.abc import Sequence

import plotly.graph_objects as go

from .style import BLUE, ORANGE, styled


def latency_chart(
    updates: Sequence[tuple[float, float]], waits: Sequence[tuple[float, float]], seconds: float
) -> go.Figure:
    """How long the model took for each update, and how long each word took from its end until it was committed.

    Both are pairs of (second of the recording, seconds late).
    """
    figure = go.Figure()
    figure.add_scatter(
        x=[at for at, _ in updates], y=[late for _, late in updates], name="work for an update", mode="lines+markers",
        line={"color": BLUE, "width": 1.5}, marker={"size": 5},
        hovertemplate="at %{x:.1f} s: %{y:.2f} s of work<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[at for at, _ in waits], y=[wait for _, wait in waits], name="from a word's end to its commit",
        mode="markers", marker={"color": ORANGE, "size": 8, "symbol": "diamond"},
        hovertemplate="a word committed at %{x:.1f} s, %{y:.2f} s after its end<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="time, s", range=[0, max(seconds, 1.0)])
    figure.update_yaxes(title_text="seconds", rangemode="tozero")
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    return styled(figure, height=220).update_layout(showlegend=True, legend=legend, margin_t=30)
