"""The text units of the CTC branch: ids <-> text."""

import base64
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
        if word in self._ranks:
            return [word]
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
    ctc = layout.config.ctc
    if ctc is None:
        return None
    for path in (layout.folder / _FILE, layout.tokenizer / _FILE):
        if path.is_file():
            units = _read_units(path)
            if len(units) > ctc.blank_id:  # the ids between are marks of languages and events
                raise CheckpointError(
                    f"{path}: has {len(units)} units where the CTC branch has {ctc.blank_id} before its blank; "
                    "it is another checkpoint's"
                )
            return CTCTokens(units)
    same = ctc.vocab_size == tokenizer.size + 1 and ctc.blank_id == tokenizer.size
    return CTCTokens([], tokenizer) if same else None


def _read_units(path: Path) -> list[bytes]:
    if path.stat().st_size > _MOST_BYTES:
        raise CheckpointError(f"{path}: larger than {_MOST_BYTES >> 20} MiB, so not a list of text units")
    lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    try:
        pairs = [line.split() for line in lines]
        units = {int(rank): base64.b64decode(unit, validate=True) for unit, rank in pairs}
    except ValueError as error:
        raise CheckpointError(f"{path}: expected a base64 unit and its rank on every line ({error})") from None
    if units.keys() != set(range(len(lines))):
        raise CheckpointError(f"{path}: its ranks have gaps or repeats; fetch it again")
    if len(set(units.values())) < len(units):
        raise CheckpointError(f"{path}: has a unit twice; fetch it again")
    if not {bytes([i]) for i in range(256)} <= set(units.values()):
        raise CheckpointError(f"{path}: some bytes have no unit, so not all text could be spelled; fetch it again")
    return [units[rank] for rank in range(len(units))]
