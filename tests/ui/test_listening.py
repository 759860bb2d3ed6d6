"""Listening to microphones: pieces in any order, limits, and nonsense in the place of sound."""

import base64

import numpy as np
import pytest
from pages import CLIP
from running import ROOT, read_wav

import nanoasr
from nanoasr.errors import AudioError
from nanoasr.ui.listening import Listening, Microphones
from nanoasr.ui.microphone import read_piece

PIECE = 4800


@pytest.fixture(scope="module")
def recognizer():
    return nanoasr.load(str(ROOT / "tests/parity/official"))


def tell(recognizer, order, most_seconds: float = 60):
    samples = read_wav(CLIP).astype(np.float32)
    pieces = [samples[i : i + PIECE] for i in range(0, len(samples), PIECE)]
    listening = Listening(lambda: recognizer, most_seconds)
    for number in order(range(len(pieces))):
        listening.hear(number, 16000, pieces[number])
    listening.finish()
    return listening.wait(60)


def test_pieces_that_overtake_each_other_are_put_in_order(recognizer):
    straight = tell(recognizer, list)
    swapped = tell(recognizer, lambda numbers: sorted(numbers, key=lambda number: number ^ 1))
    assert [token.id for token in straight.transcript.tokens] == [token.id for token in swapped.transcript.tokens] != []
    assert straight.seconds == swapped.seconds == straight.transcript.duration


def test_the_transcript_is_what_was_shown(recognizer):
    heard = tell(recognizer, list)
    assert heard.transcript.segments == heard.segments != ()


def test_at_the_limit_it_ends_and_keeps_what_was_said(recognizer):
    heard = tell(recognizer, list, most_seconds=1)
    assert "limit" in heard.problem
    assert heard.transcript.duration <= 1


def test_another_sample_rate_in_between_is_refused_in_a_sentence(recognizer):
    listening = Listening(lambda: recognizer, 60)
    listening.hear(0, 16000, np.zeros(1600, np.float32))
    listening.hear(1, 48000, np.zeros(1600, np.float32))
    assert "microphone was changed" in listening.wait(30).problem


def test_only_so_many_are_listened_to_at_once_and_each_visitor_counts_once(recognizer):
    microphones = Microphones(2)
    started = [microphones.start(name, lambda: Listening(lambda: recognizer, 60)) for name in ("a", "b", "b")]
    with pytest.raises(AudioError, match="the most"):
        microphones.start("c", lambda: Listening(lambda: recognizer, 60))
    for listening in started:
        listening.close()
        listening.wait(30)
    microphones.start("c", lambda: Listening(lambda: recognizer, 60)).close()


def test_a_piece_has_a_number_a_rate_and_samples():
    samples = np.array([0, 16384, -32768], "<i2")
    number, rate, found = read_piece(f"7;48000;{base64.b64encode(samples.tobytes()).decode()}")
    assert (number, rate, found.tolist()) == (7, 48000, [0.0, 0.5, -1.0])


@pytest.mark.parametrize("nonsense", ["", "1;2", "a;48000;AAAA", "0;48000;AA==", "0;48000;ÄÖ", "0;1;2;3", "0;48000;A"])
def test_nonsense_in_the_place_of_a_piece_is_refused(nonsense):
    with pytest.raises(AudioError, match="cannot be read"):
        read_piece(nonsense)
