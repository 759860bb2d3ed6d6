"""Stages of the network, from `Recognizer.inspect`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
import plotly.graph_objects as go

from ..audio.files import SAMPLE_RATE
from .style import (
    BLUE,
    COLUMNS,
    GREEN,
    SKY,
    bin_frequencies,
    centres,
    colour_range,
    follow,
    heat_map,
    limit_time,
    mel_ticks,
    plain,
    pooled,
    styled,
)

if TYPE_CHECKING:
    from ..families.base import Inspection
    from ..families.paraformer import ParaformerInspection

_MOST_CTC_UNITS = 16


def filterbank_map(inspection: "Inspection") -> go.Figure:
    """Draw log mel energies over time."""
    z = pooled(np.array(inspection.filterbank).T)
    frequencies = np.repeat(bin_frequencies()[:, None], z.shape[1], axis=1).astype(np.int16)
    figure = heat_map(z, _seconds(inspection), "Viridis", "log energy", customdata=frequencies, **colour_range(z))
    figure.data[0].hovertemplate = "%{x:.2f} s, mel bin %{y} (%{customdata} Hz)<br>log energy %{z:.2f}<extra></extra>"
    ticks = mel_ticks()
    figure.update_yaxes(title_text="mel, Hz", tickvals=list(ticks), ticktext=list(ticks.values()))
    return styled(figure, height=260)


def features_map(inspection: "Inspection") -> go.Figure:
    """Draw the stacked (low frame rate) features over time."""
    z = pooled(np.array(inspection.features).T)
    figure = heat_map(z, _seconds(inspection), "Cividis", "value", rows=560, **colour_range(z))
    figure.update_yaxes(title_text="LFR feature")
    return styled(figure, height=300)


def encoded_map(inspection: "Inspection") -> go.Figure:
    """Draw the encoder's output over time, each dimension scaled to its standard deviation."""
    return _activations(np.array(inspection.encoded.astype(mx.float32)), _seconds(inspection), "encoder dimension")


def wave_chart(inspection: "Inspection") -> go.Figure:
    """Draw the waveform: the highest and the lowest sample of each column."""
    samples, seconds = np.array(inspection.samples), _seconds(inspection)
    starts = np.arange(min(2 * COLUMNS, len(samples))) * len(samples) // min(2 * COLUMNS, len(samples))
    x = np.repeat(centres(seconds, len(starts)), 2)
    y = np.stack([np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)], axis=1).ravel()
    line = {"color": SKY, "width": 1}
    figure = go.Figure(go.Scatter(x=x, y=y, line=line, hovertemplate="%{x:.2f} s: %{y:.3f}<extra></extra>"))
    follow(limit_time(figure, seconds), x=(1, 0)).update_xaxes(title_text="time, s", range=[0, seconds])
    figure.update_yaxes(title_text="amplitude (1 is full scale)")
    return styled(figure, height=200)


def adapted_map(inspection: "Inspection") -> go.Figure:
    """Draw the adaptor's output; a line ends the frames that the language model is given."""
    frames = np.array(inspection.adapted.astype(mx.float32))
    figure = _activations(frames, None, "LLM dimension")
    used = inspection.audio_tokens.shape[0]
    follow(figure, x=(len(frames) / _seconds(inspection), 1, -0.5))
    figure.update_xaxes(title_text=f"adaptor frame ({used} of {len(frames)} go to the LLM)")
    if used < len(frames):
        figure.add_vline(x=used - 0.5, line={"color": GREEN, "width": 3})
    return figure


def similarity_map(inspection: "Inspection") -> go.Figure:
    """Draw the similarity of the encoder's frames: blocks are sounds that last or recur."""
    frames = pooled(np.array(inspection.encoded.astype(mx.float32)).T, 200).T
    frames = frames - frames.mean(axis=0)
    frames /= np.maximum(np.linalg.norm(frames, axis=1, keepdims=True), 1e-9)
    seconds = _seconds(inspection)
    figure = heat_map(frames @ frames.T, seconds, "RdBu_r", "cosine", zmin=-1, zmax=1, showscale=True)
    figure.data[0].colorbar.update(title={"text": "cosine", "side": "right"})
    times = centres(seconds, len(frames))
    figure.data[0].update(y=times, hovertemplate="%{x:.2f} s and %{y:.2f} s<br>cosine %{z:.2f}<extra></extra>")
    follow(figure, y=(1, seconds / len(times))).update_yaxes(title_text="time, s")
    return styled(figure, height=420)


def ctc_map(inspection: "Inspection", unit_name: Callable[[int], str] = str, blank: int = -1) -> go.Figure | None:
    """Draw the likeliest units of the CTC branch over time; None if the checkpoint has no such branch.

    `unit_name` maps an id to the label of its row; `blank` is the id of blank, -1 the last.
    """
    if inspection.ctc_logprobs is None:
        return None
    probabilities = np.exp(np.array(inspection.ctc_logprobs.astype(mx.float32)))
    blank %= probabilities.shape[1]
    peaks = probabilities.max(axis=0)
    peaks[blank] = -1
    chosen = np.sort(np.argsort(-peaks)[: min(_MOST_CTC_UNITS, len(peaks) - 1)])
    chosen = chosen[np.argsort(probabilities[:, chosen].argmax(axis=0), kind="stable")]  # in the order of the speech
    rows = [blank, *chosen[::-1].tolist()]
    names = ["blank"] + [f"{plain(unit_name(int(i)), 16)} · {i}" for i in rows[1:]]
    figure = heat_map(pooled(probabilities[:, rows].T), _seconds(inspection), "Viridis", "probability", zmin=0, zmax=1)
    figure.data[0].update(
        y=np.arange(len(rows)), customdata=np.repeat(np.array(names)[:, None], figure.data[0].z.shape[1], axis=1),
        hovertemplate="%{x:.2f} s, %{customdata}<br>probability %{z:.3f}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(title_text="CTC unit · id", tickvals=np.arange(len(rows)), ticktext=names)
    return styled(figure, height=360)


def first_token_bar(inspection: "Inspection", token_name: Callable[[int], str] = str) -> go.Figure:
    """Draw the probabilities of the ten likeliest first tokens."""
    logits = np.array(inspection.first_logits.astype(mx.float32)).astype(np.float64)
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    best = np.argsort(-probabilities)[:10][::-1]
    names = [f"{plain(token_name(int(i)), 20)} · {i}" for i in best]
    figure = go.Figure(
        go.Bar(
            orientation="h", x=probabilities[best], y=names, marker={"color": BLUE},
            hovertemplate="%{y}<br>probability %{x:.4f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="probability", rangemode="tozero")
    figure.update_yaxes(title_text="token · id", type="category")
    return styled(figure, height=320)


def acoustic_map(inspection: "ParaformerInspection") -> go.Figure:
    """Draw what integrate-and-fire gathered for each token, each dimension scaled to its standard deviation."""
    figure = _activations(np.array(inspection.acoustic.astype(mx.float32)), None, "dimension")
    return follow(figure, x="token").update_xaxes(title_text="token")


def _activations(frames: np.ndarray, seconds: float | None, title: str) -> go.Figure:
    spread = frames.std(axis=0)
    scaled = (frames - frames.mean(axis=0)) / np.where(spread > 1e-9, spread, 1)
    z = pooled(scaled.T)
    figure = heat_map(z, seconds, "RdBu_r", "standard deviations", rows=frames.shape[1], zmin=-3, zmax=3)
    figure.update_yaxes(title_text=title)
    return styled(figure, height=300)


def _seconds(inspection: "Inspection") -> float:
    return inspection.samples.shape[0] / SAMPLE_RATE
