"""Continuous integrate-and-fire: the weight of each frame, their running sum, and where tokens fire."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import BLUE, FAINT, ORANGE, VERMILION, follow, plain, styled

_MOST_NAMES = 60


def fire_chart(alphas: np.ndarray, peaks: np.ndarray, step: float, tokens: Sequence[str] = ()) -> go.Figure:
    """Weights [T] `step` seconds apart, and their running sums [T], as `inspect` of a Paraformer gives them.

    A token fires where the running sum reaches 1; `tokens` names them, in order.
    """
    seconds = np.arange(len(alphas)) * step
    fired = np.flatnonzero(peaks >= 1 - 1e-4)
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.08)
    figure.add_bar(
        row=1, col=1, x=seconds, y=alphas, marker={"color": BLUE}, name="weight",
        hovertemplate="%{x:.2f} s<br>weight %{y:.2f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        row=2, col=1, x=seconds, y=peaks, mode="lines", line={"color": ORANGE, "width": 1.5}, name="running sum",
        hovertemplate="%{x:.2f} s<br>running sum %{y:.2f}<extra></extra>",
    )  # fmt: skip
    names = [plain(tokens[i], 12) if i < len(tokens) else "" for i in range(len(fired))]
    figure.add_scatter(
        row=2, col=1, x=seconds[fired], y=peaks[fired], mode="markers+text", marker={"color": VERMILION, "size": 7},
        text=names if len(names) <= _MOST_NAMES else None, textposition="top center", name="token",
        customdata=names, hovertemplate="%{x:.2f} s<br>fires %{customdata}<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=1, line={"color": FAINT, "width": 2}, row=2, col=1)
    figure.update_yaxes(title_text="weight", range=[0, max(1.05, float(alphas.max(initial=0)))], row=1, col=1)
    figure.update_yaxes(title_text="running sum", range=[0, 2.2], row=2, col=1)
    follow(figure, x=(1, step)).update_xaxes(title_text="time, s", row=2, col=1)
    return styled(figure, height=340)
