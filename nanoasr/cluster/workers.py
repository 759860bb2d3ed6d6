"""What runs on the workers of a Ray cluster. Importing this module imports nanoasr before MLX."""

import json
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from ..audio.files import SAMPLE_RATE
from ..audio.reader import Cut, read_ahead
from ..audio.vad import VadOptions
from ..errors import NanoASRError
from .filesystems import local_path, open_binary
from .inputs import Input, open_recording
from .job import Settings
from .local import transcribe_cuts, transcribe_inputs
from .rows import Row

_PIECE_SECONDS = 120.0  # of speech


def work_row(index: int, item: Input) -> dict:
    """Return the row that goes through the cluster: a whole recording, which may become pieces with samples."""
    work = {"index": index, "source": item.source, "offset": -1.0, "duration": -1.0}
    work |= {name: value for name in ("offset", "duration") if (value := getattr(item, name)) is not None}
    return work | {"piece": 0, "last": True, "cuts": "", "samples": b"", "error": ""}


def may_be_long(item: Input, seconds: float) -> bool:
    """Return True if the recording is longer, as far as can be told without fetching it."""
    if item.offset is not None:
        return False
    if item.duration is None and not local_path(item.source):
        return True
    return stated_seconds(item) > seconds


@dataclass(frozen=True)
class CutLongRecordings:
    """Pass recordings on; replace those longer than `seconds` by pieces of them, cut as `transcribe_batch` would."""

    seconds: float
    vad: bool
    max_seconds: float | None
    __name__ = "CutLongRecordings"  # the operator's name in Ray's dashboard

    def __call__(self, row: dict) -> Iterator[dict]:
        """Yield the row itself, or a row for each piece with its samples; the last one has the error if any."""
        item = _item(row)
        if item.offset is not None or stated_seconds(item) <= self.seconds:
            yield row
            return
        try:
            source = open_recording(item)
        except NanoASRError as error:
            yield row | {"error": str(error)}
            return
        yield from self._pieces(row, source)

    def _pieces(self, row: dict, source: object) -> Iterator[dict]:
        piece, held = 0, []
        for recording in read_ahead([source], None, VadOptions() if self.vad else None, self.max_seconds, workers=1):
            for cut in recording.cuts():
                held.append(cut)
                if sum(len(cut.samples) for cut in held) >= min(self.seconds, _PIECE_SECONDS) * SAMPLE_RATE:
                    yield row | _packed(held) | {"piece": piece, "last": False}
                    piece, held = piece + 1, []
            error = str(recording.error or "")
            end = {"piece": piece, "last": True, "duration": recording.duration, "error": error}
            yield row | _packed(held) | end


class Transcribe:
    """An actor that holds the model. It gives one row of JSON for each recording or piece."""

    COLUMNS = ("index", "piece", "last", "failure", "row")

    def __init__(self, settings: Settings, batch_size: int | None):
        self.settings, self.batch_size = settings, batch_size
        self.asr = settings.load()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        """Transcribe a batch. What fails in an unforeseen way has a `failure` in place of a row."""
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        made: list[Row | None] = [None] * len(rows)
        failure = ""
        try:
            for place, row in self._transcribe(rows):
                made[place] = row
        except Exception as error:  # such as too little memory: tried again in smaller batches
            traceback.print_exc()
            failure = f"{type(error).__name__}: {error}"
        return {
            "index": [int(row["index"]) for row in rows],
            "piece": [int(row["piece"]) for row in rows],
            "last": [bool(row["last"]) for row in rows],
            "failure": ["" if row else failure for row in made],
            "row": [json.dumps(row.to_dict()) if row else "" for row in made],
        }

    def _transcribe(self, rows: list[dict]) -> Iterator[tuple[int, Row]]:
        whole = []
        for place, row in enumerate(rows):
            if row["error"]:
                yield place, Row(row["source"], error=str(row["error"]))
            elif row["cuts"]:
                duration = max(0.0, float(row["duration"]))
                item, cuts = _item(row), _unpacked(row)
                yield place, transcribe_cuts(self.asr, item, cuts, duration, self.settings.options, self.batch_size)
            else:
                whole.append(place)
        inputs = [_item(rows[place]) for place in whole]
        yield from zip(whole, transcribe_inputs(self.asr, inputs, self.settings.options, self.batch_size), strict=True)


def stated_seconds(item: Input) -> float:
    """Return the duration that the manifest or the file's header states; 0 if neither does."""
    import av

    from ..audio.ffmpeg import CONTAINERS

    if item.duration is not None:
        return item.duration
    limits = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
    try:
        with open_binary(item.source) as file, av.open(file, "r", container_options=limits) as container:
            return max(0.0, (container.duration or 0) / av.time_base)
    except Exception:  # a bad file is reported when it is transcribed
        return 0.0


def _item(row: dict) -> Input:
    offset, duration = float(row["offset"]), float(row["duration"])
    return Input(str(row["source"]), None, duration if duration > 0 else None, offset if offset >= 0 else None)


def _packed(cuts: list[Cut]) -> dict:
    names = [field.name for field in fields(Cut) if field.name != "samples"]
    places = [{name: getattr(cut, name) for name in names} | {"samples": len(cut.samples)} for cut in cuts]
    samples = b"".join(np.ascontiguousarray(cut.samples, np.float32).tobytes() for cut in cuts)
    return {"cuts": json.dumps(places), "samples": samples}


def _unpacked(row: dict) -> list[Cut]:
    samples, cuts, position = np.frombuffer(row["samples"], np.float32), [], 0
    for place in json.loads(str(row["cuts"])):
        end = position + place["samples"]
        cuts.append(Cut(**place | {"samples": samples[position:end]}))
        position = end
    return cuts
