"""Corrected segments."""

from nanoasr.results import Segment, Token
from nanoasr.results.corrections import correct_segment

TOKENS = tuple(
    Token(i, text, -0.5, at, at + 0.5) for i, (text, at) in enumerate([("one", 0.0), (" two", 0.5), (" three", 1.0)])
)
SEGMENT = Segment("one two three", 0.0, 1.5, TOKENS)


def test_the_same_text_changes_nothing():
    assert correct_segment(SEGMENT, " one  two three ") is SEGMENT


def test_kept_words_keep_their_times_and_others_share_those_of_the_words_they_replace():
    words = correct_segment(SEGMENT, "one twenty-two zz three").words
    assert [word.text for word in words] == ["one", "twenty-two", "zz", "three"]
    assert (words[0].start, words[0].end, words[3].start) == (0.0, 0.5, 1.0)
    assert words[1].start == 0.5 < words[1].end == words[2].start < words[2].end == 1.0


def test_removed_words_are_gone_and_added_ones_have_no_invented_times():
    assert [word.text for word in correct_segment(SEGMENT, "one three").words] == ["one", "three"]
    added = correct_segment(SEGMENT, "one two three four").words[3]
    assert added.text == "four" and added.start is None
