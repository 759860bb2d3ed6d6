"""The figures of a benchmark as a table, JSON or a chart."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .timing import Time


@dataclass(frozen=True)
class Row:
    """One stage on `batch` recordings of `seconds` each; `memory` is MLX's peak in bytes.

    `tokens_a_pass` are those of a whole transcription by decoder passes, of which the prefill is one.
    """

    stage: str
    seconds: float
    batch: int
    time: Time
    memory: int
    tokens_a_pass: float | None = None

    @property
    def real_time(self) -> float:
        """Seconds of audio per second of work."""
        return self.seconds * self.batch / self.time.median


@dataclass(frozen=True)
class Flow:
    """Many recordings, from samples to text; `vad_seconds` of speech detection on other threads and cores."""

    vad: bool
    recordings: int
    seconds: float
    batch: int
    tokens: int
    time: Time
    vad_seconds: float
    tokens_a_pass: float | None = None

    @property
    def real_time(self) -> float:
        """Seconds of audio per second of work."""
        return self.recordings * self.seconds / self.time.median


@dataclass(frozen=True)
class Contest:
    """One stage here and in another package, measured in rotation on the same weights."""

    peer: str
    stage: str
    ours: Time
    theirs: Time

    @property
    def ratio(self) -> float:
        """How many times faster this package is."""
        return self.theirs.median / self.ours.median


@dataclass(frozen=True)
class Report:
    """All figures; `str()` gives a table."""

    model: str
    precision: str
    device: str
    blas: str | None
    gflops: float
    mlx: str
    tokens: int | None  # in each text; None where the audio decides
    draft: str | float | None
    rows: tuple[Row, ...]
    flows: tuple[Flow, ...]
    contests: tuple[Contest, ...]
    peak_memory: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        blas = f" with {Path(self.blas).name}" if self.blas else ""
        lines = [
            f"{self.model}, {self.precision}",
            f"MLX {self.mlx} on {self.device}{blas}, {self.gflops:.0f} GFLOP/s in float32 products",
            "",
        ]
        rows = [
            (r.stage, _case(r), str(r.time), f"{r.real_time:.4g}", _size(r.memory), _number(r.tokens_a_pass))
            for r in self.rows
        ]
        head = ("stage", "recordings", "median (range)", "× real time", "MLX memory", "tokens a pass")
        if self.tokens:
            lines += [f"{self.tokens} tokens a text, {self._drafts()}", ""]
        lines += _columns([head, *rows])
        flows = [
            (
                f"VAD {'on' if f.vad else 'off'}, {f.batch} at a time",
                f"{f.recordings} × {f.seconds:g} s",
                str(f.time),
                f"{f.real_time:.4g}",
                _number(f.tokens_a_pass),
                f"{f.tokens} tokens" + (f", VAD {f.vad_seconds:.3g} s in all" if f.vad else ""),
            )
            for f in self.flows
        ]
        if flows:
            head = ("samples to text", "recordings", "median (range)", "× real time", "tokens a pass", "")
            lines += ["", *_columns([head, *flows])]
        contests = [(c.stage, c.peer, str(c.ours), str(c.theirs), f"{c.ratio:.3g}") for c in self.contests]
        if contests:
            head = ("one stream", "against", "nanoasr", "theirs", "× faster")
            lines += ["", *_columns([head, *contests])]
        return "\n".join([*lines, "", f"peak memory {_size(self.peak_memory)}", *self.notes])

    def _drafts(self) -> str:
        if isinstance(self.draft, float):
            return f"drafts whose tokens are right with probability {self.draft:g}"
        return f"draft={self.draft}"

    def to_json(self) -> str:
        """Return all figures, and rates and ratios derived from them."""
        derived = {
            "rows": [asdict(row) | {"real_time": row.real_time} for row in self.rows],
            "flows": [asdict(flow) | {"real_time": flow.real_time} for flow in self.flows],
            "contests": [asdict(contest) | {"ratio": contest.ratio} for contest in self.contests],
        }
        return json.dumps(asdict(self) | derived, indent=2, ensure_ascii=False) + "\n"

    def plot(self, path: str | Path) -> None:
        """Write a chart of the stages, and of the contests if there are any, as one HTML file."""
        from plotly.subplots import make_subplots

        titles = ["Seconds for each stage", "The same weights in both packages"][: 2 if self.contests else 1]
        figure = make_subplots(rows=len(titles), subplot_titles=titles)
        for stage in dict.fromkeys(row.stage for row in self.rows):
            own = [row for row in self.rows if row.stage == stage]
            bars = {"x": [_case(row) for row in own], "name": stage, **_heights([row.time for row in own])}
            figure.add_bar(**bars, row=1, col=1)
        for peer in dict.fromkeys(contest.peer for contest in self.contests):
            own = [contest for contest in self.contests if contest.peer == peer]
            for name, times in (("nanoasr", [c.ours for c in own]), (peer, [c.theirs for c in own])):
                stages = [f"{c.stage}<br>{c.ratio:.3g} × faster than {peer}" for c in own]
                figure.add_bar(x=stages, name=name, **_heights(times), row=2, col=1)
        figure.update_yaxes(type="log", title="s")
        figure.update_layout(title=f"{self.model} on {self.device}", height=500 * len(titles))
        figure.write_html(str(path), include_plotlyjs=True)


def _heights(times: Sequence[Time]) -> dict:
    above, below = [t.high - t.median for t in times], [t.median - t.low for t in times]
    return {"y": [t.median for t in times], "error_y": {"array": above, "arrayminus": below}}


def _case(row: Row) -> str:
    return f"{row.batch} × {row.seconds:g} s"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
