"""The benchmark: what it measures, that it measures what it says, and how it tells it."""

import importlib.util
import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from places import PARITY

from nanoasr import backend, cli
from nanoasr.audio.vad import VadOptions, find_segments
from nanoasr.bench.report import Contest, Report
from nanoasr.bench.stages import bench, prepare, stage_works
from nanoasr.bench.subject import Plan, Subject, synthetic_speech
from nanoasr.bench.timing import Time, take_turns
from nanoasr.errors import NanoASRError, OptionError
from nanoasr.model.config import AdaptorConfig, CTCConfig, EncoderConfig, LLMConfig, ModelConfig
from nanoasr.recognizer import Recognizer

TINY = ModelConfig(
    encoder=EncoderConfig(output_size=32, attention_heads=2, linear_units=48, num_blocks=2, tp_blocks=1),
    adaptor=AdaptorConfig(encoder_dim=32, ffn_dim=40, llm_dim=64, n_layer=1, attention_heads=4),
    llm=LLMConfig(500, 64, 96, 2, 4, 2, 16),
    ctc=CTCConfig(AdaptorConfig(encoder_dim=32, ffn_dim=40, llm_dim=32, n_layer=1, attention_heads=4), 400, 399),
)
STAGES = ["features", "encoder", "adaptor", "prefill", "CTC branch", "decoding step", "transcription"]
PLAN = Plan(seconds=(1.0, 2.0), batches=(1, 3), tokens=20, repeats=2, recordings=5)


@pytest.fixture(scope="module")
def report() -> Report:
    return bench(PLAN, Subject(random=True, config=TINY))


def parameters(subject: Subject) -> dict[str, np.ndarray]:
    checkpoint = backend.run(subject.load)
    return {name: np.array(x.astype(mx.float32)) for name, x in tree_flatten(checkpoint.model.parameters())}


def test_every_stage_is_timed_for_each_length_and_number_of_recordings(report):
    cases = [(row.seconds, row.batch, row.stage) for row in report.rows if row.stage != "VAD"]
    assert cases == [(seconds, batch, stage) for seconds in (1.0, 2.0) for batch in (1, 3) for stage in STAGES]
    assert all(row.time.repeats == 2 and 0 < row.time.low <= row.time.median <= row.time.high for row in report.rows)


def test_the_vad_is_timed_on_one_recording_of_each_length(report):
    assert [(row.seconds, row.batch) for row in report.rows if row.stage == "VAD"] == [(1.0, 1), (2.0, 1)]


def test_throughput_is_that_of_texts_of_the_length_asked_for(report):
    assert [(flow.vad, flow.recordings, flow.tokens) for flow in report.flows] == [(False, 5, 100), (True, 5, 100)]
    off, on = report.flows
    assert on.vad_seconds > off.vad_seconds
    assert off.real_time == pytest.approx(5 / off.time.median)


def test_the_report_is_a_table_for_people_and_json_for_programs(report):
    table = str(report)
    assert "random network, random weights in" in table
    assert all(stage in table for stage in STAGES)
    read = json.loads(report.to_json())
    assert len(read["rows"]) == len(report.rows)
    assert read["rows"][1]["time"]["median"] == report.rows[1].time.median
    assert read["rows"][1]["real_time"] == report.rows[1].real_time
    assert read["peak_memory"] > 1e6


def test_a_contest_tells_how_many_times_faster(report, tmp_path):
    contest = Contest("snail 1.0", "encoder", Time.of([0.1, 0.2, 0.3]), Time.of([1.0, 1.0, 7.0]))
    assert contest.ratio == pytest.approx(5)
    report = replace(report, contests=(contest,), notes=("it carries a house",))
    [line] = [line for line in str(report).splitlines() if "snail" in line]
    assert line.endswith("5")
    assert "it carries a house" in str(report)
    assert json.loads(report.to_json())["contests"][0]["ratio"] == pytest.approx(5)
    report.plot(tmp_path / "chart.html")
    chart = (tmp_path / "chart.html").read_text(encoding="utf-8")
    assert "snail 1.0" in chart
    assert "decoding step" in chart


def test_times_show_the_unit_that_fits():
    assert str(Time.of([0.001, 0.002, 0.0031])) == "2.00 ms (1.00 to 3.10, 3×)"
    assert str(Time.of([12.3456])) == "12.3 s (12.3 to 12.3, 1×)"


def test_works_are_done_in_turns_and_the_second_time_of_each_turn_counts():
    done = []

    def work(name: str) -> float:
        done.append(name)
        return 0.1 * len(done)

    times = take_turns({"a": lambda: work("a"), "b": lambda: work("b")}, 3)
    assert "".join(done) == "aabb" + "aabb" * 3
    assert (times["a"].low, times["a"].median) == pytest.approx((0.6, 1.0))


def test_what_is_slow_is_not_done_again_and_again(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("nanoasr.bench.timing.time.perf_counter", lambda: clock[0])

    def work(seconds: float) -> float:
        clock[0] += seconds
        return seconds

    times = take_turns({"quick": lambda: work(0.5), "slow": lambda: work(25.0)}, 5)
    assert (times["quick"].repeats, times["slow"].repeats) == (5, 3)


def test_a_random_network_is_the_same_each_time_and_runs_like_any_other():
    subject = Subject(random=True, config=TINY)
    first, second = parameters(subject), parameters(subject)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    asr = subject.recognizer()
    assert asr.transcribe(synthetic_speech(1.0)).text
    assert asr.info().source == "random network"


def test_a_random_network_has_a_ctc_branch_that_aligns_its_text():
    transcript = Subject(random=True, config=TINY).recognizer().transcribe(synthetic_speech(1.0), sampling=_most(8))
    assert transcript.timings.align > 0
    assert all(token.start is not None for token in transcript.tokens)
    assert Subject(random=True).config.ctc == CTCConfig()


@pytest.mark.parametrize("right", [1.0, 0.5])
def test_drafts_are_right_as_often_as_asked_for(right):
    plan = Plan((1.0,), (1,), tokens=60, repeats=1, draft=right)
    asr = prepare(plan, Subject(random=True, config=TINY), lambda line: None)
    asr.transcribe(synthetic_speech(1.0), sampling=_most(60))  # its text is learned here
    wanted = asr.transcribe(synthetic_speech(1.0), sampling=_most(60), draft=None)
    found = asr.transcribe(synthetic_speech(1.0), sampling=_most(60))
    assert found.text == wanted.text
    assert found.timings.align > 0  # the CTC branch is run all the same
    if right == 1:
        assert (found.timings.steps, found.timings.accepted) == (0, 59)  # the prefill checked all
    else:
        assert found.timings.accepted < 59


def test_the_tokens_of_a_pass_are_told_without_and_with_drafts(report):
    rates = [row.tokens_a_pass for row in report.rows if row.stage == "transcription"]
    assert rates == [1, 1, 1, 1]
    assert "draft=None" in str(report)
    drafted = bench(Plan((1.0,), (1,), 20, 1, 2, draft=1.0), Subject(random=True, config=TINY))
    assert [row.tokens_a_pass for row in drafted.rows if row.stage == "transcription"] == [20]
    assert [flow.tokens_a_pass for flow in drafted.flows] == [20, 20]
    assert "right with probability 1" in str(drafted)
    assert json.loads(drafted.to_json())["draft"] == 1.0


def test_a_checkpoint_without_a_ctc_branch_has_no_text_to_replace():
    with pytest.raises(OptionError, match="CTC branch"):
        prepare(Plan(draft=0.9), Subject(random=True, config=replace(TINY, ctc=None)), lambda line: None)


def test_neither_loops_nor_end_tokens_end_a_text_here():
    checkpoint = backend.run(Subject(str(PARITY / "official")).load)
    assert checkpoint.tokenizer.end_ids is None
    works = stage_works(Recognizer(checkpoint), synthetic_speech(1.0), 2, Plan(tokens=70))
    assert works["decoding step"]() > 0
    [transcript] = Recognizer(checkpoint).transcribe_batch(
        [np.load(PARITY / "expected.npz")["audio"]], sampling=_most(70)
    )
    assert len(transcript.tokens) == 70  # 16 tokens before it loops, otherwise
    assert not transcript.repetition_stopped


def _most(tokens: int):
    from nanoasr.decode.sampling import Sampling

    return Sampling(max_tokens=tokens)


def test_the_synthetic_speech_is_speech_to_the_vad():
    samples = synthetic_speech(12.0)
    assert samples.shape == (12 * 16000,)
    heard = sum(span.end - span.start for span in find_segments(samples, VadOptions()))
    assert heard > 0.9 * len(samples)


def test_a_model_and_random_weights_exclude_each_other():
    with pytest.raises(OptionError, match="--random"):
        backend.run(Subject("nano", random=True).load)


@pytest.mark.parametrize("package", ["mlx-audio", "transformers", "funasr"])
def test_a_package_that_is_not_installed_is_one_clear_line(package):
    if importlib.util.find_spec(package.replace("-", "_")):
        pytest.skip(f"{package} is installed")
    with pytest.raises(NanoASRError, match=f"pip install {package}"):
        bench(replace(PLAN, seconds=(1.0,), batches=(1,), against=package), Subject(random=True, config=TINY))


@pytest.mark.parametrize("package", ["mlx-audio", "transformers"])
def test_a_package_that_is_installed_is_measured_on_the_same_weights(package):
    pytest.importorskip(package.replace("-", "_"))
    if package == "transformers":
        pytest.importorskip("torch")
    plan = Plan((1.0,), (1,), tokens=8, repeats=1, recordings=1, against=package)
    report = bench(plan, Subject(str(PARITY / "mlx_audio"), dtype="float32"))
    assert {contest.stage for contest in report.contests} == set(STAGES) - {"features", "prefill", "CTC branch"}
    [agreement] = [note for note in report.notes if "differ by at most" in note]
    assert float(agreement.split("at most ")[1].split()[0]) < 1e-4


def test_a_family_that_decodes_in_one_pass_has_fewer_stages():
    report = bench(PLAN, Subject(str(PARITY / "families/paraformer")))
    assert [row.stage for row in report.rows if row.batch == 3] == ["features", "encoder", "transcription"] * 2
    assert "tokens a text" not in str(report)


def test_funasr_reads_the_same_folder():
    pytest.importorskip("funasr")
    plan = Plan((1.0,), (1,), repeats=1, recordings=1, against="funasr")
    report = bench(plan, Subject(str(PARITY / "families/sensevoice"), dtype="float32"))
    assert [contest.stage for contest in report.contests] == ["transcription"]


@pytest.mark.parametrize(("package", "checkpoint"), [("funasr", "official"), ("transformers", "families/sensevoice")])
def test_a_package_that_lacks_the_family_is_refused(monkeypatch, package, checkpoint):
    monkeypatch.setattr("nanoasr.bench.stages.check_installed", lambda package: None)
    with pytest.raises(OptionError, match="use"):
        bench(replace(PLAN, against=package), Subject(str(PARITY / checkpoint)))


def test_the_command_prints_the_table_and_writes_json_and_chart(tmp_path, capsys):
    files = ("--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.html"))
    options = ("--seconds", "1", "--batch", "1,2", "--tokens", "4", "--repeats", "1", "--recordings", "2")
    assert cli.main(["bench", "--model", str(PARITY / "official"), *options, *files]) == 0
    assert "decoding step" in capsys.readouterr().out
    assert {row["batch"] for row in json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["rows"]} == {1, 2}
    assert (tmp_path / "b.html").stat().st_size > 1e5


@pytest.mark.parametrize(
    "arguments", [("--seconds", "0"), ("--seconds", "ten"), ("--batch", "1,0"), ("--repeats", "x"), ("--draft", "1.5")]
)
def test_a_plan_that_cannot_be_is_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "--random", *arguments])
    assert arguments[0] in capsys.readouterr().err
