from hypothesis import given
from hypothesis import strategies as st

from nanoasr.live.agreement import Agreement, words_of

texts = st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=7).map(" ".join)


def test_a_word_is_committed_when_two_hypotheses_in_a_row_have_it():
    text = Agreement(2)
    text.add("turn on", 2)
    assert text.shown == ("", "turn on")
    assert text.add("turn on the light", 4) == range(2)
    assert text.shown == ("turn on", " the light")


def test_no_more_words_are_committed_than_are_ready():
    text = Agreement(1)
    assert text.add("call me at nine", 2) == range(2)
    assert text.shown == ("call me", " at nine")


def test_a_hypothesis_that_contradicts_what_stands_commits_nothing():
    text = Agreement(1)
    text.add("four five", 2)
    assert not text.add("for five six", 3)
    assert text.shown == ("four five", " six")


def test_a_revision_names_the_words_that_came_out_otherwise():
    text = Agreement(1)
    text.add("call for taxis at nine", 5)
    revision = text.revision("call four taxis at nine please")
    assert (revision.committed, revision.final) == ("for", "four")
    assert text.revision("call for taxis at nine please") is None


def test_chinese_characters_are_words_of_their_own():
    assert words_of("打开 the 灯。") == ["打", "开", " the", " 灯", "。"]


@given(st.lists(st.tuples(texts, st.integers(0, 7)), max_size=12), st.integers(1, 3))
def test_what_was_committed_stays(hypotheses, needed):
    text, before = Agreement(needed), ""
    for guess, ready in hypotheses:
        text.add(guess, ready)
        committed, tentative = text.shown
        assert words_of(committed)[: len(words_of(before))] == words_of(before)
        before = committed
        if guess.startswith(committed):
            assert committed + tentative == guess


@given(texts)
def test_pieces_joined_are_the_text(text):
    assert "".join(words_of(text)) == text
