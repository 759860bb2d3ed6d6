"""Transcribe recordings in this process, as the local engine and each Ray worker do."""

from collections.abc import Iterator, Sequence

from ..errors import NanoASRError
from ..recognizer import Recognizer
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
