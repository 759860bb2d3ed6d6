"""One run: the recordings that the folder lacks go through an engine, and their rows into the folder."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from ..recognizer import Recognizer, load
from .inputs import Input
from .local import transcribe_inputs
from .outputs import OutputFolder
from .rows import Row
from .summary import Summary, write_summary

Engine = Callable[[Sequence[Input]], Iterator[Row]]


@dataclass(frozen=True)
class Settings:
    """What the rows depend on: the checkpoint as for `nanoasr.load`, the options of `transcribe_batch`, the format."""

    model: str | None = None
    quantize: str | None = None
    dtype: str | None = None
    language: str | None = None
    hotwords: tuple[str, ...] = ()
    itn: bool = True
    timestamps: bool = True
    speakers: bool | int = False
    vad: bool = True
    max_seconds: float | None = None
    format: str = "jsonl"

    def to_dict(self) -> dict:
        """Return the settings as the output folder keeps them."""
        return asdict(self) | {"hotwords": list(self.hotwords)}

    def load(self) -> Recognizer:
        """Load the recognizer."""
        return load(self.model, quantize=self.quantize, dtype=self.dtype)

    @property
    def options(self) -> dict:
        """The arguments of `transcribe_batch`."""
        names = ("language", "hotwords", "itn", "timestamps", "speakers", "vad", "max_seconds")
        return {name: getattr(self, name) for name in names}


class Job:
    """The work that is left for an output folder."""

    def __init__(self, inputs: Sequence[Input], output: OutputFolder):
        self.inputs, self.output = inputs, output
        done = output.done()
        self.missing = []
        for item in inputs:
            if done[item.key] > 0:
                done[item.key] -= 1
            else:
                self.missing.append(item)

    def run(self, engine: Engine, on_row: Callable[[Row], None] = lambda row: None) -> Summary:
        """Transcribe what is missing, calling `on_row` with each row, and write the summary."""
        start, audio_seconds = time.perf_counter(), 0.0
        if self.missing:
            for row in engine(self.missing):
                self.output.add(row)
                audio_seconds += row.duration or 0.0
                on_row(row)
        self.output.flush()
        return write_summary(self.output, self.inputs, time.perf_counter() - start, audio_seconds)


def local_engine(settings: Settings, batch_size: int | None = None) -> Engine:
    """Return the engine that works in this process."""

    def engine(inputs: Sequence[Input]) -> Iterator[Row]:
        return transcribe_inputs(settings.load(), inputs, settings.options, batch_size)

    return engine
