"""Everything that a recognizer does, by those without a language model."""

import itertools

import numpy as np
import pytest
from places import HERE, PARITY

import nanoasr
from nanoasr import backend
from nanoasr.families.base import DecodeOptions, SegmentJob
from nanoasr.families.sensevoice import collapse, frame_times, read_tags

FAMILIES = ("sensevoice", "paraformer", "paraformer_bicif", "paraformer_seaco")


@pytest.fixture(scope="module")
def recognizers() -> dict[str, nanoasr.Recognizer]:
    return {name: nanoasr.load(PARITY / "families" / name, dtype="float32") for name in FAMILIES}


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return np.load(PARITY / "families" / "sensevoice" / "expected.npz")["audio"]


@pytest.fixture(params=FAMILIES)
def asr(request, recognizers) -> nanoasr.Recognizer:
    return recognizers[request.param]


def test_a_checkpoint_tells_its_family(asr):
    info = asr.info()
    assert asr.family == info.family == asr.checkpoint.family
    assert info.audio_tokens is None
    assert info.timestamps
    assert f"({asr.family}, official layout)" in str(info)
    assert sum(info.parameters.values()) > 100_000


def test_recordings_in_a_batch_read_as_alone(asr, speech):
    recordings = [speech, speech[:50_000], speech[20_000:], speech[:30_000]]
    together = list(asr.transcribe_batch(recordings, batch_size=4))
    assert [t.text for t in together] == [asr.transcribe(recording).text for recording in recordings]
    assert len({t.text for t in together}) > 1


def test_a_long_recording_is_cut_and_its_words_have_times_of_the_whole(asr, speech):
    quiet = 1e-4 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    found = asr.transcribe(np.concatenate([speech, quiet] * 6))
    assert len(found.segments) > 2
    times = [(word.start, word.end) for word in found.words if word.start is not None]
    assert len(times) > 10
    assert all(0 <= start <= end <= found.duration for start, end in times)
    assert max(end for _, end in times) > 30
    for segment in found.segments:
        assert all(segment.start <= word.start <= word.end <= segment.end for word in segment.words if word.start)


def test_live_text_ends_as_the_whole_does(asr, speech):
    with asr.stream() as session:
        updates = [session.push(piece) for piece in np.array_split(speech, 15)]
        found = session.finish()
    whole = asr.transcribe(speech)
    assert (found.text, found.tags, found.language) == (whole.text, whole.tags, whole.language)
    assert any(update and update.tentative for update in updates)


def test_times_are_only_given_where_they_are_wanted(asr, speech):
    assert all(token.start is None for token in asr.transcribe(speech, timestamps=False).tokens)


def test_alternatives_are_the_likeliest_tokens(asr, speech):
    tokens = asr.transcribe(speech, alternatives=True).tokens
    assert all(token.alternatives[0].id == token.id for token in tokens)
    assert all(token.alternatives[0].logprob == pytest.approx(token.logprob, abs=1e-4) for token in tokens)


def test_silence_and_a_moment_of_sound_have_no_text(asr, speech):
    assert asr.transcribe(np.zeros(32_000, np.float32)).text == ""
    assert asr.transcribe(speech[8_000:8_500], vad=False).duration == pytest.approx(500 / 16_000)


def test_text_is_told_as_it_comes(asr, speech):
    told = []
    assert asr.transcribe(speech, on_token=told.append).text == "".join(told)


def test_a_cancelled_transcription_ends_without_text(asr, speech):
    assert asr.transcribe(speech, cancelled=lambda: True).text == ""


def test_attention_can_be_looked_at(asr, speech):
    x = asr.inspect(speech)
    for layer in (0, asr.encoder_layers - 1):
        weights = np.array(asr.attention(x, layer))
        assert weights.shape == (4, len(x.encoded), len(x.encoded))
        assert np.allclose(weights.sum(-1), 1, atol=1e-4)


def test_what_needs_a_language_model_says_so(asr, speech):
    with pytest.raises(nanoasr.NanoASRError, match="no language model"):
        asr.text_attention(speech)


def test_a_quantized_copy_loads_and_writes(asr, speech, tmp_path):
    folder = nanoasr.convert(asr.checkpoint.layout.folder, tmp_path / "c", quantize="all-8bit")
    assert nanoasr.load(folder).transcribe(speech).text


def test_segments_of_one_batch_may_have_hotwords_and_languages_of_their_own(recognizers, speech):
    for name, options in (
        ("paraformer_seaco", [DecodeOptions(hotwords=("今天",)), DecodeOptions(), DecodeOptions(hotwords=("reader",))]),
        ("sensevoice", [DecodeOptions(language="en"), DecodeOptions(), DecodeOptions(language="zh", itn=False)]),
    ):
        family = recognizers[name].model_family
        jobs = [SegmentJob(speech[: 40_000 + 1_600 * i], own) for i, own in enumerate(options)]

        def texts(jobs, family=family):
            batch = family.new_batch()
            batch.admit(jobs)
            return [result.segment.text for _, result in backend.run(batch.step)]

        assert texts(jobs) == [texts([job])[0] for job in jobs]


def test_sensevoice_hears_the_languages_it_was_trained_on(recognizers):
    assert {language.code for language in recognizers["sensevoice"].languages} == {"zh", "en", "yue", "ja", "ko"}


def test_units_have_the_times_of_funasrs_alignment():
    """Their frames are known: FunASR aligns the text again, and finds the frames in which each unit is likeliest."""
    expected = np.load(HERE / "data" / "funasr" / "ctc_times.npz")
    for i, logprobs in enumerate(expected["logprobs"]):
        queries = np.zeros((4, logprobs.shape[1]))  # blanks
        padded = np.concatenate([queries, logprobs])
        runs = list(collapse(padded.argmax(-1), padded.max(-1), 0))
        assert [run.id for run in runs] == expected[f"ids_{i}"].tolist()
        assert np.allclose([frame_times(run) for run in runs], expected[f"times_{i}"])


def test_what_ctc_writes_is_its_likeliest_units_without_repeats_and_blanks():
    ids = np.array([0, 5, 5, 0, 5, 7, 7, 0])
    runs = list(collapse(ids, np.array([0, -3, -1, 0, -2, -5, -4, 0.0]), 0))
    assert [(run.id, run.start, run.end) for run in runs] == [(5, 1, 3), (5, 4, 5), (7, 5, 7)]
    assert [(run.best, run.logprob) for run in runs] == [(2, -1), (4, -2), (6, -4)]
    assert not list(itertools.chain(collapse(ids[:1], ids[:1], 0), collapse(ids[:0], ids[:0], 0)))


def test_marks_become_tags():
    marks = [(0, "en"), (1, "HAPPY"), (2, "Speech"), (3, "withitn"), (40, "Laughter"), (50, "SAD"), (60, "Laughter")]
    tags = read_tags(marks)
    assert (tags.emotion, tags.events) == ("HAPPY", ("Speech", "Laughter"))
    assert read_tags([(0, "nospeech"), (2, "Event_UNK")]) == type(tags)()
