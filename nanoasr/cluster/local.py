"""Transcribe recordings in this process, as the local engine and each Ray worker do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..audio.reader import Cut
from ..errors import NanoASRError
from ..pipeline import Callbacks, transcripts
from ..recognizer import Recognizer
from ..scheduler import MOST_ROWS
from .inputs import Input, open_recording
from .rows import Row, make_row


def transcribe_inputs(
    asr: Recognizer, inputs: Sequence[Input], options: dict, batch_size: int | None = None
) -> Iterator[Row]:
    """Yield one row for each input, in order; one that cannot be used is an error row.

    `options` are those of `Recognizer.transcribe_batch`.
    """
    failures: dict[int, NanoASRError] = {}

    def recordings() -> Iterator[object]:
        for index, item in enumerate(inputs):
            try:
                yield open_recording(item)
            except NanoASRError as error:
                failures[index] = error
                yield b""  # fails in its place

    results = asr.transcribe_batch(recordings(), batch_size=batch_size, **options)
    for index, (item, result) in enumerate(zip(inputs, results, strict=True)):
        yield make_row(item, failures.pop(index, result))


def transcribe_cuts(
    asr: Recognizer, item: Input, cuts: Sequence[Cut], duration: float, options: dict, batch_size: int | None = None
) -> Row:
    """Transcribe segments that were cut out of a recording before; their times stay those of the recording."""
    names = ("language", "hotwords", "itn", "timestamps")
    decoding = asr.decode_options(**{name: options[name] for name in names})
    [result] = transcripts(
        asr.scheduler, decoding, iter([_CutRecording(cuts, duration)]), batch_size or MOST_ROWS, Callbacks()
    )
    return make_row(item, result)


@dataclass(frozen=True)
class _CutRecording:
    """What `transcripts` needs of an `audio.reader.Recording`."""

    segments: Sequence[Cut]
    duration: float
    name: str = ""
    path: str | None = None
    error: None = None
    read_seconds: float = 0.0
    vad_seconds: float = 0.0

    def cuts(self) -> Iterator[Cut]:
        yield from self.segments
