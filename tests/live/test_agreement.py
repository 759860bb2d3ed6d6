import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nanoasr.live.agreement import Agreement, Revision, count_ready
from nanoasr.results.words import Token, split_words

texts = st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=7).map(" ".join)
mixed = st.lists(st.sampled_from("今天 ok 好 ， 。 ＡＢＣ สวัส 가다 ー - \u0301".split() + [" ", " "]), max_size=10).map(
    "".join
)


def add(text, hypothesis, ready):
    return text.add(split_words(hypothesis), ready)


def timed(*tokens, sure=1.0):
    """Words whose tokens follow each other, half a second each."""
    spelled = [Token(i, text, 0.0, i / 2, i / 2 + 0.5, confidence=sure) for i, text in enumerate(tokens)]
    return split_words("".join(tokens), spelled)


def test_a_word_is_committed_when_two_hypotheses_in_a_row_have_it():
    text = Agreement(2)
    add(text, "turn on", 2)
    assert text.shown == ("", "turn on")
    assert add(text, "turn on the light", 4) == range(2)
    assert text.shown == ("turn on", " the light")


def test_no_more_words_are_committed_than_are_ready():
    text = Agreement(1)
    assert add(text, "call me at nine", 2) == range(2)
    assert text.shown == ("call me", " at nine")


def test_a_hypothesis_that_contradicts_what_stands_commits_nothing():
    text = Agreement(1)
    add(text, "four five", 2)
    assert not add(text, "for five six", 3)
    assert text.shown == ("four five", " six")


def test_a_revision_names_the_words_that_came_out_otherwise():
    text = Agreement(1)
    add(text, "call for taxis at nine", 5)
    revision = text.revision(split_words("call four taxis at nine please"))
    assert (revision.committed, revision.final) == ("for", "four")
    assert text.revision(split_words("call for taxis at nine please")) is None


def test_chinese_is_committed_to_its_last_character_once_that_is_agreed_and_sure():
    said = "今天天气很好，我们去公园，好吗？"
    text, words = Agreement(2), timed(*said)
    ready = count_ready(words, now=99.0, hold=0.4, confidence=0.85)
    text.add(words, ready)
    text.add(words, ready)
    assert text.shown == (said, "")


def test_words_after_full_width_letters_are_not_committed_before_they_are_sure():
    text = Agreement(1)
    words = timed("ＡＢＣ") + [word for word in timed("x", " hello", " world", sure=0.1)[1:]]
    ready = count_ready(words, now=99.0, hold=0.4, confidence=0.85)
    text.add(words, ready)
    assert text.shown == ("ＡＢＣ", " hello world")


@pytest.mark.parametrize("said", ["สวัสดีครับ", "ສະບາຍດີ", "ជំរាបសួរ", "မင်္ဂလာပါ", "おはようございます", "안녕하세요 여러분"])
def test_only_the_words_that_have_ended_are_committed_in_every_script(said):
    text, words = Agreement(1), timed(*said)
    ready = count_ready(words, now=words[1].end + 0.45, hold=0.4, confidence=0.85)
    text.add(words, ready)
    assert text.shown == ("".join(word.text for word in words[:2]), "".join(word.text for word in words[2:]))


def test_punctuation_that_changes_after_a_committed_word_does_not_hold_up_the_next_words():
    text = Agreement(2)
    for hypothesis in ("很好。", "很好。", "很好，我们", "很好，我们去"):
        add(text, hypothesis, 4)
    assert text.shown == ("很好。我们", "去")
    assert text.revision(split_words("很好，我们去")) == Revision("好。", "好，")


def test_punctuation_that_is_added_to_the_last_committed_word_revises_nothing():
    text = Agreement(1)
    add(text, "turn on the light", 4)
    assert text.revision(split_words("turn on the light.")) is None
    assert text.revision(split_words("turn on the lights.")) == Revision("light", "lights.")


@example([("ok ，", 1), ("ok今天", 2)], 1)
@example([("今 -", 1), ("今ok", 2)], 1)
@given(st.lists(st.tuples(texts | mixed, st.integers(0, 7)), max_size=12), st.integers(1, 3))
def test_what_was_committed_stays_and_grows_by_whole_words(hypotheses, needed):
    text, before = Agreement(needed), []
    for hypothesis, ready in hypotheses:
        new = add(text, hypothesis, ready)
        committed, tentative = text.shown
        words = [word.text for word in split_words(committed)]
        assert words[: len(before)] == before
        assert len(words) == len(before) + len(new) <= max(ready, len(before))
        before = words
        if new:
            assert committed.endswith("".join(word.text for word in split_words(hypothesis)[new.start : new.stop]))
        if hypothesis.strip().startswith(committed) and new:
            assert committed + tentative == "".join(word.text for word in split_words(hypothesis))
