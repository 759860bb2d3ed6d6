"""The figures: what they show is what was measured, and they stay small whatever the recording's length."""

from pathlib import Path

import numpy as np
import pytest

import nanoasr
from nanoasr import plots
from nanoasr.live.word_times import WordTime
from nanoasr.results.segments import Candidate
from nanoasr.results.transcript import Segment, Timings, Token, Transcript

HERE = Path(__file__).parent
CLIP = HERE / "data/speech/LJ002-0020.wav"


@pytest.fixture(scope="module")
def asr():
    return nanoasr.load(HERE / "parity/official", dtype="float32")


@pytest.fixture(scope="module")
def inspection(asr):
    return asr.inspect(CLIP)


def transcript(text: str = " one two", timed: bool = True) -> Transcript:
    first, second = ((0.1, 0.4), (0.5, 0.9)) if timed else ((None, None), (None, None))
    tokens = (Token(1, " one", -0.1, *first), Token(2, " two", -0.2, *second))
    return Transcript(text.strip(), (Segment(text.strip(), 0.0, 1.0, tokens),), None, 1.0)


def heatmaps(figure) -> list:
    return [trace for trace in figure.data if trace.type == "heatmap"]


def tone(seconds: float, hz: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * 16000)) / 16000)).astype(np.float32)


def test_a_tone_lights_the_mel_bin_of_its_frequency():
    heard = plots.sound(tone(2, 1000), 2)
    loudest = int(heard.mel[:, 50].argmax())
    spectrogram = heatmaps(plots.timeline(heard))[0]
    assert abs(int(spectrogram.customdata[loudest][50]) - 1000) < 60
    assert heard.peak == pytest.approx(0.5, abs=0.01)


def test_what_is_heard_stands_at_its_time():
    samples = np.concatenate([np.zeros(16000 * 40, np.float32), tone(20, 500)])
    heard = plots.sound(samples, 60)
    loudness = heard.mel.mean(axis=0)
    starts = np.argmax(loudness > (loudness.min() + loudness.max()) / 2) * 60 / len(loudness)
    assert starts == pytest.approx(40, abs=0.3)
    assert np.flatnonzero(heard.high > 0.1)[0] * 60 / len(heard.high) == pytest.approx(40, abs=0.3)


def test_a_long_recording_makes_no_larger_figure_than_a_short_one():
    sizes = [len(plots.timeline(plots.sound(tone(seconds, 300), seconds)).to_json()) for seconds in (10, 90)]
    assert sizes[1] < 1.2 * max(sizes[0], 800_000)


@pytest.mark.parametrize("seconds", [0.025, 0.03, 0.5, 29.99, 30.0, 30.01])
def test_recordings_of_any_length_leave_no_holes(seconds):
    heard = plots.sound(tone(seconds, 300), seconds)
    assert not np.isnan(heard.mel).any() and not np.isnan(heard.features).any()


def test_words_stand_on_the_time_axis_where_they_have_times():
    heard = plots.sound(tone(1, 300), 1)
    with_times = [bar for bar in plots.timeline(heard, transcript()).data if bar.type == "bar"]
    without = [bar for bar in plots.timeline(heard, transcript(timed=False)).data if bar.type == "bar"]
    assert [len(bar.x) for bar in with_times] == [1, 2] and [len(bar.x) for bar in without] == [1]
    assert list(with_times[1].base) == [0.1, 0.5]


def test_markup_in_a_transcript_is_shown_and_not_obeyed():
    heard = plots.sound(tone(1, 300), 1)
    figure = plots.timeline(heard, transcript(text='<a href="javascript:alert(1)">x</a>\x01'))
    assert "<a" not in figure.to_json() and "\\u003ca" not in figure.to_json()
    assert plots.plain("a<b>&\x01" + "x" * 50, 8) == "a&lt;b&gt;&amp;·x…"


def test_the_parts_of_the_timings_bar_add_up_to_the_total():
    timings = Timings(read=0.1, vad=0.2, decode=0.5, total=1.0, audio_seconds=3)
    bars = plots.timings_bar(timings).data
    assert sum(bar.x[0] for bar in bars) == pytest.approx(1.0)
    assert [bar.name for bar in bars if bar.x[0]] == ["read", "vad", "decode", "other"]
    assert len({bar.marker.color for bar in bars}) == len(bars)


def test_stages_add_up_to_the_total_when_reading_ran_beside_the_other_work():
    timings = Timings(read=0.6, vad=0.1, decode=0.9, total=1.0, audio_seconds=3)
    stages = {name: seconds for name, seconds, _ in plots.stage_seconds(timings)}
    assert sum(stages.values()) == pytest.approx(1.0) and stages["decode"] == 0.9


def test_silence_does_not_take_up_the_colour_scale():
    samples = np.concatenate([np.zeros(16000 * 9, np.float32), tone(1, 500)])
    spectrogram = heatmaps(plots.timeline(plots.sound(samples, 10)))[0]
    assert spectrogram.zmax - spectrogram.zmin <= 16


def test_no_plot_can_be_moved_out_of_the_recording(inspection):
    axes = [plots.filterbank_map(inspection).layout.xaxis, plots.timeline(plots.sound(tone(2, 300), 2)).layout.xaxis4]
    assert [axis.minallowed for axis in axes] == [0, 0]
    assert [axis.maxallowed for axis in axes] == [pytest.approx(inspection.samples.shape[0] / 16000), 2]


def test_every_figure_names_its_axes_and_is_see_through(inspection):
    figures = [
        plots.filterbank_map(inspection),
        plots.features_map(inspection),
        plots.encoded_map(inspection),
        plots.adapted_map(inspection),
        plots.similarity_map(inspection),
        plots.ctc_map(inspection),
        plots.first_token_bar(inspection),
    ]
    for figure in figures:
        assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
        assert len(figure.to_json()) < 600_000


def test_frames_are_most_like_themselves(inspection):
    z = plots.similarity_map(inspection).data[0].z
    assert np.allclose(np.diag(z), 1, atol=1e-5) and np.abs(z).max() <= 1 + 1e-5


def test_first_tokens_come_with_their_probabilities_and_names(inspection):
    bar = plots.first_token_bar(inspection, lambda i: f"token{i}").data[0]
    logits = np.array(inspection.first_logits)
    likeliest = int(logits.argmax())
    assert bar.y[-1] == f"token{likeliest} · {likeliest}"
    assert bar.x[-1] == pytest.approx(np.exp(logits.max()) / np.exp(logits.astype(np.float64)).sum(), rel=1e-4)


def test_a_checkpoint_without_ctc_has_no_ctc_map():
    other = nanoasr.load(HERE / "parity/transformers", dtype="float32").inspect(CLIP)
    assert plots.ctc_map(other) is None


def test_the_line_in_the_adaptor_map_stands_behind_the_frames_that_are_used(inspection):
    line = plots.adapted_map(inspection).layout.shapes[0]
    assert line.x0 == inspection.audio_tokens.shape[0] - 0.5


def test_words_stand_in_the_latency_chart_at_their_ends_as_high_as_they_were_late():
    words = [WordTime("one <b>", 0.5, 0.4, 1.0), WordTime("lost", None, 1.0, 1.0), WordTime("two", 1.0, 1.5, 2.5)]
    figure = plots.latency_chart(words, [(0.5, 0.1), (1.0, 0.2)], 3.0)
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert lines["first shown"].x == lines["final"].x == (0.5, 1.0)
    assert lines["first shown"].y == pytest.approx((-0.1, 0.5))
    assert lines["final"].y == pytest.approx((0.5, 1.5))
    assert lines["final"].text == ("one &lt;b&gt;", "two")
    assert lines["work for an update"].y == (0.1, 0.2)
    assert all(axis.title.text.endswith(", s") for axis in (figure.layout.xaxis, figure.layout.yaxis))


def test_the_words_of_a_long_talk_are_not_named_over_each_other():
    words = [WordTime("word", float(i), i + 0.5, i + 1.0) for i in range(100)]
    figure = plots.latency_chart(words, [], 100.0)
    assert not any(trace.text for trace in figure.data)
    assert plots.latency_chart([], [], 0.0).layout.xaxis.range == (0, 1)


def test_a_waveform_is_drawn_between_its_lowest_and_highest_samples(inspection):
    line = plots.wave_chart(inspection).data[0]
    samples = np.array(inspection.samples)
    assert (np.min(line.y), np.max(line.y)) == (samples.min(), samples.max())
    assert 0 < line.x[0] < line.x[-1] < len(samples) / 16000


def test_every_head_has_a_small_map_of_its_own(asr, inspection):
    weights = asr.attention(inspection)
    maps = heatmaps(plots.head_maps(inspection, weights))
    assert len(maps) == len(weights)
    assert [map.z.shape for map in maps] == [(26, 26)] * len(weights)
    assert np.allclose(maps[1].z, np.array(weights[1]), atol=1e-6)


def test_the_row_of_blank_is_that_of_the_family():
    found = nanoasr.load(HERE / "parity/families/sensevoice", dtype="float32").inspect(CLIP)
    figure = plots.ctc_map(found, blank=0)
    assert figure.layout.yaxis.ticktext[0] == "blank"
    assert np.allclose(figure.data[0].z[0], np.exp(np.array(found.ctc_logprobs)[:, 0]), atol=1e-6)
    assert not any(name.endswith(" · 0") for name in figure.layout.yaxis.ticktext)


def test_tokens_fire_in_the_chart_where_the_running_sum_reaches_one():
    found = nanoasr.load(HERE / "parity/families/paraformer", dtype="float32").inspect(CLIP)
    sums = np.array(found.peaks)
    *_, fired = plots.fire_chart(np.array(found.alphas), sums, 0.06, ["<b>"] * 99).data
    assert len(fired.x) == len(found.acoustic)
    assert np.allclose(np.array(fired.x), np.flatnonzero(sums >= 1 - 1e-4) * 0.06)
    assert set(fired.customdata) == {"&lt;b&gt;"}
    assert plots.acoustic_map(found).data[0].z.shape[1] == len(found.acoustic)


def test_hypotheses_of_a_beam_search_share_the_branch_of_their_common_beginning():
    texts = {"my number is one": -1.0, "my number is nine": -2.0, "by one": -3.0}
    nbest = tuple(Candidate(text, logprob, logprob) for text, logprob in texts.items())
    figure = plots.beam_tree([Segment("my number is one", 0.0, 1.0, nbest=nbest)])
    words = next(trace for trace in figure.data if trace.text and "my" in trace.text)
    assert sorted(words.text) == sorted(["my", "number", "is", "one", "nine", "by", "one"])
    assert plots.beam_tree([Segment("one", 0.0, 1.0)]) is None
