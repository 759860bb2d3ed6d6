import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transcripts import letters, segment, segments, texts, timed, untimed

from nanoasr.results.transcript import Segment, Token, join_texts
from nanoasr.results.words import one_line, split_words


def words(*tokens):
    return [word.text for word in segment(*tokens).words]


anything = texts | st.text(max_size=12)
SENTENCES = {
    "今天天气很好，我们去公园，好吗？": "今 天 天 气 很 好， 我 们 去 公 园， 好 吗？",
    "ＡＢＣ hello world": "ＡＢＣ hello world",
    "２０２４年３月，用ＭＬＸ。": "２０２４ 年 ３ 月， 用 ＭＬＸ。",
    "ﾋﾟｭｰﾀｰ": "ﾋﾟｭｰ ﾀｰ",
    "人々の一ヶ月": "人々 の 一ヶ 月",
    "สวัสดีครับ เก่งๆ": "ส วั ส ดี ค รั บ เก่ งๆ",
    "ເຈົ້າດີ": "ເຈົ້າ ດີ",
    "ស្ទឹង": "ស្ទឹ ង",
    "မင်္ဂလာ": "မ င်္ဂ လာ",
    "안녕하세요, 여러분!": "안녕하세요, 여러분!",
    "大韓민국 만세": "大 韓 민국 만세",
    "مرحبا بالعالم": "مرحبا بالعالم",
    "नमस्ते दुनिया": "नमस्ते दुनिया",
    "cafe\u0301 e\u0301te\u0301": "cafe\u0301 e\u0301te\u0301",
    "a—b, it's 3.5!": "a—b, it's 3.5!",
    "Hello，world。Yes": "Hello， world。 Yes",
    "他说“你好”（走了）": "他 说 “你 好” （走 了）",
    "共$5，50％的": "共 $5， 50％ 的",
    "好😀的 👩‍👩‍👧": "好😀 的_👩‍👩‍👧",
    "ok ，今天 。Yes": "ok_， 今 天_。 Yes",
    "— yes": "—_yes",
    "？！": "？！",
}


@pytest.mark.parametrize("text", SENTENCES)
def test_each_script_has_its_words(text):
    assert [piece.text.strip().replace(" ", "_") for piece in split_words(text)] == SENTENCES[text].split()


@settings(deadline=None)
@given(anything)
def test_words_joined_are_the_text(text):
    assert "".join(piece.text for piece in split_words(text)) == one_line(text)


@settings(deadline=None)
@given(anything)
def test_every_word_has_a_letter_or_a_digit_unless_the_text_has_none(text):
    pieces = split_words(text)
    assert len(pieces) <= 1 or all(any(unicodedata.category(c)[0] in "LN" for c in piece.text) for piece in pieces)


@settings(deadline=None)
@given(anything)
def test_the_first_words_of_a_text_are_words_alone(text):
    spelled = [piece.text for piece in split_words(text)]
    for count in range(len(spelled) + 1):
        assert [piece.text for piece in split_words("".join(spelled[:count]))] == spelled[:count]


@settings(deadline=None)
@given(segments())
def test_words_keep_every_letter(s):
    assert letters("".join(word.text for word in s.words)) == letters(s.text)


@settings(deadline=None)
@given(st.lists(texts, max_size=8))
def test_the_words_of_a_text_are_the_same_however_its_tokens_cut_it(parts):
    text = "".join(parts)
    assert [p.text for p in split_words(text, untimed(*parts))] == [p.text for p in split_words(text)]


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
