"""The text units of the CTC branch: ids <-> text."""

import base64
import binascii
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Regex, pre_tokenizers

from ..errors import CheckpointError
from .layouts import Layout
from .tokenizer import Tokenizer

_FILE = "multilingual.tiktoken"
_MOST_BYTES = 16 << 20
# how Whisper's vocabulary, which FunASR took over, splits text before it looks units up
_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Piece:
    """A unit, and the characters of the text from `start` to `end` that it stands for, wholly or in part."""

    id: int
    start: int
    end: int


class CTCTokens:
    """Text units as bytes, by id."""

    def __init__(self, units: list[bytes], tokenizer: Tokenizer | None = None):
        self._units, self._tokenizer = units, tokenizer
        self._ranks = {unit: rank for rank, unit in enumerate(units)}
        self._split = pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated")

    def encode(self, text: str) -> list[int]:
        """The ids that spell `text`."""
        return [piece.id for piece in self.pieces(text)]

    def pieces(self, text: str) -> list[Piece]:
        """The ids that spell `text`, each with the characters it covers."""
        if self._tokenizer:
            return [Piece(i, *span) for i, span in self._tokenizer.encode_spans(text)]
        found: list[Piece] = []
        for word, (start, _) in self._split.pre_tokenize_str(text):
            owner = [start + i for i, char in enumerate(word) for _ in char.encode()]
            place = 0
            for unit in self._merge(word.encode()):
                covered = owner[place : place + len(unit)]
                found.append(Piece(self._ranks[unit], covered[0], covered[-1] + 1))
                place += len(unit)
        return found

    def decode(self, ids: list[int]) -> str:
        """The text of some ids; ids without a unit (language and event marks) are left out."""
        if self._tokenizer:
            return self._tokenizer.decode(ids)
        return b"".join(self._units[i] for i in ids if i < len(self._units)).decode(errors="ignore")

    def greedy_ids(self, logprobs: np.ndarray, blank: int) -> list[int]:
        """The likeliest unit of every frame [T, V], repeats and blanks taken out."""
        best = logprobs.argmax(axis=-1)
        kept = best[np.concatenate([[True], best[1:] != best[:-1]])] if len(best) else best
        return [int(i) for i in kept if i != blank]

    def _merge(self, word: bytes) -> list[bytes]:
        parts = [word[i : i + 1] for i in range(len(word))]
        while len(parts) > 1:
            ranks = [self._ranks.get(a + b, len(self._ranks)) for a, b in itertools.pairwise(parts)]
            place = min(range(len(ranks)), key=ranks.__getitem__)
            if ranks[place] == len(self._ranks):
                break
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return parts


def load_ctc_tokens(layout: Layout, tokenizer: Tokenizer) -> CTCTokens | None:
    """The units of a checkpoint's CTC branch: its `multilingual.tiktoken`, or the LLM's own where the sizes say so.

    None where there is no branch, or nothing says what its ids mean.
    """
    if layout.config.ctc is None:
        return None
    for folder in (layout.folder, layout.tokenizer):
        if (folder / _FILE).is_file():
            return CTCTokens(_read_units(folder / _FILE))
    return CTCTokens([], tokenizer) if layout.config.ctc.vocab_size == tokenizer.size + 1 else None


def _read_units(path: Path) -> list[bytes]:
    if path.stat().st_size > _MOST_BYTES:
        raise CheckpointError(f"{path}: larger than {_MOST_BYTES >> 20} MiB, so not a list of text units")
    units: dict[int, bytes] = {}
    try:
        for line in path.read_bytes().splitlines():
            if line.strip():
                unit, rank = line.split()
                units[int(rank)] = base64.b64decode(unit, validate=True)
    except (ValueError, binascii.Error) as error:
        raise CheckpointError(f"{path}: expected a base64 unit and its rank on every line ({error})") from None
    ordered = [units.get(rank, b"") for rank in range(len(units))]
    if not all(ordered) or not {bytes([i]) for i in range(256)} <= set(ordered):
        raise CheckpointError(f"{path}: its ranks have gaps, or some bytes have no unit")
    return ordered
