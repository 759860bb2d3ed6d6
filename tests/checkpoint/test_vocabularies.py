"""SentencePiece models and Paraformer's token lists, read without their libraries."""

import itertools
import json
import re

import numpy as np
import pytest
from places import PARITY

from nanoasr.checkpoint.sentencepiece import Piece, SentencePieces
from nanoasr.checkpoint.token_list import TokenList
from nanoasr.errors import CheckpointError

SENSEVOICE, SEACO = PARITY / "families" / "sensevoice", PARITY / "families" / "paraformer_seaco"
PIECES = "chn_jpn_yue_eng_ko_spectok.bpe.model"


@pytest.mark.parametrize("case", ["auto", "en"])
def test_pieces_spell_what_sentencepiece_does(case):
    expected, pieces = np.load(SENSEVOICE / "expected.npz"), SentencePieces.read(SENSEVOICE / PIECES)
    ids = [int(i) for i, _ in itertools.groupby(expected[f"{case}.frame_ids"]) if i]
    assert pieces.decode(ids) == re.sub(r"<\|\w+\|>", "", str(expected[f"{case}.text"]))
    assert "".join(pieces.token(i) for i in ids).replace("\u2581", " ") == str(expected[f"{case}.text"])


def test_marks_are_pieces_between_bars():
    marks = SentencePieces.read(SENSEVOICE / PIECES).marks
    assert marks[3] == "zh"
    assert {"HAPPY", "BGM", "withitn"} <= set(marks.values())


def test_bytes_make_characters_and_control_pieces_make_nothing():
    kinds = {"<s>": 3, "\u2581a": 1, "<0xE4>": 6, "<0xBD>": 6, "<0xA0>": 6, "<unk>": 2}
    pieces = SentencePieces(SENSEVOICE / PIECES, [Piece(text, kind) for text, kind in kinds.items()])
    assert pieces.texts([0, 1, 2, 3, 4, 1]) == ["", " a", "", "", "你", " a"]
    assert pieces.texts([2, 2, 3, 4]) == ["", "", "", ""]  # what is no character is left out
    assert pieces.decode([1, 5, 1]) == "a \u2047  a"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length of 2^63
        b"\xff" * 11,
        b"\x0a\x03\x0a\x01",  # a piece cut short
        b"\x0a\x03\x0a\x01\xff",  # not UTF-8
        b"\x0a\x02\x18\x01",  # without text
        b"\x0a\x05\x0a\x01a\x18\x09",  # of kind 9
        b"\x0a\x05\x0a\x01a\x18\x06",  # a byte written "a"
        b"\x0b",
        b"<html>not found</html>",
    ],
)
def test_what_is_no_sentencepiece_model_is_refused(data, tmp_path):
    path = tmp_path / PIECES
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="not a SentencePiece model"):
        SentencePieces.read(path)


def test_hotwords_are_spelled_by_the_segmentation_dictionary():
    tokens = TokenList(SEACO / "tokens.json", SEACO / "seg_dict")
    assert [tokens.token(i) for i in tokens.hotword_ids("今天")] == ["今", "天"]
    assert [tokens.token(i) for i in tokens.hotword_ids("Reader")] == ["rea@@", "der"]
    assert [tokens.token(i) for i in tokens.hotword_ids("nothing unheard-of")] == ["no@@", "thing", "<unk>"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[", "cannot be read as JSON"),
        ("{}", "expected a list"),
        ("[1]", "expected a list"),
        ("[]", "a list of 0 tokens"),
        (json.dumps(["a", "a", "<unk>"]), "twice"),
        (json.dumps(["a"]), "no <unk>"),
    ],
)
def test_what_is_no_list_of_tokens_is_refused(content, reason, tmp_path):
    path = tmp_path / "tokens.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=reason):
        TokenList(path)
