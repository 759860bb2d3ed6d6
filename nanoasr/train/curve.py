"""The training curve as JSON lines and as an HTML page."""

import json
from pathlib import Path


class Curve:
    """Writes `curve.jsonl` and, if Plotly is installed, `curve.html` in a folder."""

    def __init__(self, folder: Path, step: int):
        """Drop lines after `step`: a run that was killed repeats those steps."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.page = folder / "curve.jsonl", folder / "curve.html"
        kept = [entry for entry in read_curve(self.path) if entry["step"] <= step]
        self.path.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")

    def add(self, **entry: float | int) -> None:
        """Append a line; `step` must be among the values."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def draw(self) -> None:
        """Write the page: losses above, word error rates below."""
        try:
            figure = curve_figure(read_curve(self.path))
        except ImportError:
            return
        figure.write_html(self.page, include_plotlyjs=True)


def read_curve(path: Path) -> list[dict]:
    """Read a curve file, without a line that was cut short by a kill."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def curve_figure(entries: list[dict]):
    """Return the curve as a Plotly figure."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    names = list(dict.fromkeys(name for entry in entries for name in entry))
    for row, chosen in ((1, ("ctc", "text")), (2, [name for name in names if name.startswith("wer ")])):
        for name in chosen:
            points = [(entry["step"], entry[name]) for entry in entries if name in entry]
            x, y = zip(*points, strict=True) if points else ((), ())
            figure.add_scatter(x=x, y=y, name=name, mode="lines", row=row, col=1)
    figure.update_yaxes(title_text="loss per token", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="word error rate, %", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    figure.update_layout(template="plotly_white", height=700, title="Training")
    return figure
