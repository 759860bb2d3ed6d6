"""Who spoke when in conversations made of the recordings that ship."""

import numpy as np
import pytest
from speakers.voices import RECORDINGS, conversation, speech
from transcripts import segment, timed, transcript

from nanoasr.errors import AudioError, OptionError
from nanoasr.speakers import Diarizer, diarization_error, diarize, diarizer, label


@pytest.mark.parametrize("names", [("kennedy", "librivox"), ("george", "kennedy"), ("george", "kennedy", "librivox")])
def test_the_speakers_of_a_conversation_are_told_apart(names):
    recording = conversation(*names)
    found = diarize(recording.samples)
    assert len({turn.speaker for turn in found}) == len(names)
    assert diarization_error(recording.turns, found).rate <= 0.1


@pytest.mark.parametrize("name", RECORDINGS)
def test_one_voice_alone_is_one_speaker(name):
    assert {turn.speaker for turn in diarize(speech(name))} == {"S1"}


def test_as_many_speakers_are_found_as_are_asked_for():
    recording = conversation("kennedy", "librivox")
    assert len({turn.speaker for turn in diarize(recording.samples, speakers=1)}) == 1
    assert len({turn.speaker for turn in diarize(recording.samples, speakers=3)}) == 3


@pytest.mark.parametrize("level", [0.0, 0.01])
def test_silence_and_noise_have_no_speaker(level):
    noise = level * np.random.default_rng(0).normal(size=20 * 16000)
    assert diarize(noise.astype(np.float32)) == []


def test_a_recording_can_be_taken_piece_by_piece():
    recording = conversation("kennedy", "librivox")
    diarizer = Diarizer()
    for start in range(0, len(recording.samples), 240_000):
        diarizer.add(recording.samples[start : start + 240_000], start / 16_000)
    assert diarization_error(recording.turns, diarizer.turns()).rate <= 0.1


def test_in_a_long_recording_windows_are_close_only_where_the_voice_may_change(monkeypatch):
    recording = conversation("kennedy", "librivox")
    counts = []
    for fine_seconds in (120.0, 0.0):
        monkeypatch.setattr(diarizer, "_FINE_SECONDS", fine_seconds)
        listener = Diarizer()
        listener.add(recording.samples, 0.0)
        assert diarization_error(recording.turns, listener.turns()).rate <= 0.1
        counts.append(sum(map(len, listener._embedded)))
    assert counts[1] < 0.6 * counts[0]


def test_words_are_labelled_by_their_times():
    recording = conversation("kennedy", "librivox", seconds=14)
    words = [f" {turn.speaker}" for turn in recording.turns]
    # each turn is one word, in the middle of it
    tokens = tuple(
        token
        for word, turn in zip(words, recording.turns, strict=True)
        for token in timed(word, start=(turn.start + turn.end) / 2 - 0.25)
    )
    labelled = label(transcript(segment(*tokens, end=recording.turns[-1].end)), recording.samples)
    names = {word.text: word.speaker for word in labelled.words}
    assert set(names.values()) == {"S1", "S2"}
    assert all(word.speaker == names[word.text] for word in labelled.words)
    assert labelled.words[0].speaker == "S1"
    assert labelled.to_txt().startswith("S1: ")
    assert "S2" in labelled.to_rttm()


def test_without_speakers_nothing_is_heard_and_nothing_changes():
    plain = transcript(segment(*timed("a")))
    assert label(plain, "no such file.wav", speakers=False) is plain


@pytest.mark.parametrize("speakers", [0, -1, 51, 2.0, "two", None])
def test_an_impossible_number_of_speakers_is_an_error_before_work_begins(speakers):
    with pytest.raises(OptionError, match="speakers="):
        diarize("no such file.wav", speakers=speakers)


def test_a_recording_that_cannot_be_read_is_its_error():
    with pytest.raises(AudioError, match=r"no such file\.wav"):
        diarize("no such file.wav")
