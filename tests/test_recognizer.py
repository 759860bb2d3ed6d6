"""The public API, on the small random network whose numbers three references agree on."""

import io
import json

import mlx.core as mx
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from places import PARITY, SPEECH

import nanoasr
from nanoasr.errors import OptionError

LAYOUTS = ("official", "transformers", "mlx_audio", "mlx_audio_plus")
CASES = {
    "plain": {},
    "english_hotwords_no_itn": {"language": "en", "hotwords": ["MLX", "开放时间"], "itn": False},
}
EXPECTED = np.load(PARITY / "expected.npz")
AUDIO = EXPECTED["audio"]


@pytest.fixture(scope="module")
def asr() -> nanoasr.Recognizer:
    return nanoasr.load(PARITY / "official", dtype="float32")


def relative_error(found: mx.array, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(np.array(found) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rate", ["low", "full"])
@pytest.mark.parametrize("case", CASES)
def test_every_stage_has_the_numbers_of_the_references(layout, rate, case):
    asr = nanoasr.load(PARITY / layout, audio_tokens=rate, dtype="float32")
    x = asr.inspect(AUDIO, **CASES[case])
    assert np.abs(np.array(x.features) - EXPECTED["features"]).max() < 1e-3
    assert relative_error(x.encoded, EXPECTED["encoded"]) < 1e-4
    assert relative_error(x.adapted, EXPECTED["adapted"]) < 1e-4
    if layout == "official":
        assert np.abs(np.array(x.ctc_logprobs) - EXPECTED["ctc_logprobs"]).max() < 1e-4 * 10
    else:
        assert x.ctc_logprobs is None
    prompt = f"{case}.{rate}"
    assert x.prefix_ids.tolist() == EXPECTED[f"{prompt}.prefix"].tolist()
    assert x.suffix_ids.tolist() == EXPECTED[f"{prompt}.suffix"].tolist()
    assert x.audio_tokens.shape[0] == (int(EXPECTED["low_rate_tokens"]) if rate == "low" else 55)
    assert relative_error(x.first_logits, EXPECTED[f"{prompt}.first_logits"]) < 1e-4
    transcript = asr.transcribe(AUDIO, sampling=nanoasr.Sampling(max_tokens=16), **CASES[case])
    assert [token.id for token in transcript.tokens] == EXPECTED[f"{prompt}.greedy"].tolist()


def test_a_transcript_says_what_it_cost(asr):
    t = asr.transcribe(AUDIO, sampling=nanoasr.Sampling(max_tokens=8))
    timings = t.timings
    assert timings.audio_seconds == t.duration == pytest.approx(3.3)
    assert timings.tokens == 8
    stages = timings.read + timings.vad + timings.features + timings.encoder + timings.adaptor
    stages += timings.prefill + timings.decode + timings.align
    assert 0 < stages <= timings.total
    assert timings.peak_memory > 1e6


@pytest.mark.parametrize("vad", [True, False])
def test_silence_is_not_decoded(asr, vad):
    for seconds in (0.5, 20):
        t = asr.transcribe(np.zeros(int(16000 * seconds), np.float32), vad=vad)
        assert (t.text, t.segments, t.timings.decode) == ("", (), 0.0)
        assert t.duration == seconds


def test_noise_is_not_decoded(asr):
    noise = np.random.default_rng(0).normal(0, 0.05, 16000 * 20).astype(np.float32)
    assert asr.transcribe(noise).text == ""
    assert asr.transcribe(noise[:80000]).text == ""


def test_a_recording_of_one_segment_is_decoded_whole(asr):
    padded = np.concatenate([np.zeros(32000, np.float32), AUDIO, np.zeros(32000, np.float32)])
    (segment,) = asr.transcribe(padded, sampling=nanoasr.Sampling(max_tokens=4)).segments
    assert (segment.start, segment.end) == (0.0, pytest.approx(len(padded) / 16000))


@pytest.mark.parametrize("vad", [True, False])
def test_long_audio_is_cut_into_segments_in_order(asr, vad):
    pause = np.zeros(16000, np.float32)
    long = np.concatenate([AUDIO, pause] * 12)
    t = asr.transcribe(long, vad=vad, sampling=nanoasr.Sampling(max_tokens=4))
    assert len(t.segments) >= 3
    edges = [edge for segment in t.segments for edge in (segment.start, segment.end)]
    assert edges == sorted(edges)
    assert edges[-1] <= t.duration == pytest.approx(len(long) / 16000)
    assert all(segment.end - segment.start <= 30 for segment in t.segments)


def test_a_batch_gives_what_each_recording_gives_alone_and_keeps_their_order(asr):
    sampling = nanoasr.Sampling(max_tokens=12)
    recordings = [AUDIO[: int(16000 * seconds)] for seconds in (3.3, 1.7, 2.9, 1.2, 3.0, 2.2, 1.9)]
    alone = [asr.transcribe(recording, sampling=sampling) for recording in recordings]
    for batch_size in (1, 2, 3, 16):
        together = list(asr.transcribe_batch(recordings, sampling=sampling, batch_size=batch_size))
        assert [[token.id for token in t.tokens] for t in together] == [[token.id for token in t.tokens] for t in alone]


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True)  # so that rounding decides the same way each time
@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(500, 22_000)), max_size=9), st.integers(1, 12))
def test_any_batch_gives_what_each_recording_gives_alone(asr, places, batch_size):
    options = {"sampling": nanoasr.Sampling(max_tokens=8), "vad": False, "language": "en"}
    recordings = [AUDIO[start : start + length] for start, length in places]
    together = asr.transcribe_batch(recordings, batch_size=batch_size, **options)
    for recording, t in zip(recordings, together, strict=True):
        alone = asr.transcribe(recording, **options)
        assert t.text == alone.text
        assert [token.id for token in t.tokens] == [token.id for token in alone.tokens]
        assert [token.logprob for token in t.tokens] == pytest.approx([x.logprob for x in alone.tokens], abs=1e-3)


def test_a_broken_file_yields_its_error_in_its_place(asr, tmp_path):
    text = tmp_path / "notes.wav"
    text.write_text("not audio at all")
    good = SPEECH / "LJ002-0020.wav"
    sources = [good, text, tmp_path / "gone.wav", np.zeros(10, np.float32), good]
    first, *errors, last = asr.transcribe_batch(sources, sampling=nanoasr.Sampling(max_tokens=4))
    assert first.text == last.text
    assert all(isinstance(error, nanoasr.NanoASRError) for error in errors)
    assert "notes.wav" in str(errors[0])
    assert "gone.wav" in str(errors[1])


@pytest.mark.parametrize("kind", ["name", "path", "bytes", "file", "samples", "rate and samples"])
def test_a_lone_recording_is_a_batch_of_one(asr, kind, tmp_path):
    path = tmp_path / "speech.wav"
    soundfile.write(path, AUDIO, 16000, subtype="FLOAT")
    with path.open("rb") as file:
        sources = {"name": str(path), "path": path, "bytes": path.read_bytes(), "file": file, "samples": AUDIO}
        lone = sources.get(kind, (16000, AUDIO))
        (t,) = asr.transcribe_batch(lone, sampling=nanoasr.Sampling(max_tokens=4))
    assert len(t.tokens) == 4


@pytest.mark.parametrize("sources", [None, 7, nanoasr.Sampling()])
def test_what_is_neither_a_recording_nor_a_list_of_them_is_an_error_at_once(asr, sources):
    with pytest.raises(OptionError, match="give a list of recordings"):
        asr.transcribe_batch(sources)


@pytest.mark.parametrize("size", [0, -1, 2.5, "4"])
def test_a_batch_size_that_cannot_be_is_an_error_at_once(asr, size):
    with pytest.raises(OptionError, match=r"batch_size=.*: must be a whole number, 1 or more"):
        asr.transcribe_batch([AUDIO], batch_size=size)


def test_an_abandoned_batch_leaves_nothing_running(asr):
    import threading

    batch = asr.transcribe_batch([AUDIO] * 50, sampling=nanoasr.Sampling(max_tokens=2), batch_size=2)
    next(batch)
    batch.close()
    for thread in threading.enumerate():
        if thread.name == "nanoasr-reader":
            thread.join(timeout=5)
            assert not thread.is_alive()


def test_files_bytes_and_arrays_of_any_rate_give_the_same(asr, tmp_path):
    path = tmp_path / "speech.wav"
    soundfile.write(path, AUDIO, 16000, subtype="FLOAT")
    sampling = nanoasr.Sampling(max_tokens=8)
    wanted = asr.transcribe(AUDIO, sampling=sampling).text
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert asr.transcribe(source, sampling=sampling).text == wanted
    assert asr.transcribe(AUDIO.repeat(3), sample_rate=48000, sampling=sampling).duration == pytest.approx(3.3)


def test_text_arrives_in_pieces_that_make_up_the_transcript(asr):
    pieces = []
    t = asr.transcribe(AUDIO, sampling=nanoasr.Sampling(max_tokens=16), on_token=pieces.append)
    assert len(pieces) > 1
    assert "".join(pieces) == t.text
    assert "�" not in t.text


def test_cancelling_ends_with_what_there_is(asr):
    pieces = []
    sampling = nanoasr.Sampling(max_tokens=400, temperature=1.5, seed=1)
    t = asr.transcribe(AUDIO, sampling=sampling, on_token=pieces.append, cancelled=lambda: len(pieces) >= 5)
    assert 0 < len(t.tokens) < 40


def test_the_same_seed_draws_the_same_text_and_another_another(asr):
    def draw(seed):
        sampling = nanoasr.Sampling(temperature=1.0, top_p=0.95, seed=seed, max_tokens=20)
        return [token.id for token in asr.transcribe(AUDIO, sampling=sampling).tokens]

    assert draw(7) == draw(7)
    assert len({tuple(draw(seed)) for seed in range(5)}) == 5


def test_alternatives_are_the_likeliest_tokens(asr):
    t = asr.transcribe(AUDIO, sampling=nanoasr.Sampling(max_tokens=6), alternatives=True)
    for token in t.tokens:
        assert len(token.alternatives) == 5
        assert token.alternatives[0].id == token.id
        assert token.alternatives[0].logprob == pytest.approx(token.logprob, abs=1e-4)


def test_times_are_never_invented(asr):
    # this network's CTC ids have no text, so there is nothing to align
    assert all(token.start is None and token.end is None for token in asr.transcribe(AUDIO).tokens)


def test_a_loop_is_cut_to_one_and_marked(asr):
    t = asr.transcribe(AUDIO, sampling=nanoasr.Sampling(max_tokens=200))
    assert t.repetition_stopped
    assert len(t.tokens) < 60


def test_inspect_refuses_what_is_longer_than_a_segment(asr):
    with pytest.raises(nanoasr.NanoASRError, match="30 s"):
        asr.inspect(np.ones(16000 * 31, np.float32))


def test_arrays_of_an_inspection_can_be_used_on_any_thread(asr):
    x = asr.inspect(AUDIO)
    assert np.isfinite(np.array(x.encoded + 1)).all()
    assert x.filterbank.shape == (328, 80)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"language": "klingon"}, "Chinese"),
        ({"hotwords": "MLX"}, "list"),
        ({"max_seconds": 1.0}, "1"),
        ({"language": 7}, "language=7"),
        ({"hotwords": ["MLX", 7]}, "7"),
        ({"sampling": 0.5}, "Sampling"),
        ({"vad": "on"}, "VadOptions"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
    ],
)
def test_bad_arguments_are_told_in_words(asr, arguments, said):
    with pytest.raises(nanoasr.NanoASRError, match=said):
        asr.transcribe(AUDIO, **arguments)


@pytest.mark.parametrize("arguments", [{"quantize": "3-bit"}, {"dtype": "float16"}, {"audio_tokens": "half"}])
def test_bad_loading_arguments_are_told_in_words(arguments):
    with pytest.raises(nanoasr.NanoASRError, match=next(iter(arguments.values()))):
        nanoasr.load(PARITY / "official", **arguments)


def test_results_save_in_every_format(asr, tmp_path):
    t = asr.transcribe(SPEECH / "LJ002-0020.wav", sampling=nanoasr.Sampling(max_tokens=8))
    for suffix in ("txt", "srt", "vtt", "json", "tsv"):
        t.save(tmp_path / f"talk.{suffix}")
    assert json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))["text"] == t.text
    assert nanoasr.Transcript.from_json(tmp_path / "talk.json") == t


def test_info_tells_what_is_loaded(asr):
    info = asr.info()
    assert info.layout == "official"
    assert sum(info.parameters.values()) == 738_704
    assert "float32" in str(info)


@pytest.mark.parametrize("preset", ["llm-8bit", "llm-4bit", "all-8bit", "all-4bit"])
def test_quantized_networks_run_and_count_the_same_parameters(asr, preset):
    quantized = nanoasr.load(PARITY / "official", quantize=preset)
    assert quantized.transcribe(AUDIO, sampling=nanoasr.Sampling(max_tokens=4)).tokens
    assert quantized.info().parameters == asr.info().parameters


def test_features_that_inspect_gave_are_read_as_the_recording_is(asr):
    sampling = nanoasr.Sampling(max_tokens=16)
    x = asr.inspect(AUDIO).features
    assert asr.transcribe_features(x, sampling=sampling) == asr.transcribe(AUDIO, sampling=sampling).text
    assert asr.transcribe_features(x * 1.0, sampling=sampling)  # not evaluated yet, on this thread


@pytest.mark.parametrize("shape", [(560,), (0, 560), (3, 80), (501, 560)])
def test_features_of_another_shape_are_refused(asr, shape):
    with pytest.raises(OptionError, match="frames"):
        asr.transcribe_features(np.zeros(shape, np.float32))
