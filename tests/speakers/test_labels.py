from dataclasses import replace

from transcripts import segment, timed, untimed

from nanoasr.results import Candidate
from nanoasr.speakers.labels import label_segments
from nanoasr.speakers.turns import Turn

TURNS = [Turn(0, 1, "S1"), Turn(1, 2.2, "S2"), Turn(5, 6, "S1")]


def test_a_segment_is_split_where_the_voice_changes():
    first, second = label_segments([segment(*timed("are", " you", " well", " yes"), end=3)], TURNS)
    assert (first.text, first.speaker, first.start, first.end) == ("are you", "S1", 0, 1)
    assert (second.text, second.speaker, second.start, second.end) == ("well yes", "S2", 1, 3)
    assert [word.speaker for word in first.words + second.words] == ["S1", "S1", "S2", "S2"]


def test_a_split_loses_no_token_and_no_time():
    whole = segment(*timed("so", ",", " it", " is", ".", " No", "!"), end=4)
    parts = label_segments([whole], [Turn(0, 2.4, "S1"), Turn(2.5, 4, "S2")])
    assert [part.text for part in parts] == ["so, it is.", "No!"]
    assert sum((part.tokens for part in parts), ()) == whole.tokens
    assert [(w.text, w.start, w.end) for part in parts for w in part.words] == [
        (w.text, w.start, w.end) for w in whole.words
    ]


def test_one_voice_leaves_a_segment_whole():
    whole = segment(*timed("all", " of", " it"), end=1)
    (labelled,) = label_segments([whole], [Turn(0, 1, "S1")])
    assert (labelled.text, labelled.tokens, labelled.speaker) == (whole.text, whole.tokens, "S1")


def test_a_segment_without_times_gets_the_speaker_who_speaks_most_in_it():
    (labelled,) = label_segments([segment(*untimed("are", " you", " well"), end=2.2)], TURNS)
    assert (labelled.text, labelled.speaker) == ("are you well", "S2")


def test_a_word_without_times_stays_with_the_word_before_it():
    first, _, third = timed("one", " two", " three", step=1.0)
    tokens = (first, *untimed(" two"), third)
    parts = label_segments([segment(*tokens, end=3)], [Turn(0, 1.9, "S1"), Turn(2, 3, "S2")])
    assert [(part.text, part.start, part.end) for part in parts] == [("one two", 0, 2), ("three", 2, 3)]


def test_a_split_segment_keeps_no_alternatives_to_the_whole():
    whole = replace(segment(*timed("a", " b"), end=1), nbest=(Candidate("a b", -1.0, -0.5),))
    turns = [Turn(0, 0.5, "S1"), Turn(0.5, 1, "S2")]
    assert [part.nbest for part in label_segments([whole], turns)] == [(), ()]
    assert label_segments([whole], turns[:1])[0].nbest == whole.nbest


def test_words_between_turns_get_the_nearest_speaker():
    (labelled,) = label_segments([segment(*timed("oh", start=4.2), start=4, end=5)], TURNS)
    assert labelled.speaker == "S1"


def test_words_that_share_a_token_stay_together():
    tokens = timed("one two", " three", step=1.0)
    parts = label_segments([segment(*tokens, end=2)], [Turn(0, 0.9, "S1"), Turn(1, 2, "S2")])
    assert [part.text for part in parts] == ["one two", "three"]


def test_chinese_is_split_between_characters():
    parts = label_segments([segment(*timed("你", "好", "吗", "好"), end=2)], [Turn(0, 1.5, "S1"), Turn(1.5, 2, "S2")])
    assert [part.text for part in parts] == ["你好吗", "好"]


def test_no_turns_give_no_speakers():
    whole = segment(*timed("um"), end=1)
    assert label_segments([whole], []) == (whole,)
