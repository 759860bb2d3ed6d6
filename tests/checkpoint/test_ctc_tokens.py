"""The CTC branch's text units: the file they come in, and text to ids and back."""

import base64
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoints import SMALL, SMALL_CTC, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoasr.checkpoint.ctc_tokens import CTCTokens, load_ctc_tokens
from nanoasr.checkpoint.layouts import read_layout
from nanoasr.checkpoint.load import load_tokenizer
from nanoasr.errors import CheckpointError

BYTES = [bytes([i]) for i in range(256)]
MERGED = [" t", "he", " th", " the", "in", " a", "in", "ing", "ab", "abc", "bc", " 2", "20", "'s", "é", "好"]
# 你 and its first two bytes, as units of a byte-level vocabulary build on each other
UNITS = list(dict.fromkeys([*BYTES, *(text.encode() for text in MERGED), "你".encode()[:2], "你".encode()]))
TOKENS = CTCTokens(UNITS)
texts = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=4), st.sampled_from([*MERGED, "你", " ", "\n"])
    ),
    max_size=12,
).map("".join)
quick = settings(max_examples=200, deadline=None)


# Text to ids


@pytest.mark.parametrize(
    ("text", "units"),  # as the tiktoken package 0.14 has it
    [
        ("the thing's abcbc", [b"t", b"he", b" th", b"ing", b"'s", b" a", b"bc", b"bc"]),
        ("  a  the ", [b" ", b" a", b" ", b" the", b" "]),
        ("你好，20 2", ["你".encode(), b"\xe5", b"\xa5", b"\xbd", b"\xef", b"\xbc", b"\x8c", b"20", b" 2"]),
        ("好 ing", ["好".encode(), b" ", b"ing"]),
        ("", []),
    ],
)
def test_units_are_merged_as_tiktoken_merges_them(text, units):
    assert [UNITS[i] for i in TOKENS.encode(text)] == units


@quick
@given(texts)
def test_units_spell_the_text_and_decode_to_it(text):
    ids = TOKENS.encode(text)
    assert b"".join(UNITS[i] for i in ids) == text.encode()
    assert TOKENS.decode(ids) == text


@quick
@given(texts)
def test_every_unit_covers_the_characters_that_its_bytes_are_of(text):
    owners = [i for i, char in enumerate(text) for _ in char.encode()]
    place = 0
    for piece in TOKENS.pieces(text):
        covered = owners[place : place + len(UNITS[piece.id])]
        assert (piece.start, piece.end) == (covered[0], covered[-1] + 1)
        place += len(UNITS[piece.id])
    assert place == len(owners)


# Ids to text


def test_a_character_in_pieces_is_whole_again():
    assert TOKENS.decode(list("谢".encode())) == "谢"


def test_half_a_character_is_left_out():
    assert TOKENS.decode([*b"ok", *"谢".encode()[:2]]) == "ok"
    assert TOKENS.decode([*"谢".encode()[1:], *b"ok"]) == "ok"


def test_marks_without_a_unit_are_left_out():
    assert TOKENS.decode([len(UNITS), *b"ok", len(UNITS) + 1000]) == "ok"


# The file


def listed(units: list[bytes]) -> str:
    return "".join(f"{base64.b64encode(unit).decode()} {rank}\n" for rank, unit in enumerate(units))


def load(folder: Path, vocab_size: int = 600, blank_id: int | None = None, file: str | bytes | None = None):
    ctc = replace(SMALL_CTC, vocab_size=vocab_size, blank_id=vocab_size - 1 if blank_id is None else blank_id)
    layout = read_layout(write_checkpoint(folder / "c", "official", replace(SMALL, ctc=ctc), tensors={}))
    if file is not None:
        (folder / "c" / "multilingual.tiktoken").write_bytes(file if isinstance(file, bytes) else file.encode())
    return load_ctc_tokens(layout, load_tokenizer(layout))


def test_units_come_from_the_tiktoken_file(tmp_path):
    found = load(tmp_path, file=listed(UNITS))
    assert found.encode("the 你好") == TOKENS.encode("the 你好")


def test_a_file_beside_the_tokenizer_serves_too(tmp_path):
    load(tmp_path, file=listed(UNITS))
    (tmp_path / "c" / "multilingual.tiktoken").rename(tmp_path / "c" / "Qwen3-0.6B" / "multilingual.tiktoken")
    layout = read_layout(tmp_path / "c")
    assert load_ctc_tokens(layout, load_tokenizer(layout)).encode("the") == TOKENS.encode("the")


def test_order_blank_lines_and_line_ends_do_not_matter(tmp_path):
    lines = listed(UNITS).splitlines()
    found = load(tmp_path, file="\r\n\r\n".join(reversed(lines)))
    assert found.encode("the 你好") == TOKENS.encode("the 你好")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("", "some bytes have no unit"),
        (listed(UNITS[:255]), "some bytes have no unit"),
        (listed(UNITS) + "YWJjZA==\n", "expected a base64 unit and its rank on every line"),
        (listed(UNITS) + "YWJjZA== 999 1\n", "expected a base64 unit and its rank on every line"),
        (listed(UNITS) + "YWJjZA== many\n", "expected a base64 unit and its rank on every line"),
        (listed(UNITS) + f"Y*Jj {len(UNITS)}\n", "expected a base64 unit and its rank on every line"),
        (listed(UNITS) + f"YWJjZA {len(UNITS)}\n", "expected a base64 unit and its rank on every line"),
        (b"\xff\xfe\x00 \x80 binary\n", "expected a base64 unit and its rank on every line"),
        (listed(UNITS) + f"YWJjZA== {len(UNITS) + 1}\n", "gaps or repeats"),
        (listed(UNITS) + "YWJjZA== 7\n", "gaps or repeats"),
        (listed(UNITS) + "YWJjZA== -1\n", "gaps or repeats"),
        (listed(UNITS) + "YWJjZA== 99999999999999\n", "gaps or repeats"),
        (listed([*UNITS, UNITS[-1]]), "has a unit twice"),
    ],
    ids=[
        *("empty", "a_byte_missing", "no_rank", "three_words", "no_number", "no_base64", "no_padding", "binary"),
        *("gap", "repeated_rank", "negative", "huge_rank", "repeated_unit"),
    ],
)
def test_a_file_that_is_no_list_of_units_is_named(file, said, tmp_path):
    with pytest.raises(CheckpointError, match=rf"multilingual\.tiktoken: .*{said}"):
        load(tmp_path, file=file)


def test_a_file_of_any_size_is_not_read(tmp_path):
    load(tmp_path, file=listed(UNITS))
    with (tmp_path / "c" / "multilingual.tiktoken").open("r+b") as file:
        file.truncate(1 << 40)  # takes no room, but would not fit into memory
    layout = read_layout(tmp_path / "c")
    with pytest.raises(CheckpointError, match="larger than 16 MiB"):
        load_ctc_tokens(layout, load_tokenizer(layout))


def test_more_units_than_the_branch_has_ids_before_its_blank_are_anothers(tmp_path):
    with pytest.raises(
        CheckpointError, match=f"has {len(UNITS)} units where the CTC branch has {len(UNITS) - 1} before"
    ):
        load(tmp_path, vocab_size=len(UNITS), file=listed(UNITS))
    assert load(tmp_path / "fits", vocab_size=len(UNITS) + 1, file=listed(UNITS))


# Without a file


@pytest.fixture(scope="module")
def tokenizer_size(tmp_path_factory) -> int:
    folder = write_checkpoint(tmp_path_factory.mktemp("c") / "c", "official", SMALL, tensors={})
    return load_tokenizer(read_layout(folder)).size


def test_a_branch_of_the_tokenizers_size_has_its_units(tokenizer_size, tmp_path):
    found = load(tmp_path, vocab_size=tokenizer_size + 1)
    text = "the 开放 time"
    assert found.decode(found.encode(text)) == text
    pieces = found.pieces(text)
    assert pieces[0].start == 0 and pieces[-1].end == len(text)
    assert all(before.start <= after.start for before, after in itertools.pairwise(pieces))


def test_ids_that_nothing_explains_have_no_units(tokenizer_size, tmp_path):
    assert load(tmp_path / "size", vocab_size=50) is None
    assert load(tmp_path / "blank", vocab_size=tokenizer_size + 1, blank_id=0) is None


def test_a_checkpoint_without_a_branch_has_no_units(tmp_path):
    layout = read_layout(write_checkpoint(tmp_path / "c", "official", SMALL, tensors={}))
    assert load_ctc_tokens(layout, load_tokenizer(layout)) is None
