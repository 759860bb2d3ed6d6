import itertools
import json
import math
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoasr.errors import OptionError
from nanoasr.results import (
    FORMATS,
    Alternative,
    Segment,
    Timings,
    Token,
    Transcript,
    join_texts,
    write_all,
)


def timed(*texts, start=0.0, step=0.5):
    """Tokens that follow each other, `step` seconds each."""
    return tuple(Token(i, text, -0.25, start + i * step, start + (i + 1) * step) for i, text in enumerate(texts))


def untimed(*texts):
    return tuple(Token(i, text, -0.25) for i, text in enumerate(texts))


def segment(*tokens, start=0.0, end=10.0):
    return Segment("".join(token.text for token in tokens).strip(), start, end, tokens)


def transcript(*segments):
    return Transcript(join_texts(s.text for s in segments), segments, "en", 60.0)


def words(*tokens):
    return [word.text for word in segment(*tokens).words]


# Small strict readers of the two subtitle formats: anything that is not as it should be fails.


def clock(text, decimal):
    hours, minutes, seconds, milliseconds = re.fullmatch(
        rf"(\d\d+):([0-5]\d):([0-5]\d){re.escape(decimal)}(\d{{3}})", text
    ).groups()
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(milliseconds)


def read_blocks(content, decimal):
    for block in content.split("\n\n"):
        time, *lines = block.removesuffix("\n").split("\n")
        start, end = time.split(" --> ")
        assert lines and all(line.strip() for line in lines)
        assert not any("-->" in line for line in lines)
        yield clock(start, decimal), clock(end, decimal), lines


def read_srt(content):
    if not content:
        return []
    assert content.endswith("\n") and not content.endswith("\n\n") and "\r" not in content
    blocks = content.split("\n\n")
    numbers = [block.split("\n", 1)[0] for block in blocks]
    assert numbers == [str(i + 1) for i in range(len(blocks))]
    return list(read_blocks("\n\n".join(block.split("\n", 1)[1] for block in blocks), ","))


def read_vtt(content):
    header, _, body = content.partition("\n")
    assert header == "WEBVTT" and "\r" not in content
    if not body:
        return []
    assert body.startswith("\n") and body.endswith("\n") and not body.endswith("\n\n")
    cues = []
    for start, end, lines in read_blocks(body[1:], "."):
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", "".join(lines))
        plain = [line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for line in lines]
        cues.append((start, end, plain))
    return cues


def letters(text):
    """The text without whitespace and the control characters that no subtitle can hold."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]", "", text)


# Whatever the texts and times

nasty = st.sampled_from(
    ["-->", "\n\n", "\r\n", "\x00", "\u2028", " ", "&amp;", "<b>", "WEBVTT", "NOTE", "1", "مرحبا ", "שלום"]
    + ["👩‍👩‍👧 ", "e\u0301", "你好", "，", "「", "สวัสดี", "한국어 ", "ゃ", "word ", "a" * 50, ". ", '"', "\ufeff"]
)
texts = st.lists(st.one_of(nasty, st.text(max_size=6)), max_size=30).map("".join)
seconds = st.one_of(st.floats(0, 30), st.floats(0, 500_000))
moments = st.one_of(st.none(), seconds)
any_float = st.floats(allow_nan=False, allow_infinity=False)
maybe_float = st.one_of(st.none(), any_float)


@st.composite
def segments(draw):
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=len(text))))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    kind = draw(st.sampled_from(["none", "even", "any"]))
    step = draw(st.floats(0, 2))
    tokens = []
    for i, part in enumerate(parts):
        times = {"none": (None, None), "even": (i * step, (i + 1) * step), "any": None}[kind]
        start, end = times or (draw(moments), draw(moments))
        alternatives = draw(st.sampled_from([(), (Alternative(3, "x", -0.5), Alternative(4, "", -2.0))]))
        tokens.append(Token(i, part, draw(any_float), start, end, alternatives, draw(maybe_float)))
    if draw(st.booleans()):
        text = text.strip()
    flags = [draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from([None, False, True]))]
    return Segment(text, draw(seconds), draw(seconds), tuple(tokens), *flags)


timings = st.builds(Timings, read=st.floats(0, 9), tokens=st.integers(0), peak_memory=st.none() | st.integers(0))
transcripts = st.builds(
    Transcript,
    texts,
    st.lists(segments(), max_size=4).map(tuple),
    st.none() | st.text(),
    seconds,
    timings,
    st.none() | st.text(),
)


@settings(deadline=None)
@given(transcripts)
def test_json_reads_back_as_the_same_transcript(t):
    assert Transcript.from_json(t.to_json()) == t


@settings(deadline=None)
@given(transcripts)
def test_srt_is_well_formed_and_keeps_every_letter(t):
    check_cues(t, read_srt(t.to_srt()))


@settings(deadline=None)
@given(transcripts)
def test_vtt_is_well_formed_and_keeps_every_letter(t):
    check_cues(t, read_vtt(t.to_vtt()))


def check_cues(t, cues):
    assert all(start < end for start, end, _ in cues)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(cues))
    in_order = sorted(t.segments, key=lambda s: s.start)
    assert letters("".join(line for _, _, lines in cues for line in lines)) == letters(
        "".join(s.text for s in in_order)
    )


@settings(deadline=None)
@given(transcripts)
def test_tsv_has_one_line_of_three_columns_for_each_segment(t):
    header, *rows, after_the_last = t.to_tsv().split("\n")
    assert header == "start\tend\ttext" and after_the_last == ""
    assert [letters(row.split("\t")[2]) for row in rows] == [letters(s.text) for s in t.segments]
    assert all(re.fullmatch(r"\d+\t\d+\t[^\t\r\n]*", row) for row in rows)


@settings(deadline=None)
@given(segments())
def test_words_keep_every_letter(s):
    assert letters("".join(word.text for word in s.words)) == letters(s.text)


@settings(deadline=None)
@given(st.lists(texts))
def test_joining_keeps_every_letter(parts):
    assert letters(join_texts(parts)) == letters("".join(parts))


# Words


def test_a_token_that_begins_with_a_space_starts_a_word():
    assert words(*untimed("He", "llo", " wor", "ld")) == ["Hello", "world"]


def test_punctuation_sticks_to_the_word_before():
    assert words(*untimed("Yes", ",", " it", "'s", " 3", ".", "5", "!")) == ["Yes,", "it's", "3.5!"]


def test_punctuation_standing_alone_sticks_to_the_word_before():
    assert words(*untimed("begin", " -", " again", " !", " ")) == ["begin -", "again !"]


def test_opening_punctuation_goes_with_the_word_after():
    assert words(*untimed("他说", "“你", "好”。", " (", "ok", ")")) == ["他", "说", "“你", "好”。", "(ok)"]


def test_cjk_characters_are_words_of_their_own():
    assert words(*untimed("今天", "，我们", "用", "ML", "X", "吧")) == ["今", "天，", "我", "们", "用", "MLX", "吧"]


def test_small_kana_and_long_vowels_stay_with_their_character():
    assert words(*untimed("ピュ", "ーター")) == ["ピュー", "ター"]


def test_invisible_characters_make_no_words():
    assert words(*untimed("字\u200b", "字")) == ["字\u200b", "字"]


def test_korean_words_are_separated_by_spaces():
    assert words(*untimed("안녕", "하세요", " 여러분")) == ["안녕하세요", "여러분"]


def test_a_word_spans_the_times_of_its_tokens():
    hello, world = segment(*timed("Hel", "lo", ",", " world")).words
    assert (hello.text, hello.start, hello.end) == ("Hello,", 0.0, 1.0)
    assert (world.start, world.end) == (1.5, 2.0)


def test_characters_of_one_token_share_its_times():
    assert {(word.start, word.end) for word in segment(*timed("今天", start=3)).words} == {(3.0, 3.5)}


def test_a_character_spelled_by_several_tokens_starts_with_the_first():
    (word,) = segment(*timed("", "", "魑")).words
    assert (word.start, word.end) == (0.0, 1.5)


def test_words_have_no_times_where_tokens_have_none():
    assert {(word.start, word.end) for word in segment(*untimed("no", " times")).words} == {(None, None)}


def test_words_have_no_times_where_the_tokens_spell_another_text():
    s = Segment("hello", 0.0, 1.0, timed("<think>", "hello"))
    assert [(word.text, word.start) for word in s.words] == [("hello", None)]


def test_a_words_confidence_is_the_mean_of_its_tokens():
    tokens = (Token(1, "a", 0.0, confidence=0.5), Token(2, "b", 0.0, confidence=1.0), Token(3, " c", 0.0))
    assert [word.confidence for word in segment(*tokens).words] == [0.75, None]


# Joining


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["Hello.", "World"], "Hello. World"),
        (["你好。", "世界"], "你好。世界"),
        (["你好", "世界"], "你好世界"),
        (["他说“你好”", "然后……", "走了"], "他说“你好”然后……走了"),
        (["你好。", "Hello"], "你好。Hello"),
        (["Hello.", "你好"], "Hello. 你好"),
        (["안녕", "여러분"], "안녕 여러분"),
        ([" one ", "", "  ", "two\n"], "one two"),
        ([], ""),
    ],
)
def test_texts_are_joined_with_a_space_only_where_the_border_needs_one(parts, joined):
    assert join_texts(parts) == joined


# Subtitles


def test_srt_looks_as_players_expect():
    t = transcript(segment(*untimed("First"), start=1.5, end=2.25), segment(*untimed("Second"), start=3, end=4))
    assert t.to_srt() == ("1\n00:00:01,500 --> 00:00:02,250\nFirst\n\n2\n00:00:03,000 --> 00:00:04,000\nSecond\n")


def test_vtt_looks_as_players_expect():
    t = transcript(segment(*untimed("R&D <3 --> x"), start=1.5, end=2.25))
    assert t.to_vtt() == "WEBVTT\n\n00:00:01.500 --> 00:00:02.250\nR&amp;D &lt;3 --&gt; x\n"


def test_hours_may_exceed_99():
    t = transcript(segment(*untimed("late"), start=360_000, end=360_001))
    assert "100:00:00,000 --> 100:00:01,000" in t.to_srt()


def test_segments_without_text_have_no_cue():
    t = transcript(Segment("", 0, 1), segment(*untimed("heard"), start=1, end=2), Segment(" \n", 2, 3))
    assert [lines for _, _, lines in read_srt(t.to_srt())] == [["heard"]]
    assert Transcript("", (), None, 0.0).to_srt() == ""
    assert Transcript("", (), None, 0.0).to_vtt() == "WEBVTT\n"


LONG = [" the", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog"] * 5


def test_a_long_segment_with_word_times_becomes_cues_of_two_lines_and_seven_seconds():
    cues = read_srt(transcript(segment(*timed(*LONG, step=0.3))).to_srt())
    assert len(cues) > 1
    assert all(end - start <= 7000 and len(lines) <= 2 for start, end, lines in cues)
    assert all(len(line) <= 42 for _, _, lines in cues for line in lines)


def test_cues_start_and_end_with_their_words():
    s = segment(*timed(*LONG, step=0.3), end=99.0)
    cues = read_srt(transcript(s).to_srt())
    starts = {round(word.start * 1000) for word in s.words}
    ends = {round(word.end * 1000) for word in s.words}
    assert all(start in starts and end in ends for start, end, _ in cues)


def test_a_segment_without_word_times_is_one_cue_of_as_many_lines_as_it_needs():
    ((start, end, lines),) = read_srt(transcript(segment(*untimed(*LONG), start=2, end=32)).to_srt())
    assert (start, end) == (2000, 32_000)
    assert len(lines) > 2 and all(len(line) <= 42 for line in lines)


def test_a_cjk_line_holds_21_characters():
    ((_, _, lines),) = read_srt(transcript(segment(*untimed("字" * 50))).to_srt())
    assert [len(line) for line in lines] == [21, 21, 8]


def test_cues_are_cut_after_punctuation_rather_than_in_a_phrase():
    tokens = timed(" One", " two", " three", " four", ".", " Five", " six", " seven", " eight", step=1.0)
    cues = read_srt(transcript(segment(*tokens)).to_srt())
    assert [lines for _, _, lines in cues] == [["One two three four."], ["Five six seven eight"]]


def test_cues_are_cut_at_a_pause_rather_than_in_a_phrase():
    tokens = timed(" one", " two", " three", " four", step=1.0)
    tokens += timed(" five", " six", " seven", " eight", " nine", start=5.0)
    cues = read_srt(transcript(segment(*tokens)).to_srt())
    assert [lines for _, _, lines in cues] == [["one two three four"], ["five six seven eight nine"]]


def test_a_cue_is_not_cut_short_only_to_end_at_punctuation():
    cues = read_srt(transcript(segment(*timed(" Yes", ".", *LONG[:9], step=0.8))).to_srt())
    assert cues[0][2] == ["Yes. the quick brown fox jumps over"]


def test_characters_that_share_a_token_share_a_cue():
    tokens = timed("今天天气", "很好", step=8.0)
    assert [lines for _, _, lines in read_srt(transcript(segment(*tokens)).to_srt())] == [["今天天气"], ["很好"]]


@pytest.mark.parametrize("letter", ["e\u0301", "กี่", "हि", "👩\u200d👩\ufe0f"])
def test_a_word_longer_than_a_line_is_cut_between_whole_letters(letter):
    ((_, _, lines),) = read_srt(transcript(segment(*untimed(letter * 100))).to_srt())
    assert len(lines) > 2
    assert all(line == letter * (len(line) // len(letter)) for line in lines)


def test_two_lines_are_divided_at_punctuation_where_that_leaves_neither_short():
    ((_, _, lines),) = read_srt(transcript(segment(*untimed("今天天气很好，我们去公园玩吧！他们在那里等你"))).to_srt())
    assert lines == ["今天天气很好，我们去公园玩吧！", "他们在那里等你"]


def test_a_line_never_starts_with_punctuation():
    for repeats in range(1, 40):
        ((_, _, lines),) = read_srt(transcript(segment(*untimed("字" * repeats + "，字。" * 9))).to_srt())
        assert not any(line[0] in "，。" for line in lines)


def test_of_two_lines_neither_is_much_longer():
    text = "this sentence is just a little too long for a line"
    ((_, _, lines),) = read_srt(transcript(segment(*untimed(text))).to_srt())
    assert lines == ["this sentence is just a", "little too long for a line"]


def test_a_cue_of_no_length_lasts_until_the_next_or_a_second():
    t = transcript(segment(*untimed("a"), start=1, end=1), segment(*untimed("b"), start=1.4, end=1.4))
    assert [(start, end) for start, end, _ in read_srt(t.to_srt())] == [(1000, 1400), (1400, 2400)]


def test_overlapping_segments_give_cues_that_do_not_overlap():
    t = transcript(segment(*untimed("a"), start=0, end=5), segment(*untimed("b"), start=3, end=6))
    assert [(start, end) for start, end, _ in read_srt(t.to_srt())] == [(0, 3000), (3000, 6000)]


# Other files


def test_tsv_is_in_milliseconds_without_tabs_in_the_text():
    t = transcript(segment(*untimed("two\twords\n"), start=0.5, end=1.2345))
    assert t.to_tsv() == "start\tend\ttext\n500\t1234\ttwo words\n"


def test_txt_is_the_text_and_a_line_end():
    assert transcript(segment(*untimed("hello"))).to_txt() == "hello\n"


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
