"""Error rates and marked differences between texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcripts import texts

from nanoasr.results.scoring import Difference, error_rates, normalize, word_diff
from nanoasr.results.words import split_words
from nanoasr.train.evaluate import word_error_rate

WORDS = st.lists(st.sampled_from("one two three Four, five!".split()), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("Don't—stop, NOW!", "dont stop now"),
        ("你好, world", "你 好 world"),
        ("ＡＢＣ　２０２４年", "abc 2024 年"),
        ("ピューター", "ピュー ター"),
        ("well-known 3.5", "well known 3 5"),
        ("0´ ¨", "0"),
    ],
)
def test_case_width_and_punctuation_do_not_count(text, compared):
    assert normalize(text) == compared


@given(texts)
def test_the_words_that_are_scored_are_the_words_of_a_transcript(text):
    plain = normalize(text)
    assert [word.text.strip() for word in split_words(plain)] == plain.split() == normalize(plain).split()


def test_characters_are_counted_without_the_spaces_between_words_that_have_none():
    assert error_rates([("你好，世界", "你们世界")]) == (0.25, 0.25)
    assert error_rates([("one two", "one too")]) == (0.5, pytest.approx(1 / 7))


def test_an_unknown_reference_is_left_out_and_words_heard_in_silence_are_errors():
    assert error_rates([("one two", "one two"), (None, "three")]) == (0, 0)
    assert error_rates([("one two", "one two"), ("", "three")]) == (0.5, pytest.approx(5 / 7))
    assert error_rates([("", "three"), ("…", "four")]) == (None, None)


@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_the_rate_of_training_is_the_rate_of_comparisons(pairs):
    rate = error_rates(pairs)[0]
    assert word_error_rate([said for said, _ in pairs], [heard for _, heard in pairs]) == 100 * (rate or 0)


def test_differences_between_chinese_texts_read_like_the_texts():
    assert word_diff("今天天气，很好。", "今天天色很好") == (
        Difference("same", "今天天", "今天天"),
        Difference("changed", "气，", "色"),
        Difference("same", "很好。", "很好"),
    )


def test_differences_are_marked_word_by_word():
    assert word_diff("In eighteen thirteen, he left early", "in eighty thirteen left early today") == (
        Difference("same", "In", "in"),
        Difference("changed", "eighteen", "eighty"),
        Difference("same", "thirteen,", "thirteen"),
        Difference("missing", "he", ""),
        Difference("same", "left early", "left early"),
        Difference("added", "", "today"),
    )


@given(WORDS, WORDS)
def test_the_marked_words_are_all_the_words_of_both(reference, text):
    parts = word_diff(reference, text)
    assert " ".join(part.reference for part in parts if part.reference) == reference
    assert " ".join(part.text for part in parts if part.text) == text
    assert all((normalize(part.reference) == normalize(part.text)) == (part.kind == "same") for part in parts)
