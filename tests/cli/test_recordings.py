"""Which recordings a command line names, and what the files of their transcripts are called."""

import os
from pathlib import Path

import pytest

from nanoasr.cli.recordings import find_recordings, output_names
from nanoasr.cli.transcribe import Output


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("talks/b.wav", "talks/A.MP3", "talks/notes.txt", "talks/.hidden.wav", "talks/old/c.m4a", "one.wav"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


def test_a_folder_gives_the_recordings_in_it_sorted(folder):
    assert find_recordings(["talks"]) == (["talks/A.MP3", "talks/b.wav"], [])


def test_folders_of_folders_are_looked_into_on_request(folder):
    (folder / "talks" / "old" / "round").symlink_to(folder / "talks")
    assert find_recordings(["talks"], recursive=True) == (["talks/A.MP3", "talks/b.wav", "talks/old/c.m4a"], [])


def test_a_pattern_that_no_shell_replaced_is_followed(folder):
    assert find_recordings(["*.wav", "talks/*.M[OP]3"])[0] == ["one.wav", "talks/A.MP3"]
    assert find_recordings(["**/*.m4a"])[0] == ["talks/old/c.m4a"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(folder):
    Path("talk [1].wav").touch()
    assert find_recordings(["talk [1].wav"]) == (["talk [1].wav"], [])


def test_each_recording_is_taken_once_however_often_it_is_named(folder):
    named = ["one.wav", "./one.wav", "*.wav", str(folder / "one.wav"), "-", "-"]
    assert find_recordings(named)[0] == ["one.wav", "-"]


def test_what_names_no_recording_is_told(folder):
    Path("empty").mkdir()
    found, problems = find_recordings(["empty", "*.ogg", "one.wav", "gone.wav"])
    assert found == ["one.wav", "gone.wav"]  # a missing file is told when it is its turn
    assert [problem.split(":")[0] for problem in problems] == ["empty", "*.ogg"]
    assert "--recursive" in problems[0]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.wav", "a/y.wav"], ["x", "y"]),
        (["a/x.wav", "b/x.wav"], ["a-x", "b-x"]),
        (["a/x.wav", "a/x.mp3"], ["x.wav", "x.mp3"]),
        (["a/x.wav", "a/x.mp3", "b/x.wav"], ["x.wav", "x.mp3", "x"]),
        (["1/a/x.wav", "2/a/x.wav", "3/b/x.wav"], ["1-a-x", "2-a-x", "b-x"]),
        (["a/x.wav", "b/x.wav", "c/a-x.wav"], ["work-a-x", "b-x", "c-a-x"]),
        (["a/x.wav", "b/X.wav"], ["a-x", "b-X"]),  # one file on a Mac
        (["-", "stdin.wav"], ["stdin", "work-stdin"]),
        (["talk.1.wav", "talk.2.wav"], ["talk.1", "talk.2"]),
    ],
)
def test_recordings_of_one_name_get_as_much_of_their_path_as_tells_them_apart(tmp_path, monkeypatch, paths, names):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert list(output_names(paths).values()) == names


def test_names_do_not_depend_on_the_order():
    paths = ["a/x.wav", "b/x.wav", "b/y.wav", "c/x.mp3", "c/x.wav"]
    assert output_names(paths) == {path: output_names(paths[::-1])[path] for path in paths}


def test_paths_that_read_the_same_with_dashes_still_get_names_of_their_own():
    paths = [os.sep + "a-b/x.wav", os.sep + "a/b/x.wav", os.sep + "a/b-x.wav"]
    assert len(set(output_names(paths).values())) == 3


def test_a_recording_is_done_when_all_its_files_are_there(tmp_path):
    output = Output(("txt", "srt"), tmp_path)
    (tmp_path / "x.txt").touch()
    assert not output.has("x")
    (tmp_path / "x.srt").touch()
    assert output.has("x")
    assert not Output(("txt",)).has("x")
