"""All training audio in one array on the device: int16 in rows of 50 ms, 115 MB per hour."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..audio.features import SAMPLE_RATE
from ..errors import AudioFormatError
from .manifest import Utterance

ROW = 800  # samples; each recording starts at a row, and row 0 is silence
assert SAMPLE_RATE % ROW == 0


@dataclass(frozen=True)
class Pool:
    """`rows` [R, 800] int16; recording i starts at row `starts[i]` and has `lengths[i]` samples."""

    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @property
    def hours(self) -> float:
        return float(self.lengths.sum()) / SAMPLE_RATE / 3600


def load_pool(utterances: list[Utterance], workers: int = 8) -> Pool:
    """Read all recordings in parallel into one Pool; duplicates are kept once."""
    places = {(u.audio, u.offset, u.length): u for u in utterances}
    with ThreadPoolExecutor(workers) as threads:
        clips = list(threads.map(_read, places.values()))
    lengths = np.array([len(clip) for clip in clips], dtype=np.int64)
    counts = -(-lengths // ROW)
    starts = 1 + np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    rows = np.zeros((int(starts[-1] + counts[-1]), ROW), dtype=np.int16)
    flat = rows.reshape(-1)
    for clip, start in zip(clips, starts, strict=True):
        flat[start * ROW : start * ROW + len(clip)] = clip
    number = {place: i for i, place in enumerate(places)}
    order = [number[u.audio, u.offset, u.length] for u in utterances]
    return Pool(rows, starts[order].astype(np.int32), lengths[order].astype(np.int32))


def _read(utterance: Utterance) -> np.ndarray:
    if utterance.length is None:
        from ..audio.files import load_audio  # only here: training on shards needs no audio decoder

        samples = load_audio(utterance.audio).samples
        return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    shard = _open_shard(utterance.audio)
    end = utterance.offset + utterance.length
    if end > shard.shape[0]:
        raise AudioFormatError(f"{utterance.audio}: sample {end} is out of range: it has {shard.shape[0]}")
    return shard[utterance.offset : end]


@lru_cache(maxsize=256)
def _open_shard(path: Path) -> np.ndarray:
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise AudioFormatError(f"{path}: not a shard of training audio ({error})") from None
    if shard.dtype != np.int16 or shard.ndim != 1:
        raise AudioFormatError(f"{path}: a shard holds one row of int16, this is {shard.dtype} {shard.shape}")
    return shard
