"""Several settings on the same recordings."""

import csv
import io
from dataclasses import replace

import pytest
from places import PARITY

import nanoasr
from nanoasr import Sampling, plots
from nanoasr.introspection.compare import Result, Setting, compare, summarize, to_csv
from nanoasr.ui.recordings import shipped

NUMBER = next(str(path) for path in shipped() if path.name == "kokoro-number.wav")
SAID = "My number is seven three one, nine four one, three eight eight five."
GREEDY, WARM = Setting("greedy"), Setting("warm", Sampling(temperature=1.5))


@pytest.fixture(scope="module")
def asr():
    return nanoasr.load(dtype="float32")


@pytest.fixture(scope="module")
def results(asr):
    return compare(asr, [NUMBER], [GREEDY, WARM], [SAID], repeats=3)


def test_a_greedy_setting_runs_once_and_a_random_one_with_a_seed_each_time(results):
    assert [(result.setting.name, result.seed) for result in results] == [
        ("greedy", None), ("warm", 1), ("warm", 2), ("warm", 3),
    ]  # fmt: skip


def test_each_result_is_what_transcribe_gives_with_that_seed(asr, results):
    for result in results:
        sampling = replace(result.setting.sampling, seed=result.seed)
        assert asr.transcribe(NUMBER, sampling=sampling).text == result.text


def test_case_and_punctuation_are_no_errors(results):
    assert results[0].wer <= 0.25 and results[0].cer <= results[0].wer + 0.1


def test_results_tell_speed_memory_and_how_sure_the_model_was(results):
    for result in results:
        assert 0 < result.real_time_factor < 10 and result.model_megabytes > 1 and result.peak_memory > 0
        assert result.logprob < 0 and result.tokens > 5


def test_a_summary_gives_the_spread_over_the_repeats(results):
    greedy, warm = summarize(results)
    assert (greedy.repeats, warm.repeats) == (1, 3)
    assert greedy.wer.low == greedy.wer.mean == greedy.wer.high == results[0].wer
    assert (warm.logprob.low, warm.logprob.high) == pytest.approx(
        (min(r.logprob for r in results[1:]), max(r.logprob for r in results[1:]))
    )


def test_error_rates_of_several_recordings_count_their_words_together():
    rows = [
        Result("a", GREEDY, 1, None, text="one", reference="one two three four"),
        Result("b", GREEDY, 1, None, text="one", reference="one"),
    ]
    assert summarize(rows)[0].wer.mean == pytest.approx(3 / 5)


def test_a_quantized_model_is_compared_and_a_run_that_fails_says_why(asr):
    official = nanoasr.load(PARITY / "official", dtype="float32")
    short = Sampling(max_tokens=5)
    plain, small = compare(official, [NUMBER], [Setting("a", short), Setting("b", short, "all-4bit")])
    assert small.error is None and small.logprob != plain.logprob
    assert small.model_megabytes <= plain.model_megabytes  # the same on a CPU, which computes in float32
    good, bad, quantized = compare(asr, [NUMBER], [GREEDY, Setting("x", language="xx"), Setting("y", quantize="2bit")])
    assert good.text and "language 'xx'" in bad.error and "2bit" in quantized.error


def test_a_checkpoint_that_is_quantized_already_is_compared_in_fewer_bits_and_says_so(asr):
    plain, small = compare(asr, [NUMBER], [GREEDY, Setting("four", quantize="all-4bit")])
    assert small.error is None and small.logprob != plain.logprob
    assert "4-bit made from 6-bit" in small.precision and "made from" not in plain.precision
    assert [summary.precision for summary in summarize([plain, small])] == [plain.precision, small.precision]


def test_other_checkpoints_are_loaded_one_after_the_other_and_one_that_cannot_be_leaves_the_others(asr):
    short, told = Sampling(max_tokens=5), []
    settings = [
        Setting("loaded", short),
        Setting("small", short, checkpoint=str(PARITY / "official")),
        Setting("missing", short, checkpoint="/no/such/folder"),
        Setting("bundled", short, checkpoint="bundled"),
    ]
    found = compare(asr, [NUMBER], settings, on_load=lambda setting, share: told.append((setting.name, share)))
    loaded, small, missing, bundled = found
    assert "neither a folder, nor a hub id, nor a preset" in missing.error and missing.source is None
    assert small.source.endswith("official") and small.text != loaded.text
    assert (bundled.text, bundled.source, bundled.precision) == (loaded.text, loaded.source, loaded.precision)
    assert [name for name, share in told if share == 0] == ["small", "missing", "bundled"]
    assert told[-1] == ("bundled", 1.0)


def test_the_same_checkpoint_in_fewer_bits_keeps_its_other_settings():
    official = nanoasr.load(PARITY / "official", audio_tokens="low")
    short = Sampling(max_tokens=5)
    found = compare(official, [NUMBER], [Setting("a", short), Setting("b", short, "llm-8bit")])
    again = nanoasr.load(PARITY / "official", audio_tokens="low", quantize="llm-8bit")
    assert found[1].text == again.transcribe(NUMBER, sampling=short).text


def test_results_come_as_they_are_done_and_it_can_be_cancelled(asr):
    seen = []
    found = compare(asr, [NUMBER], [GREEDY, WARM], on_result=seen.append, cancelled=lambda: bool(seen))
    assert found == seen and [result.setting for result in found] == [GREEDY]


def test_references_of_another_number_than_recordings_are_refused(asr):
    with pytest.raises(nanoasr.NanoASRError, match="2 references"):
        compare(asr, [NUMBER], [GREEDY], ["a", "b"])


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"repeats": True}, {"repeats": "3"}, {"settings": ["greedy"]}])
def test_arguments_of_another_type_are_refused(asr, wrong):
    arguments = {"recordings": [NUMBER], "settings": [GREEDY]} | wrong
    with pytest.raises(nanoasr.NanoASRError, match=next(iter(wrong))):
        compare(asr, **arguments)


def test_the_csv_reads_back_and_runs_no_formula(results):
    evil = replace(results[0], text='=cmd("x"), "quoted"\nand a line')
    rows = list(csv.DictReader(io.StringIO(to_csv([*results, evil]))))
    assert [row["text"] for row in rows[:-1]] == [result.text for result in results]
    assert [float(row["wer"]) for row in rows] == [result.wer for result in [*results, evil]]
    assert rows[-1]["text"] == "'" + evil.text


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", "\r\n=", "＝", "＋", "－", "＠", " =", "\u3000＝"]
)
def test_no_cell_starts_like_a_formula(start):
    evil = Result("a", GREEDY, 1, None, text=f"{start}cmd()", reference="fine = fine")
    [row] = csv.DictReader(io.StringIO(to_csv([evil]), newline=""))
    assert row["text"] == f"'{start}cmd()" and row["reference"] == "fine = fine"


def test_the_charts_show_error_rates_or_without_references_log_probabilities(results):
    summaries = summarize(results)
    chart = plots.quality_chart(summaries)
    assert chart.layout.xaxis.title.text == "word error rate"
    assert list(chart.data[0].x) == [summary.wer.mean for summary in summaries]
    unknown = summarize([replace(result, reference=None) for result in results])
    assert "log probability" in plots.quality_chart(unknown).layout.xaxis.title.text
    assert len(plots.speed_chart(unknown).data[0].x) == 2
