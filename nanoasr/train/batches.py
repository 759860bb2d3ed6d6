"""Which recordings form which batches, as a pure function of (seed, epoch).

The order need not be saved, so a killed run continues exactly where it was.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from ..audio.features import FRAME_LENGTH, SAMPLE_RATE, frame_count, lfr_count
from ..errors import OptionError
from .augment import SPEED_UNIT
from .manifest import Utterance
from .pool import ROW, Pool
from .prompts import Prompts

_ROWS_A_SECOND = SAMPLE_RATE // ROW


@dataclass(frozen=True)
class Source:
    """A manifest and how it is sampled.

    `weight` is how often each line occurs in an epoch (2.5: twice, and half of the lines a third time). `join` is the
    share of draws that concatenate several lines, `pieces` how many, `gap` the silence between them in seconds; with
    `same_speaker` only lines of one speaker are joined.
    """

    manifest: str
    weight: float = 1.0
    join: float = 0.0
    pieces: tuple[int, int] = (2, 4)
    gap: tuple[float, float] = (0.1, 0.8)
    same_speaker: bool = True


@dataclass(frozen=True)
class BatchConfig:
    """A batch holds up to `seconds` of padded audio.

    `speed` is the range of speed factors, `margin` the most silence in seconds on either side, and `silence` the share
    of rows without speech and text.
    """

    seconds: float = 384.0
    shortest: float = 0.15
    longest: float = 20.0
    most: int = 512  # recordings in one batch
    speed: tuple[float, float] = (0.88, 1.14)
    margin: float = 0.4
    silence: float = 0.02


@dataclass(frozen=True)
class Item:
    """One row of a batch: indices of recordings, with `gaps` rows of silence around them."""

    pieces: tuple[int, ...]
    gaps: tuple[int, ...]  # before each piece, and after the last
    speed: int = SPEED_UNIT
    samples: int = 0  # of the result
    number: int = 0  # in its epoch; with the seed it determines the prompt


@dataclass(frozen=True)
class Bucket:
    """A batch shape for recordings of similar length: rows and samples per row."""

    count: int
    samples: int

    @property
    def rows(self) -> int:
        return -(-self.samples * 5 // (4 * ROW)) + 2  # room for 1.25 times the speed

    @property
    def frames(self) -> int:
        return lfr_count(frame_count(self.samples))


@dataclass(frozen=True)
class Batch:
    """One step's input as arrays (NumPy's, then MLX's) of the bucket's shapes; ids are padded with 0."""

    samples: int  # per row; a shape, so not an array
    rows: np.ndarray  # [B, R] rows of the pool
    speed: np.ndarray  # [B] in 1/1024
    lengths: np.ndarray  # [B] samples
    audio_tokens: np.ndarray  # [B]
    prefix: np.ndarray  # [B, P] ids before the audio
    prefix_lengths: np.ndarray  # [B]
    suffix: np.ndarray  # [B, S] ids between the audio and the text
    suffix_lengths: np.ndarray  # [B]
    text: np.ndarray  # [B, U] with the id that ends it
    text_lengths: np.ndarray  # [B] with the end
    texts: tuple[str, ...] = ()

    def arrays(self) -> list:
        """Return all arrays, in the order of the fields."""
        return [getattr(self, f.name) for f in fields(self) if f.name not in ("samples", "texts")]


class Data:
    """Recordings with their texts, and the batches made of them for training and evaluation."""

    def __init__(self, sources: list[tuple[Source, list[Utterance]]], pool: Pool, config: BatchConfig):
        self.utterances = [u for _, lines in sources for u in lines]
        self.sources = [source for source, _ in sources]
        self.pool, self.config = pool, config
        edges = np.cumsum([0, *(len(lines) for _, lines in sources)])
        self._ranges = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
        self.buckets = make_buckets(config)
        seconds = self.pool.lengths / SAMPLE_RATE
        self.left_out = int(((seconds < config.shortest) | (seconds > config.longest)).sum())
        if self.left_out == len(seconds):
            raise OptionError(
                f"all {len(seconds)} recordings are shorter than {config.shortest} s or longer "
                f"than {config.longest} s: there is nothing to train on"
            )

    def epoch(self, seed: int, epoch: int) -> list[tuple[Bucket, list[Item]]]:
        """Return an epoch's batches in order, each a bucket and its items."""
        rng = np.random.default_rng([seed, epoch])
        filled: list[list[Item]] = [[] for _ in self.buckets]
        for item in self._draw(rng):
            place = next((i for i, b in enumerate(self.buckets) if item.samples <= b.samples), None)
            if place is not None and item.samples >= self.config.shortest * SAMPLE_RATE:
                filled[place].append(item)
        batches = []
        for bucket, items in zip(self.buckets, filled, strict=True):
            shuffled = [items[i] for i in rng.permutation(len(items))]
            batches += [(bucket, part) for part in _cut(shuffled, bucket.count)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def plain(self) -> list[tuple[Bucket, list[Item]]]:
        """Return batches for evaluation: every recording once, unchanged, longest first."""
        order = np.argsort(-self.pool.lengths, kind="stable")
        items = [Item((int(i),), (0, 0), samples=int(self.pool.lengths[i])) for i in order]
        items = [item for item in items if FRAME_LENGTH <= item.samples <= self.buckets[-1].samples]
        batches = []
        for bucket, floor in zip(self.buckets, [0, *(b.samples for b in self.buckets)], strict=False):
            here = [item for item in items if floor < item.samples <= bucket.samples]
            batches += [(bucket, here[i : i + bucket.count]) for i in range(0, len(here), bucket.count)]
        return batches[::-1]

    def compose(self, bucket: Bucket, items: list[Item], prompts: Prompts, seed: int | None) -> Batch:
        """Build a batch. Without a seed every prompt is the plain one, as in evaluation."""
        rows = np.zeros((len(items), bucket.rows), dtype=np.int32)
        for row, item in zip(rows, items, strict=True):
            place = 0
            for piece, gap in zip(item.pieces, item.gaps, strict=False):
                start, count = self.pool.starts[piece], -(-self.pool.lengths[piece] // ROW)
                place += gap
                row[place : place + count] = np.arange(start, start + count)
                place += count
        texts = tuple(" ".join(filter(None, (self.utterances[p].text for p in item.pieces))) for item in items)
        spoken = [self.utterances[item.pieces[0]] if item.pieces else None for item in items]
        asked = prompts.build(spoken, texts, [item.number for item in items], seed)
        return Batch(
            samples=bucket.samples,
            rows=rows,
            speed=np.array([item.speed for item in items], dtype=np.int32),
            lengths=np.array([item.samples for item in items], dtype=np.int32),
            audio_tokens=np.array([prompts.audio_tokens(item.samples) for item in items], dtype=np.int32),
            texts=texts,
            **asked.padded(bucket.frames // 2),
        )

    def _draw(self, rng: np.random.Generator) -> Iterator[Item]:
        number = 0
        for source, (first, end) in zip(self.sources, self._ranges, strict=True):
            whole, rest = divmod(source.weight, 1.0)
            picks = np.repeat(np.arange(first, end), int(whole))
            picks = np.concatenate([picks, np.arange(first, end)[rng.random(end - first) < rest]])
            partners = self._partners(first, end, source.same_speaker)
            for pick in rng.permutation(picks).tolist():
                pieces = [pick]
                if rng.random() < source.join:
                    more = int(rng.integers(source.pieces[0], source.pieces[1] + 1)) - 1
                    pieces += rng.choice(partners[self.utterances[pick].speaker], more).tolist()
                yield self._item(pieces, source.gap, number, rng)
                number += 1
        for _ in range(round(number * self.config.silence)):
            seconds = rng.uniform(self.config.shortest, min(8.0, self.config.longest))
            yield Item((), (), samples=int(seconds * SAMPLE_RATE), number=number)
            number += 1

    def _partners(self, first: int, end: int, same_speaker: bool) -> dict[str | None, np.ndarray]:
        groups: dict[str | None, list[int]] = {}
        for i in range(first, end):
            groups.setdefault(self.utterances[i].speaker, []).append(i)
        if same_speaker:
            return {speaker: np.array(numbers) for speaker, numbers in groups.items()}
        return dict.fromkeys(groups, np.arange(first, end))

    def _item(self, pieces: list[int], gap: tuple[float, float], number: int, rng: np.random.Generator) -> Item:
        before, after = rng.uniform(0, self.config.margin, 2)
        gaps = [round(s * _ROWS_A_SECOND) for s in (before, *rng.uniform(*gap, len(pieces) - 1), after)]
        speed = round(rng.uniform(*self.config.speed) * SPEED_UNIT)
        counts = [-(-int(self.pool.lengths[piece]) // ROW) for piece in pieces]
        while len(pieces) > 1 and self._samples(counts, gaps, speed) > self.buckets[-1].samples:
            pieces, counts, gaps = pieces[:-1], counts[:-1], gaps[:-2] + gaps[-1:]
        if self._samples(counts, gaps, speed) > self.buckets[-1].samples:
            gaps = [0, 0]
        return Item(tuple(pieces), tuple(gaps), speed, self._samples(counts, gaps, speed), number)

    @staticmethod
    def _samples(counts: list[int], gaps: list[int], speed: int) -> int:
        return (sum(counts) + sum(gaps)) * ROW * SPEED_UNIT // speed


def make_buckets(config: BatchConfig) -> list[Bucket]:
    """Return buckets whose lengths grow by a quarter up to the longest; shorter ones hold more recordings."""
    buckets, seconds = [], min(1.2, config.longest)
    while True:
        samples = math.ceil(seconds * _ROWS_A_SECOND) * ROW
        count = int(config.seconds * SAMPLE_RATE // samples)
        buckets.append(Bucket(max(1, min(count, config.most)), samples))
        if seconds >= config.longest:
            return buckets
        seconds = min(seconds * 1.25, config.longest)


def _cut(items: list[Item], count: int) -> list[list[Item]]:
    """Split items into batches of `count`.

    A remainder of at least half is filled up with other items, a smaller one is left out of this epoch. If there is
    only a remainder, it is repeated up to a power of two, so that there are few batch shapes.
    """
    if not items:
        return []
    if len(items) < count:
        return [(items * 2)[: min(count, 1 << (len(items) - 1).bit_length())]]
    whole, rest = divmod(len(items), count)
    parts = [items[i * count : (i + 1) * count] for i in range(whole)]
    if rest * 2 >= count:
        parts.append(items[whole * count :] + items[: count - rest])
    return parts
