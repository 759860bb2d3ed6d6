"""Plotly figures of transcripts and of what happens inside the network, for the app and the notebooks alike.

Backgrounds are transparent and lines a neutral grey, so that figures stand on light and dark pages; colour maps
and line colours are told apart by colour-blind people too. Long recordings are pooled to a few hundred columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from . import backend
from .audio import SAMPLE_RATE, read_blocks
from .features import (
    FRAME_LENGTH,
    FRAME_SHIFT,
    LFR_SHIFT,
    LFR_WINDOW,
    MEL_BINS,
    filterbank,
    frame_count,
    lfr,
    lfr_count,
    mel_matrix,
)
from .results import Timings, Transcript

if TYPE_CHECKING:
    from .recognizer import Inspection

COLUMNS = 600  # the most that a map is drawn with
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW = (  # Okabe and Ito's, for the colour-blind
    "#0072B2 #E69F00 #009E73 #D55E00 #56B4E9 #CC79A7 #C9BB22".split()
)
GREY, FAINT = "#8a8f98", "rgba(138,143,152,0.25)"
_BLOCK_SECONDS = 30.0
_ROWS = 140  # the most rows that an activation map is drawn with
_MOST_CTC_UNITS = 16
_STAGES = ("read", "vad", "features", "encoder", "adaptor", "prefill", "decode", "align")
_STAGE_COLOURS = (SKY, PURPLE, YELLOW, BLUE, GREEN, ORANGE, VERMILION, "#7f6fb5", GREY)


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording as it is drawn: few columns, whatever its length. Made by `sound`."""

    seconds: float
    low: np.ndarray  # [C]: the smallest and largest sample of each column
    high: np.ndarray
    mel: np.ndarray  # [80, C']: log mel energy
    features: np.ndarray  # [140, C'']: LFR features, four neighbouring mel bins averaged

    @property
    def peak(self) -> float:
        """The largest sample."""
        return float(max(self.high.max(), -self.low.min()))


def sound(source: object, seconds: float, sample_rate: int | None = None) -> Sound:
    """Read a recording of about `seconds` (a transcript's `duration`) once more, for drawing it.

    `source` is what `transcribe` takes. Memory stays small however long the recording is.
    """
    total = max(round(seconds * SAMPLE_RATE), 1)
    wave = _Pool(total, 2 * COLUMNS)
    low, high = np.full(wave.columns, np.inf, np.float32), np.full(wave.columns, -np.inf, np.float32)
    whole, rest = divmod(total, round(_BLOCK_SECONDS * SAMPLE_RATE))
    frames = whole * round(_BLOCK_SECONDS * SAMPLE_RATE / FRAME_SHIFT) + (max(frame_count(rest), 1) if rest else 0)
    mel, stacked = _MeanPool(frames, MEL_BINS), _MeanPool(lfr_count(frames), _ROWS)
    at = 0
    for block in read_blocks(source, sample_rate, seconds=_BLOCK_SECONDS):
        block = block[: total - at]
        if not len(block):
            break
        places = wave.places(at, len(block))
        np.minimum.at(low, places, block)
        np.maximum.at(high, places, block)
        bank, features = backend.run(_block_features, block)
        mel.add(at // FRAME_SHIFT, bank)
        stacked.add(at // (FRAME_SHIFT * LFR_SHIFT), features)
        at += len(block)
    heard = np.isfinite(low)
    return Sound(seconds, np.where(heard, low, 0), np.where(heard, high, 0), mel.mean(), stacked.mean())


def _block_features(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # a whole block is filled up, so that its frames and those of the next one follow each other without a gap
    missing = FRAME_LENGTH - FRAME_SHIFT if len(block) == _BLOCK_SECONDS * SAMPLE_RATE else 0
    bank = filterbank(mx.array(np.pad(block, (0, max(missing, FRAME_LENGTH - len(block))))))
    stacked = lfr(bank).reshape(-1, _ROWS, MEL_BINS * LFR_WINDOW // _ROWS).mean(axis=-1)
    return np.array(bank), np.array(stacked)


class _Pool:
    """Which column each of `total` things in a row belongs to."""

    def __init__(self, total: int, columns: int):
        self.total, self.columns = max(total, 1), min(max(total, 1), columns)

    def places(self, start: int, count: int) -> np.ndarray:
        return np.minimum(np.arange(start, start + count) * self.columns // self.total, self.columns - 1)


class _MeanPool:
    def __init__(self, total: int, rows: int):
        self.pool = _Pool(total, COLUMNS)
        self.sums = np.zeros((self.pool.columns, rows), np.float32)
        self.counts = np.zeros(self.pool.columns, np.float32)

    def add(self, start: int, frames: np.ndarray) -> None:
        places = self.pool.places(start, len(frames))
        np.add.at(self.sums, places, frames)
        np.add.at(self.counts, places, 1)

    def mean(self) -> np.ndarray:
        mean = self.sums / np.maximum(self.counts, 1)[:, None]
        mean[self.counts == 0] = np.nan
        return mean.T


def timeline(heard: Sound, transcript: Transcript | None = None) -> go.Figure:
    """What was said and heard, on one time axis: segments and words, waveform, log-mel spectrogram, LFR features."""
    figure = make_subplots(rows=4, shared_xaxes=True, vertical_spacing=0.035, row_heights=[0.13, 0.2, 0.34, 0.33])
    if transcript:
        _add_spoken(figure, transcript)
    x = _centres(heard.seconds, len(heard.low))
    for values, fill in ((heard.low, None), (heard.high, "tonexty")):
        figure.add_scatter(
            x=x, y=values, mode="lines", line={"color": BLUE, "width": 1}, fill=fill, fillcolor=BLUE,
            hovertemplate="%{x:.2f} s, amplitude %{y:.3f}<extra></extra>", row=2, col=1,
        )  # fmt: skip
    figure.add_heatmap(
        z=heard.mel, x=_centres(heard.seconds, heard.mel.shape[1]), **_range(heard.mel),
        colorscale="Viridis", showscale=False,
        customdata=np.repeat(_bin_frequencies()[:, None], heard.mel.shape[1], axis=1).astype(np.int16),
        hovertemplate="%{x:.2f} s, mel bin %{y} (%{customdata} Hz)<br>log energy %{z:.1f}<extra></extra>", row=3, col=1,
    )  # fmt: skip
    figure.add_heatmap(
        z=heard.features, x=_centres(heard.seconds, heard.features.shape[1]), **_range(heard.features),
        y=np.arange(_ROWS) * (MEL_BINS * LFR_WINDOW // _ROWS), colorscale="Cividis", showscale=False,
        hovertemplate="%{x:.2f} s, feature %{y}<br>value %{z:.1f}<extra></extra>", row=4, col=1,
    )  # fmt: skip
    spoken = {"showticklabels": False, "showgrid": False, "zeroline": False, "range": [-0.55, 1.55]}
    figure.update_yaxes(title_text="text", **spoken, row=1, col=1)
    figure.update_yaxes(title_text="amplitude", row=2, col=1)
    mel_ticks = _mel_ticks()
    figure.update_yaxes(title_text="mel, Hz", tickvals=list(mel_ticks), ticktext=list(mel_ticks.values()), row=3, col=1)
    figure.update_yaxes(title_text="LFR feature", row=4, col=1)
    figure.update_xaxes(range=[0, heard.seconds])
    figure.update_xaxes(title_text="time, s", row=4, col=1)
    return _styled(figure, height=640)


def _add_spoken(figure: go.Figure, transcript: Transcript) -> None:
    words = [word for word in transcript.words if word.start is not None and word.end is not None]
    lanes = [(1, SKY, [(s.start, s.end, s.text, f"segment {i + 1}") for i, s in enumerate(transcript.segments)])]
    if words:
        lanes.append((0, ORANGE, [(word.start, word.end, word.text, "word") for word in words]))
    for lane, colour, spans in lanes:
        figure.add_bar(
            orientation="h", base=[start for start, *_ in spans], x=[end - start for start, end, *_ in spans],
            y=[lane] * len(spans), width=0.8, text=[plain(text, 400) for _, _, text, _ in spans],
            textposition="inside", insidetextanchor="middle", textangle=0, textfont={"color": "#10151c"},
            marker={"color": colour, "line": {"color": "rgba(0,0,0,0.35)", "width": 1}},
            customdata=[[kind, start, end, plain(text, 90)] for start, end, text, kind in spans],
            hovertemplate="%{customdata[0]}, %{customdata[1]:.2f}–%{customdata[2]:.2f} s"
            "<br>%{customdata[3]}<extra></extra>",
            row=1, col=1,
        )  # fmt: skip
    figure.update_layout(uniformtext={"minsize": 8, "mode": "hide"}, barmode="overlay")


def timings_bar(timings: Timings) -> go.Figure:
    """The seconds of each stage, one behind the other: the whole bar is the total."""
    figure = go.Figure()
    for name, seconds, colour in stage_seconds(timings):
        share = seconds / timings.total if timings.total else 0.0
        figure.add_bar(
            orientation="h", x=[seconds], y=[""], name=name, marker={"color": colour},
            hovertemplate=f"{name}: {seconds:.3f} s, {share:.1%}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text=f"time, s (total {timings.total:.2f} s)", rangemode="tozero")
    figure.update_yaxes(showticklabels=False)
    return _styled(figure, height=130).update_layout(barmode="stack")


def stage_seconds(timings: Timings) -> list[tuple[str, float, str]]:
    """Each stage's name, seconds and colour; they add up to the total."""
    stages = {name: getattr(timings, name) for name in _STAGES}
    stages["waiting and other"] = max(0.0, timings.total - sum(stages.values()))
    return [(name, seconds, colour) for (name, seconds), colour in zip(stages.items(), _STAGE_COLOURS, strict=True)]


def filterbank_map(inspection: "Inspection") -> go.Figure:
    """Log mel energies against time: what the ear of the network hears."""
    z = _pooled(np.array(inspection.filterbank).T)
    frequencies = np.repeat(_bin_frequencies()[:, None], z.shape[1], axis=1).astype(np.int16)
    figure = _map(z, _seconds(inspection), "Viridis", "log energy", customdata=frequencies, **_range(z))
    figure.data[0].hovertemplate = "%{x:.2f} s, mel bin %{y} (%{customdata} Hz)<br>log energy %{z:.2f}<extra></extra>"
    ticks = _mel_ticks()
    figure.update_yaxes(title_text="mel, Hz", tickvals=list(ticks), ticktext=list(ticks.values()))
    return _styled(figure, height=260)


def features_map(inspection: "Inspection") -> go.Figure:
    """The stacked (low frame rate) features against time."""
    z = _pooled(np.array(inspection.features).T)
    figure = _map(z, _seconds(inspection), "Cividis", "value", rows=560, **_range(z))
    figure.update_yaxes(title_text="LFR feature")
    return _styled(figure, height=300)


def encoded_map(inspection: "Inspection") -> go.Figure:
    """The encoder's output against time, each dimension scaled to its own spread."""
    return _activations(np.array(inspection.encoded.astype(mx.float32)), _seconds(inspection), "encoder dimension")


def adapted_map(inspection: "Inspection") -> go.Figure:
    """The adaptor's output, frame by frame; a line shows how many of the frames the LLM gets."""
    frames = np.array(inspection.adapted.astype(mx.float32))
    figure = _activations(frames, None, "LLM dimension")
    used = inspection.audio_tokens.shape[0]
    figure.update_xaxes(title_text=f"adaptor frame ({used} of {len(frames)} are given to the LLM)")
    if used < len(frames):
        figure.add_vline(x=used - 0.5, line={"color": GREEN, "width": 3})
    return figure


def similarity_map(inspection: "Inspection") -> go.Figure:
    """How alike the encoder's frames are to each other: blocks are sounds that last or come again."""
    frames = _pooled(np.array(inspection.encoded.astype(mx.float32)).T, 200).T
    frames = frames - frames.mean(axis=0)
    frames /= np.maximum(np.linalg.norm(frames, axis=1, keepdims=True), 1e-9)
    seconds = _seconds(inspection)
    figure = _map(frames @ frames.T, seconds, "RdBu_r", "cosine", zmin=-1, zmax=1, showscale=True)
    times = _centres(seconds, len(frames))
    figure.data[0].update(y=times, hovertemplate="%{x:.2f} s and %{y:.2f} s<br>cosine %{z:.2f}<extra></extra>")
    figure.update_yaxes(title_text="time, s")
    return _styled(figure, height=420)


def ctc_map(inspection: "Inspection", unit_name: Callable[[int], str] = str) -> go.Figure | None:
    """The CTC branch's likeliest units against time; None where the checkpoint has no such branch.

    `unit_name` turns an id into what is written at its row.
    """
    if inspection.ctc_logprobs is None:
        return None
    probabilities = np.exp(np.array(inspection.ctc_logprobs.astype(mx.float32)))
    blank = probabilities.shape[1] - 1
    peaks = probabilities[:, :blank].max(axis=0)
    chosen = np.sort(np.argsort(-peaks)[: min(_MOST_CTC_UNITS, blank)])
    chosen = chosen[np.argsort(probabilities[:, chosen].argmax(axis=0), kind="stable")]  # in the order of the speech
    rows = [blank, *chosen[::-1].tolist()]
    names = ["blank"] + [f"{plain(unit_name(int(i)), 16)} · {i}" for i in rows[1:]]
    figure = _map(_pooled(probabilities[:, rows].T), _seconds(inspection), "Viridis", "probability", zmin=0, zmax=1)
    figure.data[0].update(
        y=np.arange(len(rows)), customdata=np.repeat(np.array(names)[:, None], figure.data[0].z.shape[1], axis=1),
        hovertemplate="%{x:.2f} s, %{customdata}<br>probability %{z:.3f}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(title_text="CTC unit · id", tickvals=np.arange(len(rows)), ticktext=names)
    return _styled(figure, height=360)


def first_token_bar(inspection: "Inspection", token_name: Callable[[int], str] = str) -> go.Figure:
    """The ten likeliest first tokens of the transcript, and their probabilities."""
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
    return _styled(figure, height=320)


def plain(text: str, most: int) -> str:
    """Text as Plotly shall show it: no markup, no control characters, no longer than `most`."""
    text = "".join(char if char.isprintable() else "·" for char in text)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _activations(frames: np.ndarray, seconds: float | None, title: str) -> go.Figure:
    spread = frames.std(axis=0)
    scaled = (frames - frames.mean(axis=0)) / np.where(spread > 1e-9, spread, 1)
    z = _pooled(scaled.T)
    figure = _map(z, seconds, "RdBu_r", "deviations from its mean", rows=frames.shape[1], zmin=-3, zmax=3)
    figure.update_yaxes(title_text=title)
    return _styled(figure, height=300)


def _map(z: np.ndarray, seconds: float | None, colours: str, what: str, rows: int | None = None, **more) -> go.Figure:
    """A heat map of [rows, columns]; rows are pooled where there are more than can be seen."""
    step = 1
    if rows and len(z) > _ROWS:
        step = -(-len(z) // _ROWS)
        z = np.stack([z[i : i + step].mean(axis=0) for i in range(0, len(z), step)])
    x = np.arange(z.shape[1]) if seconds is None else _centres(seconds, z.shape[1])
    place = "frame %{x}" if seconds is None else "%{x:.2f} s"
    figure = go.Figure(
        go.Heatmap(
            z=z.astype(np.float32), x=x, y=np.arange(len(z)) * step, colorscale=colours, **{"showscale": False} | more,
            hovertemplate=f"{place}, %{{y}}<br>{what} %{{z:.2f}}<extra></extra>",
            colorbar={"thickness": 10, "outlinewidth": 0},
        )
    )  # fmt: skip
    return figure.update_xaxes(title_text="time, s" if seconds is not None else "frame")


def _pooled(z: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    """[rows, T] -> [rows, at most `columns`], neighbours averaged."""
    if z.shape[1] <= columns:
        return z
    starts = np.arange(columns) * z.shape[1] // columns
    return np.add.reduceat(z, starts, axis=1) / np.diff([*starts, z.shape[1]])


def _range(z: np.ndarray) -> dict[str, float]:
    """The values that colours are given to: digital silence, far below all else, must not take up most of them."""
    low, high = np.nanpercentile(z, [2, 99.8])
    return {"zmin": float(low), "zmax": float(max(high, low + 1e-3))}


def _seconds(inspection: "Inspection") -> float:
    return inspection.samples.shape[0] / SAMPLE_RATE


def _centres(seconds: float, columns: int) -> np.ndarray:
    return ((np.arange(columns) + 0.5) * seconds / columns).astype(np.float32)


def _bin_frequencies() -> np.ndarray:
    """The frequency that each mel bin hears best, in Hz."""
    return mel_matrix().argmax(axis=0) * (SAMPLE_RATE / 2) / (len(mel_matrix()) - 1)


def _mel_ticks() -> dict[int, str]:
    frequencies = _bin_frequencies()
    return {int(np.abs(frequencies - hz).argmin()): f"{hz:,}" for hz in (250, 1000, 2000, 4000, 7000)}


def _styled(figure: go.Figure, height: int) -> go.Figure:
    lines = {"gridcolor": FAINT, "zerolinecolor": FAINT, "linecolor": FAINT, "automargin": True, "title_standoff": 6}
    figure.update_xaxes(**lines)
    figure.update_yaxes(**lines, title_font_size=11)
    return figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY, "size": 11, "family": "system-ui, sans-serif"},
        margin={"l": 48, "r": 8, "t": 8, "b": 40},
        showlegend=False,
        dragmode="pan",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE, "orientation": "h"},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}},
    )
