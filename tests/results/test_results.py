import json
import math
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from transcripts import letters, segment, timed, transcript, transcripts, untimed

from nanoasr.errors import OptionError
from nanoasr.results.transcript import FORMATS, Segment, Timings, Token, Transcript, write_all


@settings(deadline=None)
@given(transcripts)
def test_json_reads_back_as_the_same_transcript(t):
    assert Transcript.from_json(t.to_json()) == t


@settings(deadline=None)
@given(transcripts)
def test_no_file_can_move_a_terminals_cursor(t):
    for write in FORMATS.values():
        assert re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", write(t)) == write(t)


@settings(deadline=None)
@given(transcripts)
def test_tsv_has_one_line_of_three_columns_for_each_segment(t):
    header, *rows, after_the_last = t.to_tsv().split("\n")
    assert header == "start\tend\ttext" and after_the_last == ""
    assert [letters(row.split("\t")[2]) for row in rows] == [letters(s.text) for s in t.segments]
    assert all(re.fullmatch(r"\d+\t\d+\t[^\t\r\n]*", row) for row in rows)


# Files


def test_tsv_is_in_milliseconds_without_tabs_in_the_text():
    t = transcript(segment(*untimed("two\twords\n"), start=0.5, end=1.2345))
    assert t.to_tsv() == "start\tend\ttext\n500\t1234\ttwo words\n"


def test_txt_is_the_text_and_a_line_end():
    assert transcript(segment(*untimed("hello"))).to_txt() == "hello\n"


@pytest.mark.parametrize("form", ["txt", "srt", "vtt", "tsv"])
def test_control_characters_are_written_as_spaces(form):
    written = FORMATS[form](transcript(segment(*untimed("a\x1b[2Jb\x00c\rd\x9be"))))
    assert "a [2Jb c d e" in written


def test_control_characters_are_escaped_in_json():
    t = transcript(segment(*untimed("a\x1b[2Jb\x00c\x9bd\x7f")))
    assert r"a\u001b[2Jb\u0000c\u009bd\u007f" in t.to_json()
    assert Transcript.from_json(t.to_json()) == t


def test_json_names_its_format():
    assert json.loads(transcript().to_json())["format"] == "nanoasr-1"


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_cannot_hold_becomes_null_and_reads_back_as_nan(number):
    t = transcript(Segment("x", 0, 1, (Token(1, "x", number),)))
    content = json.loads(t.to_json(), parse_constant=pytest.fail)
    assert content["segments"][0]["tokens"][0]["logprob"] is None
    assert math.isnan(Transcript.from_json(t.to_json()).tokens[0].logprob)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "other"}, "format"),
        ({"text": 3}, r"transcript\.text"),
        ({"segments": [{"text": "x", "start": 0}]}, r"transcript\.segments\[0\] lacks end"),
        ({"segments": [7]}, r"transcript\.segments\[0\]"),
        ({"duration": "long"}, r"transcript\.duration"),
        ({"duration": 10**400}, "too large"),
    ],
)
def test_json_of_another_shape_is_one_clear_error(change, complaint):
    content = json.loads(transcript().to_json()) | change
    with pytest.raises(OptionError, match=complaint):
        Transcript.from_json(json.dumps(content))


@pytest.mark.parametrize("text", ["{", '{"a":' * 100_000, "[]", "no such file.json", "\0", "x" * 5000])
def test_what_is_neither_json_nor_a_file_is_one_clear_error(text):
    with pytest.raises(OptionError):
        Transcript.from_json(text)


def test_unknown_json_keys_are_passed_over():
    t = transcript()
    assert Transcript.from_json(json.dumps(json.loads(t.to_json()) | {"extra": 1})) == t


@pytest.mark.parametrize("suffix", FORMATS)
def test_save_picks_the_format_by_the_suffix(tmp_path, suffix):
    t = transcript(segment(*timed(" 你好", " world")))
    t.save(tmp_path / f"talk.{suffix.upper()}")
    assert (tmp_path / f"talk.{suffix.upper()}").read_text("utf-8") == FORMATS[suffix](t)


def test_a_saved_json_reads_back_by_its_path(tmp_path):
    t = transcript(segment(*timed(" 你好", " world")))
    t.save(str(tmp_path / "talk.json"))
    assert Transcript.from_json(tmp_path / "talk.json") == t
    assert Transcript.from_json(str(tmp_path / "talk.json")) == t


@pytest.mark.parametrize("name", ["talk.doc", "talk"])
def test_an_unknown_suffix_is_an_error_that_lists_those_known(tmp_path, name):
    with pytest.raises(OptionError, match="txt, srt, vtt, json, tsv"):
        transcript().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_an_older_file_and_leaves_nothing_else(tmp_path):
    (tmp_path / "talk.txt").write_text("an older and longer text")
    transcript(segment(*untimed("new"))).save(tmp_path / "talk.txt")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("talk.txt", "new\n")]


def test_a_save_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "talk.txt").mkdir()
    with pytest.raises(OSError):
        transcript().save(tmp_path / "talk.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["talk.txt"]


def test_a_saved_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    transcript().save(tmp_path / "talk.srt")
    assert os.stat(tmp_path / "talk.srt").st_mode == os.stat(tmp_path / "plain").st_mode


def test_text_that_utf8_cannot_hold_is_saved_with_a_mark_in_its_place(tmp_path):
    Transcript("a\ud800b", (), None, 0.0).save(tmp_path / "talk.txt")
    assert (tmp_path / "talk.txt").read_bytes() == b"a?b\n"


def test_write_all_writes_one_file_a_format(tmp_path):
    t = transcript(segment(*untimed("hello")))
    paths = write_all(t, tmp_path / "new folder", "talk.v2", ["srt", "txt"])
    assert [path.name for path in paths] == ["talk.v2.srt", "talk.v2.txt"]
    assert [Path(path).read_text() for path in paths] == [t.to_srt(), t.to_txt()]


def test_write_all_writes_nothing_when_one_format_is_unknown(tmp_path):
    with pytest.raises(OptionError, match="'doc'"):
        write_all(transcript(), tmp_path / "new", "talk", ["srt", "doc"])
    assert not (tmp_path / "new").exists()


# Figures


def test_timings_add_up_with_the_higher_memory_peak():
    a, b = Timings(decode=1.0, tokens=3, peak_memory=5), Timings(decode=2.0, tokens=4, total=3.0, peak_memory=9)
    assert a + b == Timings(decode=3.0, tokens=7, total=3.0, peak_memory=9)
    assert (a + Timings()).peak_memory == 5


def test_rates_come_from_totals():
    timings = Timings(decode=0.5, total=2.0, audio_seconds=10.0, tokens=20)
    assert timings.real_time_factor == 0.2
    assert timings.tokens_per_second == 40.0


def test_rates_of_nothing_are_zero():
    assert (Timings().real_time_factor, Timings().tokens_per_second) == (0.0, 0.0)


def test_the_table_shows_each_stage_and_its_share_and_what_is_left_over():
    rows = {line.split()[0]: line.split()[1:] for line in str(Timings(encoder=0.5, decode=1.0, total=2.0)).splitlines()}
    assert rows["encoder"] == ["0.500", "25.0", "%"]
    assert rows["decode"] == ["1.000", "50.0", "%"]
    assert rows["other"] == ["0.500", "25.0", "%"]
    assert rows["total"] == ["2.000", "100.0", "%"]


def test_the_table_of_nothing_has_no_shares():
    assert "%" not in Timings().table()


def test_a_transcript_gathers_from_its_segments():
    looping = Segment("b c", 1, 2, timed("b", " c"), repetition_stopped=True)
    t = transcript(segment(*timed("a")), looping)
    assert [token.text for token in t.tokens] == ["a", "b", " c"]
    assert [word.text for word in t.words] == ["a", "b", "c"]
    assert t.repetition_stopped and not transcript(segment(*timed("a"))).repetition_stopped


def test_the_average_logprob_is_over_tokens():
    assert Segment("x", 0, 1, (Token(1, "x", -1.0), Token(2, "y", -2.0))).avg_logprob == -1.5
    assert Segment("", 0, 1).avg_logprob is None
