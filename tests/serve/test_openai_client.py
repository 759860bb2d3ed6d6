"""The `openai` package, pointed at this server."""

import asyncio

import numpy as np
import openai
import pytest
import soundfile
from openai.types.audio import TranscriptionDiarized, TranscriptionVerbose
from serve.serving import COMMAND, LECTURE, NUMBER

import nanoasr
from nanoasr.audio import load_audio


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models_are_listed_and_described(client):
    assert [model.id for model in client.models.list()] == ["bundled", "whisper-1"]
    assert client.models.retrieve("whisper-1").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_json_has_the_text_and_the_seconds_of_audio(client, texts):
    answer = client.audio.transcriptions.create(file=NUMBER, model="bundled")
    assert answer.text == texts[NUMBER] != ""
    assert (answer.usage.type, round(answer.usage.seconds, 1)) == ("duration", 5.0)


def test_log_probabilities_come_on_request(client, asr):
    answer = client.audio.transcriptions.create(file=COMMAND, model="bundled", include=["logprobs"])
    tokens = asr.transcribe(COMMAND).tokens
    assert [entry.token for entry in answer.logprobs] == [token.text for token in tokens]
    assert [entry.logprob for entry in answer.logprobs] == pytest.approx([token.logprob for token in tokens], abs=1e-3)
    assert bytes(map(int, answer.logprobs[0].bytes)).decode() == tokens[0].text


def test_verbose_json_has_segments_and_words(client, texts, asr):
    answer = client.audio.transcriptions.create(
        file=NUMBER,
        model="bundled",
        language="en",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert isinstance(answer, TranscriptionVerbose)
    assert (answer.language, round(answer.duration, 1)) == ("english", 5.0)
    words = asr.transcribe(NUMBER, language="en").words
    assert [w.word for w in answer.words] == [w.text for w in words]
    assert [(w.start, w.end) for w in answer.words] == [(round(w.start, 3), round(w.end, 3)) for w in words]
    [segment] = answer.segments
    TranscriptionVerbose.model_validate(answer.model_dump())  # strictly typed clients can read it
    assert segment.text == answer.text
    assert segment.avg_logprob < 0 and segment.tokens and 0.2 < segment.compression_ratio < 2


def test_words_alone_come_without_segments(client):
    answer = client.audio.transcriptions.create(
        file=COMMAND, model="bundled", response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert answer.words and answer.segments is None


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_plain_formats_are_those_of_the_library(client, asr, form):
    answer = client.audio.transcriptions.create(file=NUMBER, model="bundled", response_format=form)
    expected = asr.transcribe(NUMBER)
    assert answer == {"text": expected.to_txt, "srt": expected.to_srt, "vtt": expected.to_vtt}[form]()


def test_a_stream_grows_to_the_text(client, texts):
    events = list(client.audio.transcriptions.create(file=LECTURE, model="bundled", stream=True))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    *_, segment, done = events
    assert len(deltas) > 5
    assert "".join(deltas) == done.text == texts[LECTURE]
    assert (segment.type, segment.text) == ("transcript.text.segment", texts[LECTURE])
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens
    assert done.usage.output_tokens > 5


def test_a_stream_of_several_segments_grows_to_the_text(client, asr, tmp_path):
    parts = [load_audio(path).samples for path in (NUMBER, COMMAND, LECTURE)]
    talk = np.concatenate([part for speech in parts for part in (speech, np.zeros(16000, np.float32))])
    soundfile.write(tmp_path / "talk.wav", talk, 16000)
    events = list(client.audio.transcriptions.create(file=tmp_path / "talk.wav", model="bundled", stream=True))
    expected = asr.transcribe(tmp_path / "talk.wav")
    assert len(expected.segments) > 1
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == expected.text
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert [segment.text for segment in segments] == [segment.text for segment in expected.segments]
    assert events[-1].text == expected.text


def test_a_stream_with_log_probabilities_has_those_of_every_token(client, asr):
    events = list(client.audio.transcriptions.create(file=COMMAND, model="bundled", stream=True, include=["logprobs"]))
    tokens = [token.text for token in asr.transcribe(COMMAND).tokens]
    deltas = [event for event in events if event.type == "transcript.text.delta"]
    assert [entry.token for event in deltas for entry in event.logprobs] == tokens
    assert [entry.token for entry in events[-1].logprobs] == tokens


def test_hotwords_of_every_field_reach_the_recognizer(client, asr):
    expected = asr.transcribe(LECTURE, hotwords=["country", "compatriot", "nation", "ask"]).text
    assert expected != asr.transcribe(LECTURE).text
    answer = client.audio.transcriptions.create(
        file=LECTURE,
        model="bundled",
        prompt="country, compatriot",
        keywords=["ask"],
        extra_body={"hotwords": "nation"},
    )
    assert answer.text == expected


def test_sampling_knobs_are_extra_fields(client, asr):
    knobs = {"top_k": 40, "seed": 3, "max_tokens": 20}
    expected = asr.transcribe(LECTURE, sampling=nanoasr.Sampling(temperature=1.5, **knobs)).text
    answer = client.audio.transcriptions.create(file=LECTURE, model="bundled", temperature=1.5, extra_body=knobs)
    assert answer.text == expected


@pytest.mark.parametrize("strategy", ["auto", {"type": "server_vad", "threshold": 0.4, "silence_duration_ms": 300}])
def test_chunking_strategies_are_taken(client, texts, strategy):
    answer = client.audio.transcriptions.create(file=COMMAND, model="bundled", chunking_strategy=strategy)
    assert answer.text == texts[COMMAND]


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.transcriptions.create(file=COMMAND, model="whisper-large")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_the_asynchronous_client_reads_and_streams(served, texts):
    async def both() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
            whole = await client.audio.transcriptions.create(file=COMMAND, model="whisper-1")
            stream = await client.audio.transcriptions.create(file=COMMAND, model="whisper-1", stream=True)
            return whole.text, "".join([e.delta async for e in stream if e.type == "transcript.text.delta"])

    assert asyncio.run(both()) == (texts[COMMAND], texts[COMMAND])


def test_diarized_json_names_speakers(client):
    answer = client.audio.transcriptions.create(file=NUMBER, model="bundled", response_format="diarized_json")
    assert isinstance(answer, TranscriptionDiarized)
    TranscriptionDiarized.model_validate(answer.model_dump())
    assert answer.segments and all(segment.speaker for segment in answer.segments)


def test_a_diarized_stream_names_the_speaker_of_every_segment(client):
    events = list(
        client.audio.transcriptions.create(file=NUMBER, model="bundled", response_format="diarized_json", stream=True)
    )
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert segments and all(segment.speaker for segment in segments)
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == events[-1].text


def test_the_number_of_speakers_may_be_said(client):
    answer = client.audio.transcriptions.create(
        file=NUMBER, model="bundled", response_format="verbose_json", extra_body={"speakers": 1}
    )
    assert {segment.speaker for segment in answer.segments} == {"S1"}
