"""What all figures share: colours, layout, heat maps."""

import numpy as np
import plotly.graph_objects as go

from ..audio.features import mel_matrix
from ..audio.files import SAMPLE_RATE

COLUMNS = 600  # at most, of a map
ROWS = 140  # at most, of a map of activations
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW = (  # Okabe and Ito's, for the colour-blind
    "#0072B2 #E69F00 #009E73 #D55E00 #56B4E9 #CC79A7 #C9BB22".split()
)
LOG_DEPTH = 16.0  # of log energies: 70 dB
GREY, FAINT = "#8a8f98", "rgba(138,143,152,0.25)"


def plain(text: str, most: int) -> str:
    """Escape text for Plotly: no markup, no control characters, at most `most` characters."""
    text = "".join(char if char.isprintable() else "·" for char in text)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def styled(figure: go.Figure, height: int) -> go.Figure:
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


def heat_map(
    z: np.ndarray, seconds: float | None, colours: str, what: str, rows: int | None = None, **more
) -> go.Figure:
    """Draw a heat map of [rows, columns]; rows are pooled where there are too many to be seen."""
    step = 1
    if rows and len(z) > ROWS:
        step = -(-len(z) // ROWS)
        z = np.stack([z[i : i + step].mean(axis=0) for i in range(0, len(z), step)])
    x = np.arange(z.shape[1]) if seconds is None else centres(seconds, z.shape[1])
    place = "frame %{x}" if seconds is None else "%{x:.2f} s"
    figure = go.Figure(
        go.Heatmap(
            z=z.astype(np.float32), x=x, y=np.arange(len(z)) * step, colorscale=colours, **{"showscale": False} | more,
            hovertemplate=f"{place}, %{{y}}<br>{what} %{{z:.2f}}<extra></extra>",
            colorbar={"thickness": 10, "outlinewidth": 0},
        )
    )  # fmt: skip
    if seconds is not None:
        follow(limit_time(figure, seconds), x=(1, seconds / z.shape[1]))
    return figure.update_xaxes(title_text="time, s" if seconds is not None else "frame")


def pooled(z: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    """[rows, T] -> [rows, at most `columns`], neighbours averaged."""
    if z.shape[1] <= columns:
        return z
    starts = np.arange(columns) * z.shape[1] // columns
    return np.add.reduceat(z, starts, axis=1) / np.diff([*starts, z.shape[1]])


def colour_range(z: np.ndarray, depth: float = LOG_DEPTH) -> dict[str, float]:
    """Limits of a colour scale. Values more than `depth` below the highest share one colour: silence, which may fill
    most of a recording, must not take up the scale."""
    low, high = np.nanpercentile(z, [2, 99.8])
    return {"zmin": float(max(low, high - depth)), "zmax": float(max(high, low + 1e-3))}


def follow(figure: go.Figure, **axes: tuple[float, ...] | str) -> go.Figure:
    """Say what axes "x" and "y" count, for a page that marks one place in all figures: units per second, units per
    frame and where the first one begins, or "token"."""
    return figure.update_layout(meta=(figure.layout.meta or {}) | axes)


def limit_time(figure: go.Figure, end: float, start: float = 0.0) -> go.Figure:
    """Let time axes be moved and zoomed only within the recording."""
    return figure.update_xaxes(minallowed=start, maxallowed=max(end, start + 1e-3))


def centres(seconds: float, columns: int) -> np.ndarray:
    return ((np.arange(columns) + 0.5) * seconds / columns).astype(np.float32)


def bin_frequencies() -> np.ndarray:
    """Return the centre frequency of each mel bin, in Hz."""
    return mel_matrix().argmax(axis=0) * (SAMPLE_RATE / 2) / (len(mel_matrix()) - 1)


def mel_ticks() -> dict[int, str]:
    frequencies = bin_frequencies()
    return {int(np.abs(frequencies - hz).argmin()): f"{hz:,}" for hz in (250, 1000, 2000, 4000, 7000)}
