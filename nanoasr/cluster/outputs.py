"""The folder of results: part files that appear whole or not at all, and the settings that they were made with.

Rows are collected and written as a new part every 20 seconds. A process that dies loses only the rows since the last
part; these recordings have no row, so the next run transcribes them again.
"""

import contextlib
import fcntl
import io
import json
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..errors import NanoASRError, OptionError
from .rows import Row

FORMATS = ("jsonl", "parquet")
SETTINGS = "settings.json"
_PART = re.compile(r"part-(\d+)\.(jsonl|parquet)")
_TEMPORARY = ".nanoasr-"


class OutputFolder:
    """A folder that one run at a time writes to; leave it as a context manager to write the last part."""

    def __init__(self, folder: str | Path, settings: dict, part_rows: int = 1000, part_seconds: float = 20.0):
        """Open or create the folder. `settings` must be those of earlier runs; its "format" is that of the parts."""
        self.folder = Path(folder)
        self.format = settings["format"]
        self.part_rows, self.part_seconds = part_rows, part_seconds
        self._rows: list[Row] = []
        self._first_row_at = 0.0
        if self.format == "parquet":
            _require_pyarrow()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        for left in self.folder.glob(f"{_TEMPORARY}*.tmp"):
            left.unlink()
        self._check_settings(settings)
        self._next = max((int(_PART.fullmatch(path.name)[1]) for path in self.parts()), default=-1) + 1

    def __enter__(self) -> "OutputFolder":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.flush()
        finally:
            self._lock.close()

    def parts(self) -> list[Path]:
        """List the part files, in order."""
        return sorted(path for path in self.folder.iterdir() if _PART.fullmatch(path.name))

    def rows(self) -> Iterator[Row]:
        """Read the rows of all parts."""
        for path in self.parts():
            yield from _read_parquet(path) if path.suffix == ".parquet" else _read_lines(path)

    def done(self) -> Counter:
        """Count the rows of each recording's key."""
        return Counter(row.key for row in self.rows())

    def add(self, row: Row) -> None:
        """Take a row; it is on disk after the next `flush`, which follows by itself when it is time."""
        if not self._rows:
            self._first_row_at = time.monotonic()
        self._rows.append(row)
        if len(self._rows) >= self.part_rows or time.monotonic() - self._first_row_at >= self.part_seconds:
            self.flush()

    def flush(self) -> None:
        """Write the rows taken so far as a part."""
        if not self._rows:
            return
        write = _parquet if self.format == "parquet" else _lines
        self.write(f"part-{self._next:05}.{self.format}", write(self._rows))
        self._rows, self._next = [], self._next + 1

    def forget_errors(self) -> None:
        """Remove the rows of recordings that failed, so that they are tried again."""
        for path in self.parts():
            rows = list(_read_parquet(path) if path.suffix == ".parquet" else _read_lines(path))
            kept = [row for row in rows if not row.error]
            if not kept:
                path.unlink()
            elif len(kept) < len(rows):
                self.write(path.name, (_parquet if path.suffix == ".parquet" else _lines)(kept))

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is complete, on disk, as soon as it has its name."""
        temporary = self.folder / f"{_TEMPORARY}{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / name)
        except OSError as error:
            reason = error.strerror or error
            raise NanoASRError(
                f"{self.folder / name}: cannot be written ({reason}); the parts before it are complete, and the same"
                " command continues after them"
            ) from None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _take_lock(self) -> io.BufferedWriter:
        lock = (self.folder / ".lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise OptionError(f"{self.folder}: another run is writing to this folder") from None
        return lock

    def _check_settings(self, settings: dict) -> None:
        path = self.folder / SETTINGS
        if not path.exists():
            if self.parts():
                raise OptionError(f"{self.folder}: has part files, but no {SETTINGS}; use another folder")
            return self.write(SETTINGS, (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode())
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise OptionError(f"{path}: cannot be read ({error})") from None
        names = [name for name in before | settings if before.get(name) != settings.get(name)]
        if names:
            changes = ", ".join(f"{name} was {before.get(name)!r}, now {settings.get(name)!r}" for name in names)
            raise OptionError(f"{self.folder}: was begun with other settings ({changes}); use another folder")
        return None


def _lines(rows: list[Row]) -> bytes:
    return b"".join(_line(row.to_dict()) for row in rows)


def _line(row: dict) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8
        return (json.dumps(row) + "\n").encode()


def _read_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Row.from_dict(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise OptionError(f"{path}:{number}: not a row of this command ({error})") from None


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise OptionError('Parquet needs pyarrow: pip install "nanoasr[ray]"') from None


def _parquet(rows: list[Row]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    text, number = pa.string(), pa.float64()
    times = [("text", text), ("start", number), ("end", number)]
    word = pa.struct([*times, ("confidence", number), ("speaker", text)])
    segment = pa.struct([*times, ("speaker", text), ("words", pa.list_(word))])
    schema = pa.schema(
        [
            ("source", text),
            ("text", text),
            ("segments", pa.list_(segment)),
            ("language", text),
            ("duration", number),
            ("error", text),
            ("offset", number),
        ]
    )
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([row.to_dict() for row in rows], schema), buffer)
    return buffer.getvalue()


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as parquet

    for batch in parquet.ParquetFile(path).iter_batches():
        yield from map(Row.from_dict, batch.to_pylist())
