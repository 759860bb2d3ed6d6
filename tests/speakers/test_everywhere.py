"""`speakers=` in transcribe, transcribe_batch and stream, and --speakers on the command line."""

import json

import numpy as np
import pytest
import soundfile
from commands import run
from speakers.voices import conversation

import nanoasr
from nanoasr.errors import OptionError
from nanoasr.results import Transcript

RATE = 16000
RECORDING = conversation("kennedy", "librivox", seconds=25)


@pytest.fixture(scope="module")
def asr():
    return nanoasr.load()


@pytest.fixture(scope="module")
def labelled(asr):
    return asr.transcribe(RECORDING.samples, speakers=True)


def speakers_of(transcript):
    return {segment.speaker for segment in transcript.segments}


def test_a_transcript_says_who_spoke(labelled):
    assert speakers_of(labelled) == {"S1", "S2"}
    assert labelled.segments[0].speaker == "S1"
    assert all(word.speaker == segment.speaker for segment in labelled.segments for word in segment.words)


def test_words_have_the_speaker_of_the_turn_they_are_spoken_in(labelled):
    names, right = {}, 0
    for word in labelled.words:
        middle = (word.start + word.end) / 2
        turn = next((turn for turn in RECORDING.turns if turn.start <= middle <= turn.end), None)
        right += turn is None or names.setdefault(turn.speaker, word.speaker) == word.speaker
    assert len(names) == 2 and right >= 0.9 * len(labelled.words)


def test_speakers_change_no_word_and_no_time(asr, labelled):
    plain = asr.transcribe(RECORDING.samples)
    assert speakers_of(plain) == {None}
    assert [(w.text, w.start, w.end) for w in plain.words] == [(w.text, w.start, w.end) for w in labelled.words]
    assert labelled.text == plain.text


def test_every_format_names_the_speakers(labelled):
    assert labelled.to_txt().startswith("S1: ") and "\nS2: " in labelled.to_txt()
    assert "S2: " in labelled.to_srt() and "<v S2>" in labelled.to_vtt()
    assert Transcript.from_json(labelled.to_json()) == labelled
    assert {line.split()[7] for line in labelled.to_rttm().splitlines()} == {"S1", "S2"}


def test_the_time_that_it_takes_is_told(labelled):
    assert 0 < labelled.timings.speakers < labelled.timings.total


def test_each_recording_of_a_batch_has_its_own_speakers(asr):
    alone = conversation("librivox", seconds=16)
    both, one = asr.transcribe_batch([RECORDING.samples, alone.samples], speakers=True)
    assert speakers_of(both) == {"S1", "S2"} and speakers_of(one) == {"S1"}


def test_a_given_number_is_kept_to(asr):
    assert speakers_of(asr.transcribe(RECORDING.samples, speakers=1)) == {"S1"}


def test_silence_has_no_speaker(asr):
    assert asr.transcribe(np.zeros(20 * RATE, np.float32), speakers=True).segments == ()


@pytest.mark.parametrize("call", ["transcribe", "transcribe_batch", "stream"])
def test_an_impossible_number_is_refused_before_anything_is_read(asr, call):
    arguments = {"transcribe": ["none.wav"], "transcribe_batch": [["none.wav"]], "stream": []}[call]
    with pytest.raises(OptionError, match="speakers=0"):
        getattr(asr, call)(*arguments, speakers=0)


@pytest.mark.slow
def test_live_segments_have_speakers_when_they_end_and_keep_them(asr):
    with asr.stream(speakers=True, options=nanoasr.LiveOptions(interval=2)) as session:
        updates = [session.push(part) for part in np.array_split(RECORDING.samples, 50)]
        transcript = session.finish()
    told = [segment for update in updates if update for segment in update.segments]
    assert all(segment.speaker for segment in told)
    assert [s.speaker for s in transcript.segments][: len(told)] == [s.speaker for s in told]
    assert speakers_of(transcript) == {"S1", "S2"}


def test_an_open_live_segment_has_a_provisional_speaker(asr):
    with asr.stream(speakers=True, options=nanoasr.LiveOptions(interval=2)) as session:
        updates = [session.push(part) for part in np.array_split(RECORDING.samples[: 6 * RATE], 12)]
    assert "S1" in {update.speaker for update in updates if update}


def test_the_command_line_labels_speakers(tmp_path, capsys):
    soundfile.write(tmp_path / "talk.wav", RECORDING.samples, RATE)
    assert run("transcribe", tmp_path / "talk.wav", "--speakers", "2", "--format", "json") == 0
    segments = json.loads(capsys.readouterr().out)["segments"]
    assert {segment["speaker"] for segment in segments} == {"S1", "S2"}


def test_files_after_speakers_are_explained(capsys):
    assert run("transcribe", "--speakers", "talk.wav") == 2
    assert "put --speakers after the files" in capsys.readouterr().err
