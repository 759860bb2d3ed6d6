"""Attention maps, from `Recognizer.attention` and `Recognizer.text_attention`."""

import math
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..audio.files import SAMPLE_RATE
from ..errors import OptionError
from .style import centres, follow, heat_map, limit_time, plain, pooled, styled

if TYPE_CHECKING:
    from ..families.base import Inspection
    from ..introspection.attention import TextAttention

_MOST_LABELS = 60
_SMALL = 100  # rows and columns of a small map


def attention_map(inspection: "Inspection", weights: mx.array, head: int | None = None) -> go.Figure:
    """Draw a head of an encoder layer, or the mean of all: each row is a frame, each column one it attends to."""
    z = one_head(weights, head)
    seconds = inspection.samples.shape[0] / SAMPLE_RATE
    figure = _map(pooled(pooled(z).T).T, seconds)
    figure.data[0].update(
        y=figure.data[0].x,
        hovertemplate="at %{y:.2f} s, attends to %{x:.2f} s<br>%{z:.1%} of its attention<extra></extra>",
    )
    follow(figure, y=(1, seconds / len(figure.data[0].x)))
    figure.update_xaxes(title_text="attends to, s").update_yaxes(title_text="frame at, s")
    return styled(figure, height=420)


def head_maps(inspection: "Inspection", weights: mx.array, tokens: bool = False) -> go.Figure:
    """Draw all heads of a layer small, side by side: weights [heads, rows, columns], whose columns are frames or audio
    tokens, and whose rows are frames or, with `tokens`, tokens of the text."""
    heads = [pooled(head if tokens else pooled(head.T, _SMALL).T, _SMALL) for head in np.array(weights)]
    seconds, (rows, columns) = inspection.samples.shape[0] / SAMPLE_RATE, heads[0].shape
    if tokens:
        seconds *= len(inspection.audio_tokens) / len(inspection.adapted)
    across = math.ceil(math.sqrt(len(heads)))
    down = -(-len(heads) // across)
    figure = make_subplots(
        down, across, shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.02, vertical_spacing=0.12 / down,
        subplot_titles=[f"head {head}" for head in range(len(heads))],
    )  # fmt: skip
    place = "token %{y}" if tokens else "%{y:.2f} s"
    y = np.arange(rows) if tokens else centres(seconds, rows)
    for i, head in enumerate(heads):
        figure.add_heatmap(
            z=head.astype(np.float32), x=centres(seconds, columns), y=y, colorscale="Viridis", showscale=False, zmin=0,
            zmax=float(max(np.percentile(head, 99.7), 1e-6)), row=i // across + 1, col=i % across + 1,
            hovertemplate=f"head {i}: {place} attends to %{{x:.2f}} s<br>%{{z:.1%}}<extra></extra>",
        )  # fmt: skip
    limit_time(figure, seconds).update_annotations(font_size=11)
    figure.update_yaxes(**({"range": [rows - 0.5, -0.5]} if tokens else {}))
    figure.update_xaxes(title_text="attends to, s", row=down, col=1)
    figure.update_yaxes(title_text="token" if tokens else "frame at, s", row=down, col=1)
    follow(figure, x=(1, seconds / columns), y="token" if tokens else (1, seconds / rows))
    return styled(figure, height=110 + 130 * down).update_layout(margin_t=24)


def text_attention_map(
    inspection: "Inspection", attention: "TextAttention", head: int | None = None
) -> go.Figure | None:
    """Draw a head of a layer of the language model, or the mean of all: each row is a token of the text, each column an
    audio token it attends to. White lines are times of the CTC branch. None if there is no text."""
    tokens = attention.tokens
    if not tokens:
        return None
    used, frames = attention.audio.shape[2], inspection.adapted.shape[0]
    seconds = inspection.samples.shape[0] / SAMPLE_RATE * used / frames
    names = [plain(token.text.replace(" ", "␣"), 16) or "·" for token in tokens]
    figure = _map(one_head(attention.audio, head), seconds)
    columns = figure.data[0].z.shape[1]
    figure.data[0].update(
        customdata=np.repeat(np.array(names)[:, None], columns, axis=1),
        hovertemplate="%{customdata} attends to %{x:.2f} s<br>%{z:.1%} of its attention<extra></extra>",
    )
    follow(figure, y="token")
    if used == frames:  # else an audio token stands for more than its own time
        _add_times(figure, attention)
    step = -(-len(names) // _MOST_LABELS)
    where = "time, s" if used == frames else f"time, s (first {used} of {frames} frames)"
    figure.update_xaxes(title_text=where, range=[0, seconds])
    figure.update_yaxes(
        title_text="token of the text", tickvals=np.arange(len(names))[::step], ticktext=names[::step],
        range=[len(names) - 0.5, -0.5],
    )  # fmt: skip
    return styled(figure, height=min(max(18 * len(names) + 70, 240), 760))


def attention_shares(inspection: "Inspection", attention: "TextAttention") -> dict[str, float]:
    """Shares of attention of prompt, audio and text, averaged over heads and tokens."""
    weights = np.array(attention.weights).mean(axis=(0, 1)) if attention.tokens else np.zeros(1)
    edges = np.cumsum([len(inspection.prefix_ids), len(inspection.audio_tokens), len(inspection.suffix_ids)])
    names = "the prompt before the audio", "the audio", "the prompt after it", "the text so far"
    return {name: float(part.sum()) for name, part in zip(names, np.split(weights, edges), strict=True)}


def one_head(weights: mx.array, head: int | None = None) -> np.ndarray:
    """Select one head of weights [heads, …], or average all."""
    shown = np.array(weights)
    if head is not None and not 0 <= head < len(shown):
        raise OptionError(f"head={head!r:.80}: this layer has heads 0 to {len(shown) - 1}; None is the mean of all")
    return shown.mean(axis=0) if head is None else shown[head]


def _map(z: np.ndarray, seconds: float) -> go.Figure:
    top = float(max(np.percentile(z, 99.7), 1e-6))  # a few bright spots must not darken the rest
    figure = heat_map(z, seconds, "Viridis", "share", zmin=0, zmax=top, showscale=True)
    figure.data[0].colorbar.update(tickformat="~%", title={"text": "share", "side": "right"})
    return figure


def _add_times(figure: go.Figure, attention: "TextAttention") -> None:
    x, y = [], []
    for row, token in enumerate(attention.tokens):
        if token.start is not None and token.end is not None:
            x += [token.start, token.end, None]
            y += [row, row, None]
    if x:
        figure.add_scatter(
            x=x, y=y, mode="lines", line={"color": "white", "width": 2}, opacity=0.75,
            hovertemplate="CTC branch: %{x:.2f} s<extra></extra>",
        )  # fmt: skip
