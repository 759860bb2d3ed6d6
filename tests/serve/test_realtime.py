"""Live transcription over the WebSocket."""

import asyncio
import base64
import json
import socket

import numpy as np
import openai
import pytest
import soundfile
import websockets
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from serve.serving import COMMAND, LECTURE, NUMBER, TRANSCRIPTION, Served, Talker, speech_bytes, wait_for

from nanoasr.serve import realtime
from nanoasr.serve.realtime_items import REVISED

MANUAL = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
COMPLETED = f"{TRANSCRIPTION}.completed"


def audio_input(**settings: object) -> dict:
    return {"type": "transcription", "audio": {"input": settings}}


def update(**settings: object) -> str:
    return json.dumps({"type": "session.update", "session": audio_input(**settings)})


async def converse(served: Served, content: bytes, count: int, *setup: tuple[str, dict], **options: object) -> Talker:
    """Say something under these settings and hear so many items."""
    async with Talker(served, **options) as talker:
        for kind, session in setup:
            await talker.send(kind, session=session)
        await talker.say(content)
        await talker.until("conversation.item.done", count)
    return talker


@pytest.fixture(scope="module")
def turns(served) -> Talker:
    """Two utterances, with turn detection."""
    long_pauses = audio_input(turn_detection={"type": "server_vad", "silence_duration_ms": 900})
    content = speech_bytes(0.5, NUMBER, 2.0, COMMAND, 2.0)
    return asyncio.run(converse(served, content, 2, ("session.update", long_pauses)))


def test_every_turn_is_an_item_with_its_events_in_order(turns):
    ids = [event["item_id"] for event in turns.of("input_audio_buffer.speech_started")]
    assert len(set(ids)) == 2
    for item_id in ids:
        kinds = [e["type"] for e in turns.events if item_id in (e.get("item_id"), e.get("item", {}).get("id"))]
        assert [kind for kind in kinds if not kind.endswith("delta")] == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.created",
            "conversation.item.added",
            COMPLETED,
            "conversation.item.done",
        ]
    assert turns.of("input_audio_buffer.committed")[1]["previous_item_id"] == ids[0]
    starts = [event["audio_start_ms"] for event in turns.of("input_audio_buffer.speech_started")]
    assert 200 < starts[0] < 800 and starts[1] > 6000


def test_deltas_joined_are_the_completed_text(turns, texts):
    first, second = (event for event in turns.of(COMPLETED))
    assert [first["transcript"], second["transcript"]] == [texts[NUMBER], texts[COMMAND]]
    assert turns.text(first["item_id"]) == first["transcript"]


def test_events_are_those_that_the_openai_package_knows(turns):
    adapter = TypeAdapter(RealtimeServerEvent)
    for event in turns.events:
        assert adapter.validate_python(event).type == event["type"]
    assert len({event["event_id"] for event in turns.events}) == len(turns.events)


def test_what_the_client_commits_is_one_item(served, asr):
    async def talk() -> Talker:
        async with Talker(served) as talker:
            await talker.send("session.update", session=MANUAL)
            await talker.say(speech_bytes(NUMBER, 2.0, COMMAND))
            await talker.send("input_audio_buffer.commit")
            await talker.until(COMPLETED)
            await talker.say(speech_bytes(COMMAND))
            await talker.send("input_audio_buffer.commit")
            await talker.until(COMPLETED)
        return talker

    talker = asyncio.run(talk())
    pcm = np.frombuffer(speech_bytes(NUMBER, 2.0, COMMAND), "<i2").astype(np.float32) / 32768
    first, second = talker.of(COMPLETED)
    assert first["transcript"] == asr.transcribe(pcm, sample_rate=24000).text
    assert second["transcript"] == asr.transcribe(COMMAND).text
    assert not talker.of("input_audio_buffer.speech_started")
    committed = [event["item_id"] for event in talker.of("input_audio_buffer.committed")]
    assert committed == [first["item_id"], second["item_id"]]


def test_a_final_text_that_differs_from_its_deltas_is_told(served, texts):
    async def talk() -> Talker:
        async with Talker(served) as talker:
            await talker.send("session.update", session=MANUAL)
            await talker.say(speech_bytes(LECTURE))  # its pauses are cut while it lasts, and not in the end
            await talker.send("input_audio_buffer.commit")
            await talker.until(COMPLETED)
        return talker

    talker = asyncio.run(talk())
    [revised], [completed] = talker.of(REVISED), talker.of(COMPLETED)
    assert talker.text(completed["item_id"]) == revised["committed"] != ""
    assert not completed["transcript"].startswith(revised["committed"])
    assert revised["transcript"] == completed["transcript"]
    assert talker.events.index(revised) < talker.events.index(completed)


@pytest.mark.parametrize("kind", ["audio/pcm", "audio/pcmu", "audio/pcma"])
def test_other_audio_formats_are_understood(served, texts, kind, tmp_path):
    if kind == "audio/pcm":
        content, form = speech_bytes(NUMBER, 1.5, rate=16000), {"type": kind, "rate": 16000}
    else:
        pcm = np.frombuffer(speech_bytes(NUMBER, 1.5, rate=8000), "<i2")
        subtype = "ULAW" if kind == "audio/pcmu" else "ALAW"
        soundfile.write(tmp_path / "a.raw", pcm, 8000, format="RAW", subtype=subtype)
        content, form = (tmp_path / "a.raw").read_bytes(), {"type": kind}
    settings = audio_input(format=form, turn_detection={"type": "server_vad", "silence_duration_ms": 900})
    talker = asyncio.run(converse(served, content, 1, ("session.update", settings)))
    said = talker.of(COMPLETED)[0]["transcript"]
    assert said == texts[NUMBER] or kind != "audio/pcm"
    assert set(said.split()) >= {"seven", "three", "nine", "eight"}  # a telephone's band loses some


def test_the_earlier_session_events_are_taken(served, texts):
    settings = {
        "input_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1", "language": "en", "prompt": "lamp"},
        "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 900},
        "input_audio_noise_reduction": {"type": "near_field"},
        "include": ["item.input_audio_transcription.logprobs"],
    }
    beta = {"additional_headers": {"OpenAI-Beta": "realtime=v1"}}
    setup = ("transcription_session.update", settings)
    talker = asyncio.run(converse(served, speech_bytes(COMMAND, 2.0), 1, setup, **beta))
    assert talker.events[0]["type"] == "transcription_session.created"
    [updated] = talker.of("transcription_session.updated")
    assert updated["session"]["input_audio_transcription"]["language"] == "en"
    [completed] = talker.of(COMPLETED)
    assert "".join(entry["token"] for entry in completed["logprobs"]).strip() == completed["transcript"]


def test_what_an_update_leaves_out_stays(served):
    async def talk() -> Talker:
        async with Talker(served) as talker:
            await talker.send("session.update", session=audio_input(transcription={"language": "en"}))
            await talker.send("session.update", session=audio_input(turn_detection=None))
            await talker.send("session.update", session=audio_input(turn_detection={"type": "semantic_vad"}))
            await talker.until("session.updated", 3)
        return talker

    heard = [event["session"]["audio"]["input"] for event in asyncio.run(talk()).of("session.updated")]
    assert [settings["transcription"]["language"] for settings in heard] == ["en"] * 3
    assert [bool(settings["turn_detection"]) for settings in heard] == [True, False, True]


def test_clear_forgets_the_buffer(served):
    async def talk() -> Talker:
        async with Talker(served) as talker:
            await talker.send("session.update", session=MANUAL)
            await talker.say(speech_bytes(NUMBER))
            await talker.send("input_audio_buffer.clear")
            await talker.until("input_audio_buffer.cleared")
            await talker.send("input_audio_buffer.commit", event_id="mine")
            await talker.until("error")
        return talker

    error = asyncio.run(talk()).events[-1]["error"]
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "invalid_json"),
        (b"\x00\x01", "invalid_json"),
        ("[1]", "invalid_json"),
        ('{"type": "response.create"}', "invalid_value"),
        ('{"type": {"a": 1}}', "invalid_value"),
        ('{"type": "input_audio_buffer.append"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "not base64!"}', "invalid_value"),
        ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty"),
        ('{"type": "session.update"}', "invalid_value"),
        ('{"type": "session.update", "session": {"type": "realtime"}}', "invalid_value"),
        ('{"type": "session.update", "session": {"audio": {"input": {"format": {"rate": 1}}}}}', "invalid_value"),
        ('{"type": "session.update", "session": {"audio": {"input": {"format": "pcm"}}}}', "invalid_value"),
        (update(transcription={"model": "x"}), "model_not_found"),
        (update(transcription={"language": "xx"}), "invalid_value"),
        ('{"type": "transcription_session.update", "session": {"input_audio_format": "mp3"}}', "invalid_value"),
        ('{"type": "transcription_session.update", "session": {"turn_detection": {"type": "x"}}}', "invalid_value"),
        ('{"type": "transcription_session.update", "session": {"include": ["x"]}}', "invalid_value"),
    ],
)  # fmt: skip
def test_a_bad_event_is_answered_and_the_session_goes_on(served, message, code):
    async def talk() -> Talker:
        async with Talker(served) as talker:
            await talker.socket.send(message)
            await talker.until("error")
            await talker.send("session.update", session={"type": "transcription"})
            await talker.until("session.updated")
        return talker

    [error] = asyncio.run(talk()).of("error")
    assert error["error"]["code"] == code
    assert error["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("query", "status"), [("?intent=conversation", 400), ("?model=gpt-4o", 404)])
def test_a_connection_that_cannot_be_served_is_refused_with_its_reason(served, query, status):
    async def connect() -> websockets.Response:
        with pytest.raises(websockets.InvalidStatus) as caught:
            await websockets.connect(served.socket_url + query)
        return caught.value.response

    response = asyncio.run(connect())
    assert response.status_code == status
    assert json.loads(response.body)["error"]["type"] == "invalid_request_error"


def test_the_openai_realtime_client_transcribes(served, texts):
    async def talk() -> tuple[str, str]:
        async with (
            openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client,
            client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
        ):
            await connection.session.update(session=MANUAL)
            await connection.input_audio_buffer.append(audio=base64.b64encode(speech_bytes(COMMAND)).decode())
            await connection.input_audio_buffer.commit()
            deltas = []
            async for event in connection:
                if event.type == f"{TRANSCRIPTION}.delta":
                    deltas.append(event.delta)
                if event.type == COMPLETED:
                    return "".join(deltas), event.transcript
        raise AssertionError

    assert asyncio.run(talk()) == (texts[COMMAND], texts[COMMAND])


def test_a_session_ends_at_its_longest(guarded):
    async def talk() -> tuple[Talker, int]:
        key = {"additional_headers": {"Authorization": "Bearer correct horse"}}
        async with Talker(guarded, **key) as talker:
            await talker.say(bytes(24000 * 2 * 7), step=48000)
            await talker.until("error")
            with pytest.raises(websockets.ConnectionClosed):
                await talker.until("never")
            return talker, talker.socket.close_code

    talker, code = asyncio.run(talk())
    assert (talker.events[-1]["error"]["code"], code) == ("session_expired", 1000)


@pytest.mark.slow
def test_a_client_that_does_not_read_is_told_and_cut_off(asr, monkeypatch):
    monkeypatch.setattr(realtime, "MOST_EVENTS", 20)
    served = Served({"bundled": asr}, send_buffer=4096)

    async def talk() -> Talker:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served.port))
        async with Talker(served, max_queue=1, sock=connection) as talker:
            for _ in range(40_000):  # more than the buffers of both sides hold
                try:
                    await talker.socket.send('{"type": "' + 60 * "x" + '"}')
                except websockets.ConnectionClosed:
                    break
            with pytest.raises(websockets.ConnectionClosed):
                await talker.until("never")
            return talker

    talker = asyncio.run(talk())
    assert talker.events[-1]["error"]["code"] == "client_too_slow"
    assert talker.socket.close_code == 1013
    served.close()


def test_a_burst_of_events_is_answered_one_by_one(served):
    async def talk() -> Talker:
        async with Talker(served, max_queue=None) as talker:
            frames = talker.socket.protocol
            for _ in range(realtime.MOST_EVENTS + 100):
                frames.send_text(b'{"type": "nothing"}')
            talker.socket.transport.write(b"".join(frames.data_to_send()))
            await talker.until("error", realtime.MOST_EVENTS + 100)
        return talker

    assert {event["error"]["code"] for event in asyncio.run(talk()).of("error")} == {"invalid_value"}


def test_eight_sessions_at_once_are_all_right(served, texts):
    settings = ("session.update", audio_input(turn_detection={"type": "server_vad", "silence_duration_ms": 900}))

    async def all_of_them() -> list[Talker]:
        say = [(speech_bytes(path, 2.0), path) for path in (NUMBER, COMMAND)] * 4
        return await asyncio.gather(*(converse(served, content, 1, settings) for content, _ in say))

    heard = [talker.of(COMPLETED)[0]["transcript"] for talker in asyncio.run(all_of_them())]
    assert heard == [texts[NUMBER], texts[COMMAND]] * 4
    wait_for(lambda: served.service.metrics.gauges.sessions == 0)
