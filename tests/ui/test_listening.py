"""MicrophoneSession to microphones: pieces in any order, limits, and nonsense in the place of sound."""

import base64
import threading
import time

import numpy as np
import pytest
from pages import CLIP
from running import ROOT, read_wav

import nanoasr
from nanoasr.errors import AudioError
from nanoasr.ui.listening import Microphones, MicrophoneSession
from nanoasr.ui.microphone import Piece, read_piece

PIECE = 4800


@pytest.fixture(scope="module")
def recognizer():
    return nanoasr.load(str(ROOT / "tests/parity/official"))


def piece(number: int, samples: np.ndarray, offset: int, rate: int = 16000) -> Piece:
    return Piece(number, rate, offset, (samples * 32767).astype(np.int16))


def pieces() -> list[Piece]:
    samples = read_wav(CLIP)
    starts = range(0, len(samples), PIECE)
    return [piece(number, samples[start : start + PIECE], start) for number, start in enumerate(starts)]


def tell(recognizer, order, max_seconds: float = 60):
    listening, sent = MicrophoneSession(lambda: recognizer, max_seconds), pieces()
    for number in order(range(len(sent))):
        listening.push(sent[number])
    listening.finish()
    return listening.wait(60)


def test_pieces_that_overtake_each_other_are_put_in_order(recognizer):
    straight = tell(recognizer, list)
    swapped = tell(recognizer, lambda numbers: sorted(numbers, key=lambda number: number ^ 1))
    assert [token.id for token in straight.transcript.tokens] == [token.id for token in swapped.transcript.tokens] != []
    assert straight.seconds == swapped.seconds == straight.transcript.duration


def test_the_transcript_is_what_was_shown(recognizer):
    state = tell(recognizer, list)
    assert state.transcript.segments == state.segments != ()


def test_at_the_limit_it_ends_and_keeps_what_was_said(recognizer):
    state = tell(recognizer, list, max_seconds=1)
    assert "limit" in state.problem
    assert state.transcript.duration <= 1


def test_another_sample_rate_in_between_is_refused_in_a_sentence(recognizer):
    listening = MicrophoneSession(lambda: recognizer, 60)
    listening.push(piece(0, np.zeros(1600), 0))
    listening.push(piece(1, np.zeros(1600), 1600, rate=48000))
    assert "microphone was changed" in listening.wait(30).problem


def test_only_so_many_are_listened_to_at_once_and_each_visitor_counts_once(recognizer):
    microphones = Microphones(2)
    started = [microphones.start(name, lambda: MicrophoneSession(lambda: recognizer, 60)) for name in ("a", "b", "b")]
    with pytest.raises(AudioError, match="the limit"):
        microphones.start("c", lambda: MicrophoneSession(lambda: recognizer, 60))
    for listening in started:
        listening.close()
        listening.wait(30)
    microphones.start("c", lambda: MicrophoneSession(lambda: recognizer, 60)).close()


def test_after_a_lost_piece_the_session_goes_on_with_silence_in_its_place(recognizer, monkeypatch):
    monkeypatch.setattr("nanoasr.ui.listening._GAP_PATIENCE", 0.2)
    state = tell(recognizer, lambda numbers: [number for number in numbers if number != 2])
    assert state.problem is None
    assert state.lost == pytest.approx(PIECE / 16000)
    assert state.transcript.duration == pytest.approx(len(read_wav(CLIP)) / 16000, abs=0.01)


def test_pieces_behind_a_gap_are_used_while_the_session_runs(recognizer, monkeypatch):
    monkeypatch.setattr("nanoasr.ui.listening._GAP_PATIENCE", 0.1)
    listening = MicrophoneSession(lambda: recognizer, 60)
    for sent in pieces()[1:4]:
        state = listening.push(sent)
        time.sleep(0.15)
    assert state.seconds == pytest.approx(4 * PIECE / 16000)
    listening.close()


def test_pieces_without_the_first_one_hold_a_bounded_number_of_bytes():
    model = threading.Event()
    listening = MicrophoneSession(model.wait, 3600)  # a model that is never loaded
    large = np.zeros(1 << 19)
    for number in range(1, 40):
        listening.push(piece(number, large, number * len(large), rate=48000))
    held = sum(piece.samples.nbytes for piece in listening._early.values()) + listening._waiting
    listening.close()
    model.set()
    assert held <= 16 << 20


def test_an_error_that_is_no_exception_ends_the_session_with_a_message():
    def panic():
        raise KeyboardInterrupt  # a BaseException, as a panic in a native library is

    listening = MicrophoneSession(panic, 60)
    listening.push(piece(0, np.zeros(1600), 0))
    assert "went wrong" in listening.wait(10).problem


def test_a_piece_has_a_number_a_rate_an_offset_and_samples():
    samples = np.array([0, 16384, -32768], "<i2")
    found = read_piece(f"7;48000;96000;{base64.b64encode(samples.tobytes()).decode()}")
    assert (found.number, found.rate, found.offset, found.samples.tolist()) == (7, 48000, 96000, samples.tolist())


@pytest.mark.parametrize(
    "nonsense",
    ["", "1;2", "0;48000;AAAA", "a;48000;0;AAAA", "0;48000;0;AA==", "0;48000;0;ÄÖ", "0;1;0;AAAA", "0;48000;-1;AAAA"],
)
def test_malformed_pieces_are_refused(nonsense):
    with pytest.raises(AudioError, match="cannot be read"):
        read_piece(nonsense)
