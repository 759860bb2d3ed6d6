import pytest

from nanoasr.speakers import Turn, diarization_error, read_rttm

REFERENCE = [Turn(0, 4, "ann"), Turn(4, 8, "ben")]


def parts(error):
    return pytest.approx((error.missed, error.false_alarm, error.confusion, error.speech))


def test_other_names_for_the_right_turns_are_no_error():
    assert diarization_error(REFERENCE, [Turn(0, 4, "S2"), Turn(4, 8, "S1")]).rate == 0


def test_missed_speech_false_alarms_and_confusion_are_told_apart():
    found = [Turn(0, 3, "S1"), Turn(4, 6, "S2"), Turn(6, 8, "S1"), Turn(9, 10, "S2")]
    assert parts(diarization_error(REFERENCE, found, collar=0)) == (1, 1, 2, 8)


def test_nothing_is_scored_near_the_references_boundaries():
    error = diarization_error(REFERENCE, [Turn(0.2, 4.2, "S1"), Turn(4.2, 8.2, "S2")])
    assert parts(error) == (0, 0, 0, 7)


def test_where_two_speak_both_count():
    reference = [Turn(0, 4, "ann"), Turn(2, 4, "ben")]
    assert parts(diarization_error(reference, [Turn(0, 4, "S1")], collar=0)) == (2, 0, 0, 6)


def test_the_names_are_matched_so_that_the_error_is_least():
    found = [Turn(0, 1, "S1"), Turn(1, 4, "S2"), Turn(4, 8, "S3")]
    assert parts(diarization_error(REFERENCE, found, collar=0)) == (0, 0, 1, 8)


def test_errors_add_up():
    total = diarization_error(REFERENCE, []) + diarization_error([], REFERENCE)
    assert total.missed == 7 and total.false_alarm == 8 and total.speech == 7


def test_rttm_is_read_by_recording(tmp_path):
    path = tmp_path / "x.rttm"
    path.write_text("SPEAKER a 1 0.5 1.25 <NA> <NA> ann <NA> <NA>\nSPEAKER b 1 0 1 <NA> <NA> ben <NA> <NA>\n")
    assert read_rttm(path) == {"a": [Turn(0.5, 1.75, "ann")], "b": [Turn(0, 1, "ben")]}
