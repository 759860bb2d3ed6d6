"""When the words of a live session were first shown, and when they stood."""

import numpy as np
import pytest
from places import HERE

import nanoasr
from nanoasr.audio.files import load_audio
from nanoasr.live.session import Latency, Update
from nanoasr.live.word_times import WordTime, WordTimes
from nanoasr.results.transcript import Segment, Token


def update(at, committed="", tentative="", segments=(), start=0.0):
    return Update(committed, tentative, segments, (), start, Latency(audio=at))


def segment(*words, start=0.0):
    tokens = tuple(Token(i, f" {word}" if i else word, 0.0, end - 0.2, end) for i, (word, end) in enumerate(words))
    return Segment("".join(token.text for token in tokens), start, words[-1][1] + 0.2, tokens)


def times_of(*updates):
    times = WordTimes()
    for each in updates:
        times.add(each)
    return times.words


def test_a_word_is_shown_when_it_is_first_there_and_settled_when_it_is_committed():
    assert times_of(
        update(0.5, "", "one"),
        update(1.0, "one", " too"),
        update(1.5, "one", " two"),
        update(2.0, segments=(segment(("one", 0.4), ("two", 0.9)),), start=None),
    ) == [WordTime("one", 0.4, 0.5, 1.0), WordTime("two", 0.9, 1.5, 2.0)]


def test_a_word_that_was_never_shown_before_is_shown_with_its_segment():
    [word] = times_of(update(0.5, "", "an"), update(1.5, segments=(segment(("one", 0.4)),), start=None))
    assert (word.shown, word.settled) == (1.5, 1.5)


def test_what_was_shown_of_the_last_segment_says_nothing_of_the_next():
    words = times_of(
        update(0.5, "one", ""),
        update(1.0, segments=(segment(("one", 0.4)),), start=2.0),
        update(3.0, "", "one", start=2.0),
        update(4.0, segments=(segment(("one", 2.5), start=2.0),), start=None),
    )
    assert [(word.shown, word.settled) for word in words] == [(0.5, 0.5), (3.0, 4.0)]


def test_a_word_said_twice_has_its_own_times():
    words = times_of(
        update(0.5, "", "one"),
        update(1.0, "one", " one"),
        update(1.5, segments=(segment(("one", 0.4), ("one", 0.9)),), start=None),
    )
    assert [(word.shown, word.settled) for word in words] == [(0.5, 1.0), (1.0, 1.5)]


def test_all_words_of_a_session_are_there_and_stand_after_they_were_shown():
    samples = load_audio(HERE.parent / "assets" / "speech" / "kokoro-number.wav").samples
    times, told = WordTimes(), []
    with nanoasr.load(dtype="float32").stream(
        on_update=lambda update: told.append((update, times.add(update)))
    ) as session:
        session.push(np.concatenate([samples, np.zeros(16000, np.float32)]))
        session.finish()
    segments = [segment for update, _ in told for segment in update.segments]
    assert [word.text for word in times.words] == [word.text for segment in segments for word in segment.words]
    assert [word for _, new in told for word in new] == times.words
    assert all(word.shown <= word.settled for word in times.words)
    assert np.median([word.settled - word.end for word in times.words]) == pytest.approx(0.7, abs=0.6)
