"""Paraformer's tokens: a list in `tokens.json`, and `seg_dict`, which spells English words in those tokens."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import CheckpointError
from .folder import read_bytes

_MAX_BYTES, _MAX_TOKENS, _MAX_LENGTH = 16 << 20, 1 << 18, 1024  # seg_dict has 8 MB, the list 8,404 short tokens
_UNKNOWN = "<unk>"
_CHINESE = re.compile(r"[\u4e00-\u9fa50-9]+")


class TokenList:
    """The tokens by id, and the ids of hotwords."""

    def __init__(self, path: Path, spellings: Path | None = None):
        self.path = path
        self.tokens = read_tokens(path)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens):
            raise CheckpointError(f"{path}: has a token twice; fetch it again")
        if _UNKNOWN not in self._ids:
            raise CheckpointError(f"{path}: has no {_UNKNOWN} token")
        self._spellings = _read_spellings(spellings) if spellings else {}

    @property
    def size(self) -> int:
        """How many ids there are."""
        return len(self.tokens)

    def token(self, token_id: int) -> str:
        """Return a token as the list writes it."""
        return self.tokens[token_id] if 0 <= token_id < self.size else f"<{token_id}>"

    def hotword_ids(self, word: str) -> list[int]:
        """Return the ids that spell a hotword as FunASR's SeACo-Paraformer does; without a spelling it is <unk>."""
        tokens = [token for part in word.lower().split() for token in self._spell(part)]
        return [self._ids.get(token, self._ids[_UNKNOWN]) for token in tokens]

    def _spell(self, part: str) -> Sequence[str]:
        if part in self._spellings:
            return self._spellings[part]
        if _CHINESE.fullmatch(part):
            return [token for char in part for token in self._spellings.get(char, [char])]
        return [part]


def read_tokens(path: Path) -> list[str]:
    """Read `tokens.json`; CheckpointError if it is not a list of tokens."""
    try:
        tokens = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise CheckpointError(f"{path}: expected a list of tokens")
    if not 0 < len(tokens) <= _MAX_TOKENS or max(map(len, tokens)) > _MAX_LENGTH:
        raise CheckpointError(f"{path}: a list of {len(tokens):,} tokens, or one with too long a token")
    return tokens


def _read_spellings(path: Path) -> dict[str, list[str]]:
    lines = _read(path).splitlines()
    return {words[0]: words[1:] for words in map(str.split, lines) if len(words) > 1}


def _read(path: Path) -> str:
    try:
        return read_bytes(path, _MAX_BYTES).decode("utf-8")
    except ValueError as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None
