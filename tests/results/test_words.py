import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transcripts import letters, segment, segments, texts, timed, untimed

from nanoasr.results.transcript import Segment, Token, join_texts


def words(*tokens):
    return [word.text for word in segment(*tokens).words]


@settings(deadline=None)
@given(segments())
def test_words_keep_every_letter(s):
    assert letters("".join(word.text for word in s.words)) == letters(s.text)


@settings(deadline=None)
@given(st.lists(texts))
def test_joining_keeps_every_letter(parts):
    assert letters(join_texts(parts)) == letters("".join(parts))


def test_a_token_that_begins_with_a_space_starts_a_word():
    assert words(*untimed("He", "llo", " wor", "ld")) == ["Hello", "world"]


def test_punctuation_sticks_to_the_word_before():
    assert words(*untimed("Yes", ",", " it", "'s", " 3", ".", "5", "!")) == ["Yes,", "it's", "3.5!"]


def test_punctuation_standing_alone_sticks_to_the_word_before():
    assert words(*untimed("begin", " -", " again", " !", " ")) == ["begin -", "again !"]


def test_opening_punctuation_goes_with_the_word_after():
    assert words(*untimed("他说", "“你", "好”。", " (", "ok", ")")) == ["他", "说", "“你", "好”。", "(ok)"]


def test_cjk_characters_are_words_of_their_own():
    assert words(*untimed("今天", "，我们", "用", "ML", "X", "吧")) == ["今", "天，", "我", "们", "用", "MLX", "吧"]


def test_small_kana_and_long_vowels_stay_with_their_character():
    assert words(*untimed("ピュ", "ーター")) == ["ピュー", "ター"]


def test_invisible_characters_make_no_words():
    assert words(*untimed("字\u200b", "字")) == ["字\u200b", "字"]


def test_korean_words_are_separated_by_spaces():
    assert words(*untimed("안녕", "하세요", " 여러분")) == ["안녕하세요", "여러분"]


def test_a_word_spans_the_times_of_its_tokens():
    hello, world = segment(*timed("Hel", "lo", ",", " world")).words
    assert (hello.text, hello.start, hello.end) == ("Hello,", 0.0, 1.0)
    assert (world.start, world.end) == (1.5, 2.0)


def test_characters_of_one_token_share_its_times():
    assert {(word.start, word.end) for word in segment(*timed("今天", start=3)).words} == {(3.0, 3.5)}


def test_a_character_spelled_by_several_tokens_starts_with_the_first():
    (word,) = segment(*timed("", "", "魑")).words
    assert (word.start, word.end) == (0.0, 1.5)


def test_words_have_no_times_where_tokens_have_none():
    assert {(word.start, word.end) for word in segment(*untimed("no", " times")).words} == {(None, None)}


def test_words_have_no_times_where_the_tokens_spell_another_text():
    s = Segment("hello", 0.0, 1.0, timed("<think>", "hello"))
    assert [(word.text, word.start) for word in s.words] == [("hello", None)]


def test_a_words_confidence_is_the_mean_of_its_tokens():
    tokens = (Token(1, "a", 0.0, confidence=0.5), Token(2, "b", 0.0, confidence=1.0), Token(3, " c", 0.0))
    assert [word.confidence for word in segment(*tokens).words] == [0.75, None]


# Joining


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["Hello.", "World"], "Hello. World"),
        (["你好。", "世界"], "你好。世界"),
        (["你好", "世界"], "你好世界"),
        (["他说“你好”", "然后……", "走了"], "他说“你好”然后……走了"),
        (["你好。", "Hello"], "你好。Hello"),
        (["Hello.", "你好"], "Hello. 你好"),
        (["안녕", "여러분"], "안녕 여러분"),
        ([" one ", "", "  ", "two\n"], "one two"),
        ([], ""),
    ],
)
def test_texts_are_joined_with_a_space_only_where_the_border_needs_one(parts, joined):
    assert join_texts(parts) == joined
