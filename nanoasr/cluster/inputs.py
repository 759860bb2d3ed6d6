"""What to transcribe: recordings by path or URI, and manifests of them.

    {"audio": "a.wav", "text": "hello", "duration": 2.5}          JSON lines; also "audio_filepath" (NeMo), "source" and
    {"audio": "long.wav", "offset": 61.5, "duration": 4.0}        "target" (FunASR), and Lhotse's cuts

CSV and Parquet have the same names as columns. Paths are relative to the manifest.
"""

import csv
import io
import json
import math
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..audio.files import SAMPLE_RATE, read_blocks
from ..errors import AudioError, NanoASRError, OptionError
from .filesystems import is_uri, list_files, local_path, open_binary, split_query

__all__ = ["Input", "is_manifest", "is_uri", "list_uri", "open_recording", "read_manifest"]

_MANIFESTS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_AUDIO = ("audio", "audio_filepath", "source")
_TEXT = ("text", "target")


@dataclass(frozen=True, slots=True)
class Input:
    """A recording, or with an `offset` the `duration` seconds of it from there on (without one, to its end).

    `text` is what was said, where known. Without an offset, `duration` only tells how much work there is.
    """

    source: str
    text: str | None = None
    duration: float | None = None
    offset: float | None = None

    @property
    def key(self) -> tuple[str, float | None]:
        """What identifies the recording in the output."""
        return self.source, self.offset


def is_manifest(name: str) -> bool:
    """Return True if the name of a file, or its URI, ends as those of manifests."""
    return split_query(name)[0].lower().endswith(_MANIFESTS)


def list_uri(uri: str) -> list[Input]:
    """List the files that a URI names: itself, all below a folder, or those of a pattern; may be none."""
    try:
        return list(map(Input, list_files(uri)))
    except ImportError:
        raise OptionError(f'{uri}: needs pyarrow: pip install "nanoasr[ray]"') from None


def read_manifest(path: str) -> tuple[list[Input], list[str]]:
    """Read a manifest by path or URI. Returns its recordings and a message for each row that cannot be used."""
    name, query = split_query(path)
    folder = posixpath.dirname(name) if is_uri(path) else os.path.dirname(path)
    found, problems, durations = [], [], {}
    for number, row in _rows(path):
        try:
            if isinstance(row, ValueError):
                raise row
            item = _input(row, folder, query)
            if item.offset is not None and durations.setdefault(item.key, item.duration) != item.duration:
                raise ValueError("another row has the same audio and offset, but another duration")
            found.append(item)
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    return found, problems


def open_recording(item: Input) -> object:
    """Return what `transcribe_batch` takes: a path, an open file, or the samples of a part."""
    source = local_path(item.source) or open_binary(item.source)
    return source if item.offset is None else _part(source, item)


def _part(source: object, item: Input) -> np.ndarray:
    """Read the samples of a part of a recording; nothing after it is decoded."""
    name = posixpath.basename(item.source)
    first = round(item.offset * SAMPLE_RATE)
    end = math.inf if item.duration is None else first + round(item.duration * SAMPLE_RATE)
    pieces, position = [], 0
    for block in read_blocks(source, name=name):
        stop = position + len(block)
        if stop > first:
            pieces.append(block[max(0, first - position) : int(min(end - position, len(block)))])
        position = stop
        if position >= end:
            break
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not len(samples):
        raise AudioError(f"{name}: has only {position / SAMPLE_RATE:.2f} s; the part begins at {item.offset:g} s")
    return samples


def _rows(path: str) -> Iterator[tuple[int, dict | ValueError]]:
    """Yield the rows of a manifest with their numbers, those of lines in text files; ValueError where one is bad."""
    name = split_query(path)[0].lower()
    try:
        with open_binary(path) as file:
            if name.endswith(".parquet"):
                yield from _parquet_rows(file, path)
            elif name.endswith((".csv", ".tsv")):
                lines = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
                reader = csv.DictReader(lines, delimiter="\t" if name.endswith(".tsv") else ",")
                for row in reader:
                    yield reader.line_num, row
            else:
                for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8-sig"), 1):
                    if line.strip():
                        yield number, _json_row(line)
    except NanoASRError as error:
        raise OptionError(f"{path}: the manifest cannot be read: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{path}: the manifest cannot be read ({error})") from None


def _json_row(line: str) -> dict | ValueError:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return ValueError(f"not JSON ({error})")
    return row if isinstance(row, dict) else ValueError("not a JSON object")


def _parquet_rows(file: object, path: str) -> Iterator[tuple[int, dict]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        raise OptionError('Parquet needs pyarrow: pip install "nanoasr[ray]"') from None
    try:
        table = parquet.ParquetFile(file)
        columns = [name for name in (*_AUDIO, *_TEXT, "duration", "offset") if name in table.schema_arrow.names]
        rows = (row for batch in table.iter_batches(columns=columns) for row in batch.to_pylist())
        yield from enumerate(rows, 1)
    except pa.ArrowException as error:
        raise OptionError(f"{path}: not a Parquet file ({error})") from None


def _input(row: dict, folder: str, query: str) -> Input:
    if isinstance(row.get("recording"), dict):
        row = _lhotse(row)
    audio = next((row[name] for name in _AUDIO if row.get(name)), None)
    if not isinstance(audio, str):
        raise ValueError('no "audio" or "audio_filepath" with a path')
    text = next((row[name] for name in _TEXT if row.get(name) is not None), None)
    if text is not None and not isinstance(text, str):
        raise ValueError(f'"text" is {text!r:.40}, not a string')
    duration, offset = _seconds(row, "duration"), _seconds(row, "offset")
    if duration == 0:
        raise ValueError('"duration" is 0')
    whole = is_uri(audio) or os.path.isabs(audio)
    source = audio if whole else posixpath.join(folder, audio) + ("" if "?" in audio else query)
    return Input(source, text, duration, offset)


def _lhotse(cut: dict) -> dict:
    """Turn a Lhotse cut into a row of the other form."""
    try:
        source = cut["recording"]["sources"][0]["source"]
        texts = [supervision.get("text") or "" for supervision in cut.get("supervisions") or ()]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("not a Lhotse cut with a source") from None
    whole = not cut.get("start") and cut.get("duration") == cut["recording"].get("duration")
    offset = None if whole else cut.get("start", 0)
    text = " ".join(texts) if texts else None
    return {"audio": source, "text": text, "duration": cut.get("duration"), "offset": offset}


def _seconds(row: dict, name: str) -> float | None:
    value = row.get(name)
    if value in (None, ""):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < 1e7:
        raise ValueError(f'"{name}" is {value!r:.40}, not a number of seconds')
    return seconds
