"""Ids -> text: whole characters only, no matter how tokens split them, and nothing the model says to itself."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanoasr.checkpoint.tokenizer import Tokenizer
from nanoasr.decode.text import TextStream, clean

PARITY = Path(__file__).parents[1] / "parity"
CHINESE = "请把“开放时间”写下来，谢谢！"  # most of its characters are two or three tokens each
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd|"), max_size=40
)  # | as in <|im_end|>
marked_texts = st.lists(
    st.one_of(
        texts,
        st.sampled_from(["<think>", "</think>", "/sil", "<th", "/s", "il", "ver", "/", "<", " ", "\n", "\x1b", "字"]),
    ),
    max_size=8,
).map("".join)
quick = settings(max_examples=150, deadline=None)


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer(PARITY / "official" / "Qwen3-0.6B")


def shown(ids: list[int]) -> list[str]:
    """What appears after each of the ids, and at the end."""
    stream = TextStream(tokenizer())
    pieces = []
    for token_id in ids:
        stream.token_text(token_id)
        pieces.append(stream.new_text())
    return [*pieces, stream.finish()]


def test_a_character_spread_over_tokens_appears_with_its_last_one():
    ids = tokenizer().encode("谢")
    assert len(ids) == 3
    assert shown(ids) == ["", "", "谢", ""]


def test_chinese_is_never_shown_in_halves():
    ids = tokenizer().encode(CHINESE)
    assert len(ids) > 1.5 * len(CHINESE)
    pieces = shown(ids)
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) == CHINESE
    assert len([piece for piece in pieces if piece]) > 5, "it appears as it comes, not at the end"


@quick
@given(texts)
@example("🏳️‍🌈é ﷽ 𝔘")
def test_pieces_of_any_text_add_up_to_it(text):
    pieces = shown(tokenizer().encode(text))
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) == clean(text)


@quick
@given(marked_texts)
@example("/s<think>x</think>il")
@example("<thi<think>x</think>nk>")
@example("a /si/sil b")
@example("a/sil/silver/sil")
def test_pieces_add_up_to_the_clean_text_whatever_markers_are_in_it(text):
    pieces = shown(tokenizer().encode(text))
    assert "".join(pieces) == clean(text)


@quick
@given(st.lists(st.integers(0, 424), max_size=30))
def test_any_ids_show_whole_characters_only(ids):
    stream = TextStream(tokenizer())
    tokens = [stream.token_text(token_id) for token_id in ids]
    assert "\ufffd" not in "".join(tokens) + stream.text
    assert "".join(shown(ids)) == stream.text == clean("".join(tokens))


def test_bytes_that_are_no_character_do_not_take_their_neighbours_along():
    first, *_ = tokenizer().encode("谢")
    ids = [first, first, *tokenizer().encode("谢谢"), first, *tokenizer().encode("ok")]
    assert "".join(shown(ids)) == "谢谢ok"


def test_texts_of_single_tokens_add_up_to_what_was_written():
    stream = TextStream(tokenizer())
    text = "the 开放 time"
    assert "".join(stream.token_text(token_id) for token_id in tokenizer().encode(text)) == text


def test_an_unfinished_last_character_is_left_out():
    ids = tokenizer().encode("ok谢")
    assert "".join(shown(ids[:-1])) == "ok"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("<think>\n\n</think>\n\nhello", "hello"),
        ("<think>let me see</think>hello <think>again</think>", "hello"),
        ("hello <think>never closed", "hello"),
        ("/sil", ""),
        ("one/sil two /sil", "one two"),
        ("你好/sil谢谢", "你好 谢谢"),
        ("/sil/sil.", "."),
        ("gold and/silver, w/silk, a/silêncio", "gold and/silver, w/silk, a/silêncio"),
        ("  spare \n\n white\tspace ", "spare white space"),
        ("a\x1b[2Jb\x00\x07\r\x9bc\x7f", "a [2Jb c"),
        ("2 < 3 and 1/2", "2 < 3 and 1/2"),
        ("", ""),
    ],
)
def test_what_the_model_says_to_itself_is_removed(raw, text):
    assert clean(raw) == text
    assert "".join(shown(tokenizer().encode(raw))) == text


@pytest.mark.parametrize("marker", ["<think>", "/sil"])
def test_the_beginning_of_a_marker_is_held_back_until_it_is_clear(marker):
    stream = TextStream(tokenizer())
    hear(stream, "ok" + marker[:-1])
    assert stream.new_text() == "ok"
    hear(stream, "!")
    assert stream.new_text() == marker[:-1] + "!"


def test_a_silence_mark_is_told_from_a_word_by_what_follows():
    for rest, shown_later in (("ver", "/silver"), (" then", " then")):
        stream = TextStream(tokenizer())
        hear(stream, "and/sil")
        assert stream.new_text() == "and"
        hear(stream, rest)
        assert stream.new_text() == shown_later


def hear(stream: TextStream, text: str) -> None:
    for character in text:
        for token_id in tokenizer().encode(character):
            stream.token_text(token_id)


def test_special_tokens_are_not_shown():
    ids = tokenizer().encode("<|im_start|>hello<|im_end|><|endoftext|>")
    assert len(ids) > 3
    assert "".join(shown(ids)) == "hello"
