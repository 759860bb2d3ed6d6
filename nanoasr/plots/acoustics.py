"""Pitch, loudness, spectral centroid and onsets of a recording."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..audio.sound import Sound
from .style import BLUE, FAINT, GREEN, ORANGE, follow, limit_time, styled


def acoustics_chart(sound: Sound, seconds: float) -> go.Figure:
    """Draw what `describe_sound` found on one time axis; vertical lines are onsets."""
    level = 20 * np.log10(np.maximum(sound.rms, 1e-5))
    rows = (
        ("pitch, Hz", sound.pitch, BLUE, "pitch %{y:.0f} Hz"),
        ("level, dB", level, GREEN, "level %{y:.0f} dB"),
        ("centroid, Hz", sound.centroid, ORANGE, "spectral centroid %{y:.0f} Hz"),
    )
    figure = make_subplots(rows=len(rows), shared_xaxes=True, vertical_spacing=0.05)
    for row, (title, values, colour, hover) in enumerate(rows, 1):
        figure.add_scatter(
            x=sound.times, y=values.astype(np.float32), mode="lines", line={"color": colour, "width": 2},
            connectgaps=False, hovertemplate=f"%{{x:.2f}} s: {hover}<extra></extra>", row=row, col=1,
        )  # fmt: skip
        figure.update_yaxes(title_text=title, row=row, col=1)
    for onset in sound.onsets:
        figure.add_vline(x=float(onset), line={"color": FAINT, "width": 1.5})
    follow(limit_time(figure, seconds), x=(1, 0)).update_xaxes(range=[0, seconds])
    figure.update_xaxes(title_text="time, s", row=len(rows), col=1)
    return styled(figure, height=380)
