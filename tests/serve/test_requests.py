"""What the routes answer: errors, limits, keys, metrics, and the log."""

import asyncio
import http.client
import io
import json
import logging
import re
import socket
import wave

import numpy as np
import pytest
import websockets
from serve.conftest import KEY
from serve.serving import COMMAND, NUMBER, ROUTE, SPEECH, Served, Talker, error_of, multipart, post, request, wait_for

import nanoasr
from nanoasr.decode.sampling import Sampling
from nanoasr.serve.errors import APIError
from nanoasr.serve.models import Models
from nanoasr.serve.options import vad_options

BEARER = {"authorization": f"Bearer {KEY}"}


def wav(seconds: float, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(bytes(2 * round(seconds * rate)))
    return file.getvalue()


# Errors


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("POST", "/v1/chat/completions", 404, "not_found"),
        ("GET", "/v1/models/../../etc/passwd", 404, "model_not_found"),
        ("GET", "/v1/models/%00%ff", 404, "model_not_found"),
        ("GET", ROUTE, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", ROUTE, 400, "invalid_body"),
    ],
)
def test_errors_have_the_form_of_openai(served, method, path, status, code):
    found, headers, answer = request(served, method, path)
    assert (found, headers["content-type"]) == (status, "application/json")
    assert error_of(answer)["code"] == code


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "xml"}, "response_format"),
        ({"timestamp_granularities[]": "sentence"}, "timestamp_granularities"),
        ({"include[]": "everything"}, "include"),
        ({"stream": "maybe"}, "stream"),
        ({"itn": "yes please"}, "itn"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": "-1"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": "1e999"}, "temperature"),
        ({"top_k": "1.5"}, "top_k"),
        ({"seed": "9" * 400}, "seed"),
        ({"chunking_strategy": "{"}, "chunking_strategy"),
        ({"chunking_strategy": '{"type": "other"}'}, "chunking_strategy"),
        ({"chunking_strategy": '{"type": "server_vad", "threshold": "x"}'}, "chunking_strategy"),
        ({"chunking_strategy": "[" * 100_000}, "chunking_strategy"),
        ({"known_speaker_names[]": "Ann"}, "known_speaker_names"),
        ({"language": "klingon"}, None),
        ({"language": "klingon", "stream": "true"}, None),
        ({"hotwords": "<|im_end|>"}, None),
        ({"model": ""}, "model"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_field_that_cannot_be_used_is_named(served, fields, param):
    status, answer = post(served, {"model": "bundled"} | fields, COMMAND)
    assert status == 400
    assert error_of(answer)["param"] == param


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no audio",
        b"RIFF\xff\xff\xff\xffWAVE",
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd",
        wav(0.01),
    ],
    ids=["empty", "text", "header", "playlist", "concat", "too short"],
)
def test_what_is_no_recording_is_refused(served, content):
    status, answer = post(served, {"model": "bundled"}, content)
    assert status == 400
    assert error_of(answer)["message"].startswith("file: ")


def test_what_is_not_http_is_answered_in_the_same_form(served):
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert error_of(answer.partition(b"\r\n\r\n")[2])["type"] == "invalid_request_error"


def test_an_error_inside_is_a_500_without_details(served, monkeypatch):
    def fail() -> str:
        raise RuntimeError("a secret")

    monkeypatch.setattr(served.service.metrics, "text", fail)
    status, _, answer = request(served, "GET", "/metrics")
    assert status == 500
    assert "secret" not in error_of(answer)["message"]


# Limits


def test_a_large_upload_is_refused_before_it_is_read(guarded):
    connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=10)
    headers = BEARER | {"content-type": "multipart/form-data; boundary=b", "content-length": str(2**40)}
    connection.putrequest("POST", ROUTE)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()  # of the body, nothing was sent
    assert response.status == 413
    assert error_of(response.read())["code"] == "file_too_large"
    connection.close()


def test_an_upload_of_unknown_size_is_cut_off_at_the_limit(guarded):
    sent = 0
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as connection:
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
        start = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        try:
            for chunk in [start, *[bytes(2**16)] * 1000]:
                connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                sent += len(chunk)
        except OSError:
            pass
        else:
            raise AssertionError("everything was taken")
    assert sent < 20 * 2**20


def test_a_file_over_the_limit_is_refused_though_its_form_is_not(guarded):
    status, answer = post(guarded, {"model": "tiny"}, bytes(2**20), **BEARER)
    assert (status, error_of(answer)["param"]) == (413, "file")


@pytest.mark.parametrize(("path", "headers", "status"), [(ROUTE, {}, 401), ("/v1/nothing", BEARER, 404)])
def test_a_client_that_sends_everything_first_reads_why_it_was_refused(guarded, path, headers, status):
    found, _, answer = request(guarded, "POST", path, bytes(2**21 - 2**16), **headers)
    assert found == status
    error_of(answer)


def test_uploads_together_are_bounded(served, monkeypatch):
    room = served.service.room
    before = room.left
    assert post(served, {"model": "bundled"}, COMMAND)[0] == 200
    assert room.left == before
    monkeypatch.setattr(room, "left", 20_000)
    status, answer = post(served, {"model": "bundled"}, COMMAND)
    assert (status, error_of(answer)["code"], room.left) == (503, "busy", 20_000)


def test_a_long_recording_is_refused_before_it_is_transcribed(guarded):
    before = guarded.service.metrics.text()
    status, answer = post(guarded, {"model": "tiny"}, wav(6.5), **BEARER)
    assert (status, error_of(answer)["code"]) == (413, "audio_too_long")
    audio = re.compile(r"^nanoasr_audio_seconds_total .*$", re.M)
    assert audio.search(before)[0] == audio.search(guarded.service.metrics.text())[0]


def test_silence_is_an_empty_text(guarded):
    status, answer = post(guarded, {"model": "tiny"}, wav(2), **BEARER)
    assert (status, json.loads(answer)["text"]) == (200, "")


def test_a_full_line_refuses_at_once(served, monkeypatch):
    monkeypatch.setattr(served.service.work, "_admitted", 10_000)
    status, headers, answer = request(served, "POST", ROUTE)
    assert (status, headers["retry-after"]) == (429, "5")
    assert error_of(answer)["type"] == "rate_limit_error"


# Keys and origins


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/tiny", ROUTE, "/metrics", "/openapi.json", "/", "/health/"])
@pytest.mark.parametrize("key", [None, "", "Bearer", "Bearer wrong", f"Bearer {KEY}x", f"Basic {KEY}", "Bearer kéy"])
def test_a_wrong_key_passes_no_route(guarded, path, key):
    headers = {} if key is None else {"authorization": key.encode().decode("latin-1")}
    for method in ("GET", "POST", "OPTIONS"):
        status, _, answer = request(guarded, method, path, **headers)
        assert (status, error_of(answer)["code"]) == (401, "invalid_api_key")


def test_the_right_key_passes_and_health_needs_none(guarded):
    assert request(guarded, "GET", "/v1/models", **BEARER)[0] == 200
    assert json.loads(request(guarded, "GET", "/health")[2]) == {"status": "ok", "version": nanoasr.__version__}


async def refused(guarded: Served, protocol: str | None) -> int:
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(guarded.socket_url, subprotocols=["realtime", protocol] if protocol else None)
    assert error_of(caught.value.response.body)["code"] == "invalid_api_key"
    return caught.value.response.status_code


@pytest.mark.parametrize("protocol", [None, "openai-insecure-api-key.wrong"])
def test_a_wrong_key_opens_no_websocket(guarded, protocol):
    assert asyncio.run(refused(guarded, protocol)) == 401


def test_browsers_send_the_key_of_a_websocket_as_a_protocol(asr):
    async def talk() -> str:
        protocols = ["realtime", "openai-insecure-api-key.abc", "openai-beta.realtime-v1"]
        async with Talker(server, subprotocols=protocols) as talker:
            await talker.until("session.created")
            return talker.socket.subprotocol

    server = Served({"bundled": asr}, api_key="abc")
    try:
        assert asyncio.run(talk()) == "realtime"
    finally:
        server.close()


@pytest.mark.parametrize(("origin", "allowed"), [("https://page.example", True), ("https://other.example", False)])
def test_only_pages_of_given_origins_may_call(guarded, origin, allowed):
    preflight = {"origin": origin, "access_control_request_method": "POST"}
    for headers in (request(guarded, "GET", "/v1/models", origin=origin, **BEARER)[1],
                    request(guarded, "OPTIONS", ROUTE, **preflight)[1]):  # fmt: skip
        assert (headers.get("access-control-allow-origin") == origin) == allowed

    async def connect() -> int:
        key = {"Authorization": f"Bearer {KEY}"}
        try:
            async with websockets.connect(guarded.socket_url, origin=origin, additional_headers=key):
                return 101
        except websockets.InvalidStatus as error:
            return error.response.status_code

    assert asyncio.run(connect()) == (101 if allowed else 403)


def test_without_origins_no_page_may_call(served):
    headers = request(served, "GET", "/v1/models", origin="https://page.example")[1]
    assert not [name for name in headers if name.startswith("access-control")]


# Models


def test_a_model_is_loaded_on_request_where_that_is_allowed(asr):
    async def load(models: Models, *names: str) -> list:
        return await asyncio.gather(*(models.get(name) for name in names))

    loads = []
    models = Models({"bundled": asr}, allow_load=True, load=lambda name: loads.append(name) or asr)
    assert asyncio.run(load(models, "nano", "nano", "owner/name")) == [asr, asr, asr]
    assert sorted(loads) == ["nano", "owner/name"]
    assert models.names == ["bundled", "nano", "owner/name"]
    for name in ("/etc", "..", "tests/parity", "~", "https://example.org/model", "", "a/b/c"):
        with pytest.raises(APIError) as caught:
            asyncio.run(models.get(name))
        assert caught.value.status == 404
    with pytest.raises(APIError):
        asyncio.run(Models({"bundled": asr}).get("nano"))


# Metrics, log, document


def test_metrics_tell_what_was_served(served):
    post(served, {"model": "bundled"}, COMMAND)
    lines = request(served, "GET", "/metrics")[2].decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    route = f'route="{ROUTE}"'
    assert int(values[f'nanoasr_requests_total{{{route},status="200"}}']) >= 1
    buckets = [int(value) for name, value in values.items() if f"bucket{{{route}" in name]
    assert buckets == sorted(buckets) and buckets[-1] == int(values[f"nanoasr_request_seconds_count{{{route}}}"])
    assert float(values["nanoasr_audio_seconds_total"]) > 1
    assert 0 < float(values["nanoasr_real_time_factor"]) < 50
    assert float(values["nanoasr_resident_memory_bytes"]) > 1e7
    assert values["nanoasr_queue"] == values["nanoasr_running"] == "0"
    named = {re.match(r"nanoasr_\w+?(?=_bucket|_sum|_count|\{| |$)", name)[0] for name in values}
    assert named == {line.split()[2] for line in lines if line.startswith("# TYPE")}


def test_the_access_log_is_json_without_texts(served, caplog, texts):
    with caplog.at_level(logging.INFO, "nanoasr.serve.access"):
        post(served, {"model": "bundled", "prompt": "confidential"}, COMMAND)
        request(served, "GET", "/v1/models/secret?token=secret")
        wait_for(lambda: len(caplog.records) == 2)
    first, second = (json.loads(record.message) for record in caplog.records)
    assert first | {"time": 0, "ms": 0} == {
        "time": 0, "client": "127.0.0.1", "method": "POST", "route": ROUTE, "status": 200, "ms": 0,
        "model": "bundled", "audio_seconds": pytest.approx(1.5, abs=1),
    }  # fmt: skip
    assert (second["route"], second["status"]) == ("/v1/models/{id}", 404)
    assert not any(word in caplog.text for word in ("confidential", "secret", *texts[COMMAND].split()))


def test_the_openapi_document_describes_every_route_and_field(served):
    document = json.loads(request(served, "GET", "/openapi.json")[2])
    routes = {route.path.replace(":path", "") for route in served.app.routes}
    assert set(document["paths"]) == routes - {"/openapi.json", "/v1/realtime"}
    form = document["paths"][ROUTE]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file", "model"]
    assert set(Sampling.__dataclass_fields__) < set(form["properties"])
    for name, schema in form["properties"].items():
        if name not in ("file", "model", "prompt", "hotwords", "keywords[]", "language", "languages[]"):
            bad = {"integer": "1.5", "number": "x"}.get(schema.get("type"), "what?")
            assert post(served, {"model": "bundled", name: bad}, COMMAND)[0] == 400, name


# Forms


def test_fields_may_come_before_or_after_the_file_and_any_name_will_do(served, texts):
    body, kind = multipart({"model": "bundled"}, NUMBER.read_bytes(), name="../../etc/passwd")
    parts = body.split(b"--bound")
    turned = b"--bound".join([parts[0], parts[2], parts[1], parts[3]])
    for content in (body, turned):
        status, _, answer = request(served, "POST", ROUTE, content, content_type=kind)
        assert (status, json.loads(answer)["text"]) == (200, texts[NUMBER])


@pytest.mark.parametrize("name", ["jfk.flac", "digits/test-00.opus"])
def test_other_kinds_of_files_are_read(served, asr, name):
    path = SPEECH / name
    assert json.loads(post(served, {"model": "bundled"}, path)[1])["text"] == asr.transcribe(path).text


def test_server_vad_settings_are_moved_into_the_range_of_the_detector():
    options = vad_options(0.0, 2000, 100)
    assert (options.threshold, options.pad, options.min_silence) == (0.2, 0.05, 0.1)
    assert vad_options(None, None, None) == nanoasr.VadOptions()
    assert np.isclose(vad_options(0.6, 300, 800).pad, 0.3)
