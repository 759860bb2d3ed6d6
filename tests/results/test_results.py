import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from transcripts import labelled_transcripts, letters, segment, timed, transcript, transcripts, untimed

import nanoasr
from nanoasr.errors import OptionError
from nanoasr.results import FORMATS, Segment, Tags, Timings, Token, Transcript, write_all


@settings(deadline=None)
@given(labelled_transcripts())
def test_json_reads_back_as_the_same_transcript(t):
    assert Transcript.from_json(t.to_json()) == t


@settings(deadline=None)
@given(labelled_transcripts())
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


@settings(deadline=None)
@given(labelled_transcripts())
def test_text_and_speakers_can_forge_no_lines(t):
    spoken = [s for s in t.segments if letters(s.text)]
    assert len(t.to_txt().splitlines()) <= max(1, len(spoken))
    assert len(t.to_tsv().splitlines()) == 1 + len(t.segments)
    assert len(t.to_rttm().splitlines()) <= len(t.segments)
    assert all(len(line.split()) == 10 for line in t.to_rttm().splitlines())
    for written, decimal in ((t.to_srt(), ","), (t.to_vtt(), ".")):
        times = [line for line in written.splitlines() if "-->" in line]
        assert all(
            re.fullmatch(rf"\d+:\d\d:\d\d\{decimal}\d{{3}} --> \d+:\d\d:\d\d\{decimal}\d{{3}}", x) for x in times
        )
        assert written.count("\n\n") == max(0, len(times) - (decimal == ","))


# Files


@pytest.mark.parametrize("end", ["\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("form", ["txt", "srt", "vtt", "tsv"])
def test_a_line_end_within_a_text_makes_no_line(form, end):
    t = transcript(segment(*untimed(f"one{end}two")))
    assert FORMATS[form](t) == FORMATS[form](transcript(segment(*untimed("one two"))))


def test_tsv_is_in_milliseconds_without_tabs_in_the_text():
    t = transcript(segment(*untimed("two\twords\n"), start=0.5, end=1.2345))
    assert t.to_tsv() == "start\tend\ttext\n500\t1234\ttwo words\n"


def test_a_printed_transcript_is_its_text():
    assert str(transcript(segment(*untimed("hello")))) == "hello"


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


def test_json_of_an_older_version_still_loads():
    content = json.loads(transcript(segment(*timed(" hello"))).to_json())
    for added in ("speaker", "tags", "nbest"):
        del content["segments"][0][added]
    for added in ("steps", "drafted", "accepted"):
        del content["timings"][added]
    del content["tags"]
    assert Transcript.from_json(json.dumps(content)) == transcript(segment(*timed(" hello")))


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


# Speakers, tags and alternatives


def spoken(speaker, text, start, end):
    return replace(segment(*untimed(text), start=start, end=end), speaker=speaker)


def test_text_has_a_line_for_each_turn_where_speakers_are_known():
    t = transcript(spoken("S1", "Hello.", 0, 1), spoken("S1", "Anyone?", 1, 2), spoken("S2", "Yes.", 2, 3))
    assert t.to_txt() == "S1: Hello. Anyone?\nS2: Yes.\n"


def test_subtitles_name_the_speaker_of_each_cue():
    t = transcript(spoken("S1", "Hello.", 0, 1), spoken("A&B", "Yes.", 2, 3), spoken(None, "No.", 4, 5))
    assert re.findall(r"\n(.*)\.\n", t.to_srt()) == ["S1: Hello", "A&B: Yes", "No"]
    assert re.findall(r"\n(.*)\.\n", t.to_vtt()) == ["<v S1>Hello", "<v A&amp;B>Yes", "No"]


def test_a_line_with_a_speakers_name_is_no_longer_than_others():
    s = replace(segment(*timed(*[" word"] * 60, step=0.2)), speaker="S1")
    lines = [line for line in transcript(s).to_srt().split("\n") if "word" in line]
    assert len(lines) > 4 and max(map(len, lines)) <= 42


def test_rttm_has_a_line_for_each_segment_of_a_known_speaker():
    t = transcript(spoken("S1", "Hello.", 0.5, 1.25), spoken(None, "Hm.", 1.25, 2), spoken("Ann B", "Yes.", 2, 3))
    assert replace(t, name="a talk.mp3").to_rttm() == (
        "SPEAKER a_talk 1 0.500 0.750 <NA> <NA> S1 <NA> <NA>\nSPEAKER a_talk 1 2.000 1.000 <NA> <NA> Ann_B <NA> <NA>\n"
    )
    assert transcript().to_rttm() == ""


def test_words_have_the_speaker_of_their_segment():
    t = transcript(spoken("S1", "Hello there.", 0, 1), spoken(None, "Hm.", 1, 2))
    assert [word.speaker for word in t.words] == ["S1", "S1", None]
    assert nanoasr.Word is type(t.words[0])


def test_what_a_recognizer_does_not_tell_is_empty():
    t = transcript(segment(*untimed("Hello.")))
    assert (t.tags, t.segments[0].tags, t.segments[0].nbest, t.segments[0].speaker) == (Tags(), Tags(), (), None)
    assert Tags() == Tags(emotion=None, events=())


# Figures


def test_timings_add_up_with_the_higher_memory_peak():
    a, b = Timings(decode=1.0, tokens=3, peak_memory=5), Timings(decode=2.0, tokens=4, total=3.0, peak_memory=9)
    assert a + b == Timings(decode=3.0, tokens=7, total=3.0, peak_memory=9)
    assert (a + Timings()).peak_memory == 5


def test_steps_and_drafts_add_up_and_are_in_the_table():
    a = Timings(tokens=9, steps=3, drafted=8, accepted=6) + Timings(tokens=1, steps=1, drafted=2, accepted=0)
    assert (a.steps, a.drafted, a.accepted) == (4, 10, 6)
    assert "4 decoder steps, 2.5 tokens each; 6 of 10 drafted tokens accepted" in a.table()


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
