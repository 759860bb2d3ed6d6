"""Decode ids with a SentencePiece model, without the sentencepiece library.

Decoding needs only the pieces of the model file and their kinds. The protobuf fields that hold them are read here,
with every length checked against the file's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import CheckpointError
from .folder import read_bytes

_MAX_BYTES, _MAX_PIECES, _MAX_LENGTH = 4 << 20, 1 << 18, 1024  # SenseVoice: 377 kB, 25,055, 16
_SPACE = "\u2581"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_UNKNOWN_TEXT = " \u2047 "


@dataclass(frozen=True)
class Piece:
    """A piece of the vocabulary and its kind."""

    text: str
    kind: int = _NORMAL


class SentencePieces:
    """The pieces of a model file by id, and the decoding of ids."""

    def __init__(self, path: Path, pieces: Sequence[Piece]):
        self.path, self.pieces = path, pieces

    @classmethod
    def read(cls, path: Path) -> "SentencePieces":
        """Read a SentencePiece `.model` file; CheckpointError if it is something else."""
        try:
            pieces = [_piece(value) for value in _messages(read_bytes(path, _MAX_BYTES), 1)]
            if not 0 < len(pieces) <= _MAX_PIECES:
                raise ValueError(f"{len(pieces)} pieces")
        except ValueError as error:
            raise CheckpointError(f"{path}: not a SentencePiece model ({error})") from None
        return cls(path, pieces)

    @property
    def size(self) -> int:
        """How many ids there are."""
        return len(self.pieces)

    @cached_property
    def marks(self) -> dict[int, str]:
        """Names of the tags such as `<|en|>`, which describe what was heard, by id: "en"."""
        return {
            i: piece.text[2:-2]
            for i, piece in enumerate(self.pieces)
            if piece.text.startswith("<|") and piece.text.endswith("|>") and len(piece.text) > 4
        }

    def token(self, token_id: int) -> str:
        """Return a piece as the vocabulary writes it."""
        return self.pieces[token_id].text if 0 <= token_id < self.size else f"<{token_id}>"

    def texts(self, ids: Sequence[int]) -> list[str]:
        """Return the text that each id adds; a character made of bytes belongs to its last one. Tags add nothing."""
        texts, pending = [], b""
        for token_id in ids:
            piece = self.pieces[token_id]
            if piece.kind == _BYTE:
                pending += bytes([int(piece.text[3:-1], 16)])
                text, pending = _complete(pending)
            else:
                pending = b""
                unwritten = piece.kind in (_CONTROL, _UNUSED) or token_id in self.marks
                unknown = piece.kind == _UNKNOWN
                text = "" if unwritten else _UNKNOWN_TEXT if unknown else piece.text.replace(_SPACE, " ")
            texts.append(text)
        return texts

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return "".join(self.texts(ids)).strip()


def _complete(pending: bytes) -> tuple[str, bytes]:
    """Return the character that the bytes make, and the bytes that still wait for more."""
    try:
        return pending.decode(), b""
    except UnicodeDecodeError as error:
        return "", pending if error.reason == "unexpected end of data" else b""


def _piece(message: bytes) -> Piece:
    text, kind = None, _NORMAL
    for field, value in _fields(message):
        if field == 1 and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif field == 3 and isinstance(value, int):
            kind = value
    if text is None or not _NORMAL <= kind <= _BYTE:
        raise ValueError(f"a piece without text or of unknown kind {kind}")
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"a piece of {len(text):,} characters")
    if kind == _BYTE and not (len(text) == 6 and text.startswith("<0x") and text.endswith(">")):
        raise ValueError(f"a byte written {text!r:.20}")
    if kind == _BYTE:
        int(text[3:-1], 16)
    return Piece(text, kind)


def _messages(data: bytes, wanted: int) -> list[bytes]:
    return [value for field, value in _fields(data) if field == wanted and isinstance(value, bytes)]


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Give the fields of a protobuf message: numbers as int, fixed-size and length-delimited ones as bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield field, value
            continue
        if wire == 2:
            length, place = _varint(data, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if field == 0 or place + length > len(data):
            raise ValueError("a field reaches beyond its end")
        yield field, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            raise ValueError("cut short")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number of more than 64 bits")
