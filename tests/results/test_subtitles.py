import itertools
import re
import unicodedata

import pytest
from hypothesis import given, settings
from transcripts import letters, segment, timed, transcript, transcripts, untimed

from nanoasr.results.transcript import Segment, Transcript

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


@settings(deadline=None)
@given(transcripts)
def test_srt_is_well_formed_and_keeps_every_letter(t):
    check_cues(t, read_srt(t.to_srt()))


@settings(deadline=None)
@given(transcripts)
def test_vtt_is_well_formed_and_keeps_every_letter(t):
    check_cues(t, read_vtt(t.to_vtt()))


def columns(line):
    seen = [char for char in line if unicodedata.category(char)[0] != "M" and unicodedata.category(char) != "Cf"]
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in seen)


@settings(deadline=None)
@given(transcripts)
def test_no_line_is_longer_than_players_show(t):
    for _, _, lines in read_vtt(t.to_vtt()):
        assert all(columns(line) <= 42 or "\u200d" in line for line in lines)  # joined emoji are never cut


def check_cues(t, cues):
    assert all(start < end for start, end, _ in cues)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(cues))
    in_order = sorted(t.segments, key=lambda s: s.start)
    assert letters("".join(line for _, _, lines in cues for line in lines)) == letters(
        "".join(s.text for s in in_order)
    )


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
