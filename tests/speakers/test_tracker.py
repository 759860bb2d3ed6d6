import numpy as np
from speakers.voices import speech
from transcripts import segment, timed

from nanoasr.speakers import SpeakerTracker


def halves(name):
    return np.array_split(speech(name), 2)


def test_a_voice_keeps_its_label_through_a_session():
    tracker, (first, again), (other, _) = SpeakerTracker(), halves("kennedy"), halves("librivox")
    heard = [{turn.speaker for turn in tracker.hear(part, 0.0)} for part in (first, other, again)]
    assert heard == [{"S1"}, {"S2"}, {"S1"}]


def test_a_guess_is_the_label_of_the_voice_that_speaks():
    tracker, (first, again), (other, _) = SpeakerTracker(), halves("kennedy"), halves("librivox")
    assert tracker.guess(first) == "S1"
    tracker.hear(first, 0.0)
    assert tracker.guess(again) == "S1"
    assert tracker.guess(other) == "S2"


def test_a_guess_is_not_remembered():
    tracker, (first, _), (other, _) = SpeakerTracker(), halves("kennedy"), halves("librivox")
    tracker.guess(first)
    assert tracker.guess(other) == "S1"


def test_no_more_speakers_are_found_than_are_asked_for():
    tracker = SpeakerTracker(speakers=1)
    assert {turn.speaker for name in ("kennedy", "librivox") for turn in tracker.hear(speech(name), 0.0)} == {"S1"}


def test_a_segment_that_was_heard_gets_its_speaker():
    tracker = SpeakerTracker()
    tracker.hear(halves("kennedy")[0], 0.0)
    (labelled,) = tracker.label(segment(*timed("ask", " not"), end=5.0))
    assert (labelled.text, labelled.speaker) == ("ask not", "S1")


def test_no_sound_has_no_speaker():
    tracker = SpeakerTracker()
    assert tracker.hear(np.zeros(0, np.float32), 0.0) == [] and tracker.guess(np.zeros(0, np.float32)) is None
