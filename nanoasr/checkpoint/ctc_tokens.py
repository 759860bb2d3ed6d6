"""The text units of the CTC branch: ids to text and text to ids."""

import base64
import itertools
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

from ..errors import CheckpointError
from .folder import read_bytes
from .layouts import Layout
from .tokenizer import Tokenizer

_FILE = "multilingual.tiktoken"
_MAX_BYTES = 16 << 20
# How Whisper's vocabulary, which FunASR uses, splits text before units are looked up.
_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Piece:
    """A unit, and the characters from `start` to `end` of the text that it stands for, wholly or in part."""

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
        """Return the ids that spell `text`."""
        return [piece.id for piece in self.pieces(text)]

    def pieces(self, text: str) -> list[Piece]:
        """Return the ids that spell `text`, each with the characters it covers."""
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
        """Return the text of ids; ids without a unit (tags of languages and events) are left out."""
        if self._tokenizer:
            return self._tokenizer.decode(ids)
        return b"".join(self._units[i] for i in ids if i < len(self._units)).decode(errors="ignore")

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


def find_units(layout: Layout) -> Path | None:
    """Return the file with the text units of the CTC branch, which lies beside the config or the tokenizer."""
    paths = (layout.folder / _FILE, layout.tokenizer / _FILE)
    return next((path for path in paths if path.is_file()), None)


def load_ctc_tokens(layout: Layout, tokenizer: Tokenizer) -> CTCTokens | None:
    """Load the text units of the CTC branch: from `multilingual.tiktoken`, or the LLM's own where the sizes match.

    None where there is no branch, or nothing says what its ids mean.
    """
    ctc = layout.config.ctc
    if ctc is None:
        return None
    if path := find_units(layout):
        units = _read_units(path)
        if len(units) > ctc.blank_id:  # the ids between are tags of languages and events
            raise CheckpointError(
                f"{path}: has {len(units)} units where the CTC branch has {ctc.blank_id} before its blank; "
                "it belongs to another checkpoint"
            )
        return CTCTokens(units)
    same = ctc.vocab_size == tokenizer.size + 1 and ctc.blank_id == tokenizer.size
    return CTCTokens([], tokenizer) if same else None


def _read_units(path: Path) -> list[bytes]:
    lines = [line for line in read_bytes(path, _MAX_BYTES).splitlines() if line.strip()]
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
        raise CheckpointError(f"{path}: some bytes have no unit, so not every text can be spelled; fetch it again")
    return [units[rank] for rank in range(len(units))]
