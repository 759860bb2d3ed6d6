"""The command line, run as people run it: what it prints, what it writes, how it ends."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import COMMAND, ENVIRONMENT, EXPECTED, MODEL, SHORT, complaints, run, transcribe, transcript, write_speech
from places import PARITY, SPEECH

import nanoasr
from nanoasr.cli import info
from nanoasr.results.transcript import FORMATS


@pytest.fixture
def speech(tmp_path, monkeypatch) -> Path:
    """A recording in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return write_speech()


@pytest.fixture
def wanted() -> nanoasr.Transcript:
    return transcript()


# What is printed


@pytest.mark.parametrize("command", ["", "app", "transcribe", "live", "serve", "info", "convert", "train", "bench"])
def test_help_says_what_there_is_and_gives_examples(command, capsys):
    assert run(*[command] * bool(command), "--help") == 0
    said = capsys.readouterr().out
    assert "exit status" in said if command == "" else f"nanoasr {command} " in said.split("usage:")[1]


def test_help_imports_nothing_heavy():
    heavy = ("av", "soxr", "librosa", "tokenizers", "huggingface_hub", "gradio", "plotly", "nanoasr.recognizer")
    code = f"""
import sys
from nanoasr.cli import main
try:
    main(["transcribe", "--help"])
except SystemExit:
    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert done.stderr == "[]\n"


def test_one_recording_prints_its_text(speech, wanted, capsys):
    assert wanted.text
    assert transcribe(speech) == 0
    assert capsys.readouterr() == (f"{wanted.text}\n", "")


def test_a_real_recording_gives_a_transcript_of_its_length(capsys):
    assert transcribe(SPEECH / "LJ002-0020.wav", "--format", "json") == 0
    said = nanoasr.Transcript.from_json(capsys.readouterr().out)
    assert (said.name, round(said.duration, 2)) == ("LJ002-0020.wav", 1.54)
    assert len(said.tokens) > 0


@pytest.mark.parametrize("form", ["srt", "vtt", "tsv"])
def test_one_format_is_printed_as_it_would_be_written(form, speech, wanted, capsys):
    assert transcribe(speech, "--format", form) == 0
    assert capsys.readouterr().out == FORMATS[form](wanted)


def test_several_recordings_as_json_are_one_line_each_in_order(speech, wanted, capsys):
    shutil.copy(speech, "again.wav")
    soundfile.write("silence.wav", np.zeros(16000), 16000)
    assert transcribe("again.wav", "silence.wav", speech, "--format", "json") == 0
    read = [nanoasr.Transcript.from_json(line) for line in capsys.readouterr().out.splitlines()]
    assert [(t.name, t.text) for t in read] == [
        ("again.wav", wanted.text),
        ("silence.wav", ""),
        ("speech.wav", wanted.text),
    ]


def test_verbose_says_what_each_stage_took_and_what_is_doubtful(speech, capsys):
    assert transcribe(speech, "--verbose") == 0
    said = capsys.readouterr().err
    assert "real-time factor" in said
    assert "nanoasr: note: speech.wav: the segment at 0.0 s was cut off at --max-tokens" in said


def test_options_reach_the_recognizer(speech, capsys):
    Path("words.txt").write_text("开放时间\n\n", encoding="utf-8")
    options = ("--language", "English", "--hotwords", "MLX", "--hotwords-file", "words.txt", "--no-itn")
    options += ("--dtype", "float32")  # as the reference computed
    for rate in ("low", "full"):
        assert transcribe(speech, *options, "--audio-tokens", rate, "--format", "json") == 0
        said = nanoasr.Transcript.from_json(capsys.readouterr().out)
        assert said.language == "en"
        assert [token.id for token in said.tokens] == EXPECTED[f"english_hotwords_no_itn.{rate}.greedy"].tolist()


def test_sampling_is_drawn_by_its_seed(speech, capsys):
    def draw(seed: int) -> str:
        assert transcribe(speech, "--temperature", 1.2, "--top-p", 0.95, "--seed", seed) == 0
        return capsys.readouterr().out

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.slow
def test_three_hours_are_transcribed_to_their_end(speech, capsys):
    with soundfile.SoundFile("long.flac", "w", 16000, 1) as file:
        for _ in range(180):
            file.write(np.zeros(60 * 16000, np.int16))
        file.write(EXPECTED["audio"])
    assert transcribe("long.flac", "--format", "tsv") == 0
    _, (start, end, text) = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert 10_800_000 <= int(start) < int(end) <= 10_803_300
    assert text


# What is written


def test_files_are_written_in_each_format_asked_for(speech, wanted, capsys):
    assert transcribe(speech, "--format", "srt,json", "--out", "new/texts") == 0
    assert sorted(os.listdir("new/texts")) == ["speech.json", "speech.srt"]
    assert nanoasr.Transcript.from_json(Path("new/texts/speech.json")).text == wanted.text
    assert capsys.readouterr() == ("", "")


def test_all_means_every_format(speech, wanted):
    assert transcribe(speech, "--format", "all", "--out", "texts") == 0
    assert sorted(os.listdir("texts")) == sorted(f"speech.{form}" for form in FORMATS)
    assert Path("texts/speech.txt").read_text(encoding="utf-8") == wanted.to_txt()


def test_folders_patterns_and_files_of_one_name_each_get_a_file(speech):
    for name in ("talks/a/x.wav", "talks/b/x.wav", "talks/c.wav"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(speech, name)
    assert transcribe("talks", "--recursive", "sp*.wav", "--out", "texts") == 0
    assert sorted(os.listdir("texts")) == ["a-x.txt", "b-x.txt", "c.txt", "speech.txt"]


def test_what_is_done_is_skipped_on_request_without_loading_anything(speech):
    shutil.copy(speech, "other.wav")
    arguments = (speech, "other.wav", "--out", "texts", "--format", "txt,tsv", "--skip-existing")
    assert transcribe(*arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in Path("texts").iterdir()}
    assert run("transcribe", *arguments, "--model", "there is none") == 0
    Path("texts/other.tsv").unlink()
    assert transcribe(*arguments) == 0
    changed = {path.name for path in Path("texts").iterdir() if path.stat().st_mtime_ns != before.get(path)}
    assert changed == {"other.txt", "other.tsv"}


def test_a_file_that_cannot_be_written_fails_alone(speech, capsys):
    shutil.copy(speech, "other.wav")
    Path("texts/speech.txt").mkdir(parents=True)
    assert transcribe(speech, "other.wav", "--out", "texts") == 1
    assert Path("texts/other.txt").is_file()
    [line] = complaints(capsys)
    assert line.startswith("nanoasr: speech.wav: its transcript cannot be written")


# Standard input and output


def test_a_recording_comes_from_standard_input(speech, wanted, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(speech.read_bytes())))
    assert transcribe("-", "--out", "texts") == 0
    assert Path("texts/stdin.txt").read_text(encoding="utf-8") == wanted.to_txt()


def test_in_a_pipe_there_is_the_text_in_utf8_and_nothing_else(speech, wanted):
    name = "录音 ü.wav"
    shutil.copy(speech, name)
    piped = subprocess.run(
        [*COMMAND, "transcribe", *SHORT, "-", name, "不在.wav", "--format", "json"],
        input=speech.read_bytes(),
        capture_output=True,
        env=ENVIRONMENT | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert piped.returncode == 1
    first, second = (nanoasr.Transcript.from_json(line) for line in piped.stdout.decode("utf-8").splitlines())
    assert first.text == second.text == wanted.text
    assert second.name == name
    assert re.fullmatch(r"nanoasr: 不在\.wav: there is no such file .*\n", piped.stderr.decode("utf-8"))


def test_a_reader_that_goes_away_is_no_error(speech):
    arguments = [*COMMAND, "transcribe", *SHORT, speech]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_terminal_shows_how_much_is_done(speech):
    import fcntl
    import pty
    import struct
    import termios

    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    arguments = [*COMMAND, "transcribe", *SHORT, speech, "--out", "texts"]
    with subprocess.Popen(arguments, stderr=end, stdout=end, env=ENVIRONMENT) as process:
        os.close(end)
        shown = b""
        while True:
            try:
                piece = os.read(terminal, 1000)
            except OSError:  # how Linux says that the other end was closed
                piece = b""
            if not piece:
                break
            shown += piece
    os.close(terminal)
    assert process.returncode == 0
    assert b"1/1 recordings" in shown
    assert b"of 3 s" in shown


# The other commands


def test_info_tells_the_device_its_speed_and_what_a_checkpoint_holds(capsys):
    assert run("info", *MODEL) == 0
    said = capsys.readouterr().out
    for part in ("Python 3.", "mlx 0.", "GFLOP/s", "official layout", "encoder 0.3 M"):
        assert part in said


def test_info_works_without_a_bundled_checkpoint(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(info, "BUNDLED", tmp_path / "none")
    assert run("info") == 0
    said = capsys.readouterr().out
    assert "no bundled one" in said
    assert "GFLOP/s" in said


def test_a_converted_checkpoint_is_used_like_any_other(speech, wanted, capsys):
    assert run("convert", PARITY / "transformers", "small", "--dtype", "float32") == 0
    assert capsys.readouterr().out.strip().endswith("small")
    assert run("transcribe", "--model", "small", speech, "--max-tokens", 16, "--audio-tokens", "low") == 0
    assert capsys.readouterr().out == f"{wanted.text}\n"


def test_convert_replaces_a_checkpoint_only_when_told_to(speech, capsys):
    assert run("convert", PARITY / "mlx_audio", "small") == 0
    assert run("convert", PARITY / "mlx_audio", "small", "--quantize", "all-8bit") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run("convert", PARITY / "mlx_audio", "small", "--quantize", "all-8bit", "--overwrite") == 0
    assert "quantization" in json.loads(Path("small/config.json").read_text(encoding="utf-8"))


def test_a_training_that_cannot_start_says_why(tmp_path, capsys):
    assert run("train", tmp_path / "gone.yaml") == 2
    assert "gone.yaml" in complaints(capsys)[0]
