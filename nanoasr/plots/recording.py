"""A recording and its transcript on one time axis, and the time of each stage."""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .. import backend
from ..audio.features import (
    FRAME_LENGTH,
    FRAME_SHIFT,
    LFR_SHIFT,
    LFR_WINDOW,
    MEL_BINS,
    filterbank,
    frame_count,
    lfr,
    lfr_count,
)
from ..audio.files import SAMPLE_RATE, read_blocks
from ..results.transcript import Timings, Transcript
from .style import (
    BLUE,
    COLUMNS,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    ROWS,
    SKY,
    VERMILION,
    YELLOW,
    bin_frequencies,
    centres,
    colour_range,
    limit_time,
    mel_ticks,
    plain,
    styled,
)

_BLOCK_SECONDS = 30.0
_STAGES = ("read", "vad", "features", "encoder", "adaptor", "prefill", "decode", "align", "speakers")
_STAGE_COLOURS = (SKY, PURPLE, YELLOW, BLUE, GREEN, ORANGE, VERMILION, "#7f6fb5", "#8c564b", GREY)


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording, or a part of it that begins at `start`, pooled to a few hundred columns. Made by `sound`."""

    seconds: float
    low: np.ndarray  # [C]: the smallest and largest sample of each column
    high: np.ndarray
    mel: np.ndarray  # [80, C']: log mel energy
    features: np.ndarray  # [140, C'']: LFR features, four neighbouring mel bins averaged
    start: float = 0.0

    @property
    def peak(self) -> float:
        """The largest sample."""
        return float(max(self.high.max(), -self.low.min()))


def sound(source: object, seconds: float, sample_rate: int | None = None, start: float = 0.0) -> Sound:
    """Read a recording of about `seconds` (a transcript's `duration`) for drawing, in bounded memory.

    `source` is as for `transcribe`; `start` tells where it begins in the transcript, if it is a part.
    """
    total = max(round(seconds * SAMPLE_RATE), 1)
    wave = _Pool(total, 2 * COLUMNS)
    low, high = np.full(wave.columns, np.inf, np.float32), np.full(wave.columns, -np.inf, np.float32)
    whole, rest = divmod(total, round(_BLOCK_SECONDS * SAMPLE_RATE))
    frames = whole * round(_BLOCK_SECONDS * SAMPLE_RATE / FRAME_SHIFT) + (max(frame_count(rest), 1) if rest else 0)
    mel, stacked = _MeanPool(frames, MEL_BINS), _MeanPool(lfr_count(frames), ROWS)
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
    return Sound(seconds, np.where(heard, low, 0), np.where(heard, high, 0), mel.mean(), stacked.mean(), start)


def _block_features(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # a whole block is padded, so that its frames and those of the next one join without a gap
    missing = FRAME_LENGTH - FRAME_SHIFT if len(block) == _BLOCK_SECONDS * SAMPLE_RATE else 0
    bank = filterbank(mx.array(np.pad(block, (0, max(missing, FRAME_LENGTH - len(block))))))
    stacked = lfr(bank).reshape(-1, ROWS, MEL_BINS * LFR_WINDOW // ROWS).mean(axis=-1)
    return np.array(bank), np.array(stacked)


class _Pool:
    """Maps positions of a sequence of `total` to columns."""

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
    """Draw segments and words, waveform, log-mel spectrogram and LFR features on one time axis."""
    figure = make_subplots(rows=4, shared_xaxes=True, vertical_spacing=0.035, row_heights=[0.13, 0.2, 0.34, 0.33])
    start, end = heard.start, heard.start + heard.seconds
    if transcript:
        _add_spoken(figure, transcript, start, end)
    x = start + centres(heard.seconds, len(heard.low))
    for values, fill in ((heard.low, None), (heard.high, "tonexty")):
        figure.add_scatter(
            x=x, y=values, mode="lines", line={"color": BLUE, "width": 1}, fill=fill, fillcolor=BLUE,
            hovertemplate="%{x:.2f} s, amplitude %{y:.3f}<extra></extra>", row=2, col=1,
        )  # fmt: skip
    figure.add_heatmap(
        z=heard.mel, x=start + centres(heard.seconds, heard.mel.shape[1]), **colour_range(heard.mel),
        colorscale="Viridis", showscale=False,
        customdata=np.repeat(bin_frequencies()[:, None], heard.mel.shape[1], axis=1).astype(np.int16),
        hovertemplate="%{x:.2f} s, mel bin %{y} (%{customdata} Hz)<br>log energy %{z:.1f}<extra></extra>", row=3, col=1,
    )  # fmt: skip
    figure.add_heatmap(
        z=heard.features, x=start + centres(heard.seconds, heard.features.shape[1]), **colour_range(heard.features),
        y=np.arange(ROWS) * (MEL_BINS * LFR_WINDOW // ROWS), colorscale="Cividis", showscale=False,
        hovertemplate="%{x:.2f} s, feature %{y}<br>value %{z:.1f}<extra></extra>", row=4, col=1,
    )  # fmt: skip
    spoken = {"showticklabels": False, "showgrid": False, "zeroline": False, "range": [-0.55, 1.55]}
    figure.update_yaxes(title_text="text", **spoken, row=1, col=1)
    figure.update_yaxes(title_text="amplitude", row=2, col=1)
    ticks = mel_ticks()
    figure.update_yaxes(title_text="mel, Hz", tickvals=list(ticks), ticktext=list(ticks.values()), row=3, col=1)
    figure.update_yaxes(title_text="LFR feature", row=4, col=1)
    limit_time(figure, end, start).update_xaxes(range=[start, end])
    figure.update_xaxes(title_text="time, s", row=4, col=1)
    return styled(figure, height=640)


def _add_spoken(figure: go.Figure, transcript: Transcript, first: float, last: float) -> None:
    segments = [(i, s) for i, s in enumerate(transcript.segments) if s.start < last and s.end > first]
    words = [
        word for _, segment in segments for word in segment.words if word.start is not None and word.end is not None
    ]
    lanes = [(1, SKY, [(s.start, s.end, s.text, f"segment {i + 1}") for i, s in segments])]
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
    """Draw the seconds of each stage, stacked: the whole bar is the total."""
    figure = go.Figure()
    for name, seconds, colour in stage_seconds(timings):
        share = seconds / timings.total if timings.total else 0.0
        figure.add_bar(
            orientation="h", x=[seconds], y=[""], name=name, marker={"color": colour},
            hovertemplate=f"{name}: {seconds:.3f} s, {share:.1%}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text=f"time, s (total {timings.total:.2f} s)", rangemode="tozero")
    figure.update_yaxes(showticklabels=False)
    return styled(figure, height=130).update_layout(barmode="stack")


def stage_seconds(timings: Timings) -> list[tuple[str, float, str]]:
    """Return each stage's name, seconds and colour; the seconds add up to the total.

    Reading and voice activity detection run beside the other stages: only what the others waited for counts.
    """
    stages = {name: getattr(timings, name) for name in _STAGES}
    overlap = sum(stages.values()) - timings.total
    for name in ("read", "vad"):
        hidden = min(max(overlap, 0.0), stages[name])
        stages[name] -= hidden
        overlap -= hidden
    stages["other"] = max(0.0, timings.total - sum(stages.values()))
    return [(name, seconds, colour) for (name, seconds), colour in zip(stages.items(), _STAGE_COLOURS, strict=True)]
