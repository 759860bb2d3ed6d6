"""The benchmark of a live session's update: that it is one, and that its report says what it was."""

import json
from dataclasses import replace

import pytest
from places import PARITY
from test_bench import TINY

from nanoasr import backend, cli
from nanoasr.bench.live import _Update, bench_live
from nanoasr.bench.subject import Plan, Subject, synthetic_speech
from nanoasr.errors import OptionError

PLAN = Plan(seconds=(2.0,), tokens=12, repeats=2)
RANDOM = Subject(random=True, config=TINY)


def test_the_update_has_heard_all_but_half_a_second_and_guesses_all_but_the_last_words():
    samples = synthetic_speech(2.5)
    update = _Update(RANDOM.recognizer(), samples, 12)
    segment = update._open_segment(update._draft)
    known = backend.run(segment.extend_filterbank, samples[: 2 * 16000]).shape[0]
    found = update._decode(segment)
    assert (known, backend.run(segment.extend_filterbank, samples).shape[0]) == (198, 248)
    assert (found.timings.drafted, found.timings.accepted, found.timings.tokens) == (11, 10, 12)
    assert found.segment.text == update._decode(update._open_segment()).segment.text


def test_the_report_has_the_update_with_a_draft_and_without():
    report = bench_live(replace(PLAN, seconds=(1.0, 2.0)), RANDOM)
    stages = [row.stage for row in report.rows]
    assert stages[:2] == ["0.5 s more of 1 s, 10 of 12 tokens right", "0.5 s more of 1 s, without a draft"]
    assert [row.seconds for row in report.rows] == [1.5, 1.5, 2.5, 2.5]
    assert all(row.time.repeats == 2 and row.memory > 1e5 for row in report.rows)
    assert "samples to text" not in str(report)
    assert "0.5 s more of 2 s: 1 decoding steps" in str(report)


@pytest.mark.parametrize("package", ["mlx-audio", "transformers"])
def test_a_package_that_is_installed_transcribes_it_all_anew(package):
    pytest.importorskip(package.replace("-", "_"))
    if package == "transformers":
        pytest.importorskip("torch")
    report = bench_live(replace(PLAN, against=package), Subject(str(PARITY / "mlx_audio")))
    assert {contest.stage for contest in report.contests} == {"0.5 s more of 2 s"}
    assert all(contest.peer.startswith(package) and contest.ratio > 0 for contest in report.contests)


def test_the_command_has_it_too(tmp_path, capsys):
    options = (
        "--seconds",
        "1",
        "--repeats",
        "1",
        "--json",
        str(tmp_path / "b.json"),
        "--plot",
        str(tmp_path / "b.html"),
    )
    assert cli.main(["bench", "--live", "--model", str(PARITY / "official"), *options]) == 0
    assert "38 of 40 tokens right" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["rows"]) == 2
    assert (tmp_path / "b.html").stat().st_size > 1e5


def test_a_hypothesis_of_no_right_token_is_refused():
    with pytest.raises(OptionError, match="--tokens 2"):
        bench_live(replace(PLAN, tokens=2), RANDOM)
