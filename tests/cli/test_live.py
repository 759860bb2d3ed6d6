"""`python -m nanoasr live`, on files; the microphone's messages only, since there is none."""

import io
import sys
import time

import numpy as np
import pytest
from places import HERE

from nanoasr.cli import main
from nanoasr.cli.live import Screen, from_file
from nanoasr.live.session import Latency, Update
from nanoasr.results.transcript import Segment, Transcript

ASSETS = HERE.parent / "assets" / "speech"
NUMBER = ASSETS / "kokoro-number.wav"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def update(committed="", tentative="", segments=()):
    return Update(committed, tentative, segments, (), None, Latency())


def test_in_a_pipe_every_finished_segment_is_a_line(capsys):
    assert main(["live", "--file", str(NUMBER)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("my number is")


def test_the_transcript_is_saved_in_the_format_that_its_name_says(tmp_path, capsys):
    assert main(["live", "--file", str(NUMBER), "--save", str(tmp_path / "a" / "x.json"), "--verbose"]) == 0
    saved = Transcript.from_json((tmp_path / "a" / "x.json").read_text(encoding="utf-8"))
    assert saved.text.startswith("my number is")
    assert "hypotheses" in capsys.readouterr().err


def test_a_file_can_be_played_at_its_own_pace():
    start = time.monotonic()
    blocks = list(from_file(ASSETS / "kokoro-command.wav", realtime=True))
    seconds = sum(map(len, blocks)) / 16000
    assert seconds - 0.2 < time.monotonic() - start < seconds + 2
    assert np.array_equal(np.concatenate(blocks), np.concatenate(list(from_file(ASSETS / "kokoro-command.wav", False))))


def test_on_a_terminal_the_open_segment_is_painted_in_place():
    out = Terminal()
    screen = Screen(out)
    screen.show(update("turn on", " the light"))
    screen.show(update(segments=(Segment("turn on the light", 0, 1),)))
    assert "\r\x1b[Kturn on\x1b[2m the light\x1b[0m" in out.getvalue()
    assert "\r\x1b[Kturn on the light\n" in out.getvalue()


def test_a_long_segment_shows_its_end_in_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "31")
    out = Terminal()
    Screen(out).show(update("a" * 50, "b" * 10))
    assert out.getvalue() == f"\r\x1b[K{'a' * 20}\x1b[2m{'b' * 10}\x1b[0m"
    out = Terminal()
    Screen(out).show(update("a" * 5, "b" * 40))
    assert out.getvalue() == f"\r\x1b[K\x1b[2m{'b' * 30}\x1b[0m"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--realtime"], "name one"),
        (["--file", str(NUMBER), "--save", "x.doc"], "suffix"),
        (["--file", str(NUMBER), "--interval", "0"], "interval"),
        (["--file", "nowhere.wav"], "nowhere.wav"),
        (["--file", str(NUMBER), "--language", "klingon"], "klingon"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(arguments, problem, capsys):
    assert main(["live", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert problem in line


def test_without_sounddevice_the_microphone_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["live"]) == 2
    assert "pip install sounddevice" in capsys.readouterr().err
