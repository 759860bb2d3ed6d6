"""Many clients at once, clients that leave, and clients that are slow."""

import asyncio
import io
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from serve.serving import COMMAND, LECTURE, NUMBER, ROUTE, Served, multipart, post, wait_for

from nanoasr.audio import load_audio, reader
from nanoasr.audio.detector import RemoteDetector, SharedPool
from nanoasr.serve import service, uploads, work
from nanoasr.serve.metrics import Gauges


@pytest.fixture(scope="module")
def lecture(tmp_path_factory) -> bytes:
    """Three minutes of speech."""
    sample = load_audio(NUMBER).samples
    path = tmp_path_factory.mktemp("lecture") / "lecture.flac"
    soundfile.write(path, np.tile(np.concatenate([sample, np.zeros(16000, np.float32)]), 30), 16000)
    return path.read_bytes()


@pytest.fixture(scope="module")
def clips(asr) -> list[tuple[bytes, str]]:
    """Sixteen recordings of a second and what is heard in them."""
    speech = np.concatenate([load_audio(path).samples for path in (NUMBER, COMMAND, LECTURE)])
    found = []
    for samples in speech[: 16 * 17_000].reshape(16, 17_000):
        file = io.BytesIO()
        soundfile.write(file, samples, 16000, format="WAV", subtype="FLOAT")
        found.append((file.getvalue(), asr.transcribe(samples).text))
    assert len({text for _, text in found}) > 8
    return found


def test_many_clients_at_once_are_all_answered_right(served, clips):
    clips = clips * 4
    with ThreadPoolExecutor(64) as clients:
        answers = list(clients.map(lambda clip: post(served, {"model": "bundled"}, clip[0]), clips))
    assert len(clips) == 64
    assert [(status, json.loads(answer).get("text")) for status, answer in answers] == [
        (200, text) for _, text in clips
    ]


def test_on_more_than_two_cores_speech_is_found_in_processes_of_its_own(asr, clips, monkeypatch):
    shared = SharedPool()
    monkeypatch.setattr(service, "shared_processes", shared)
    monkeypatch.setattr(reader, "shared_processes", shared)
    monkeypatch.setattr(service, "cores", lambda: 3)
    served = Served({"bundled": asr})
    for content, text in clips[:2]:
        assert json.loads(post(served, {"model": "bundled"}, content)[1])["text"] == text
    assert [type(detector) for detector in shared._pool._idle] == [RemoteDetector]
    served.close()
    assert not shared.running
    shared._end()


def start_stream(served: Served, file: bytes) -> socket.socket:
    """Ask for a stream and read its first event."""
    body, kind = multipart({"model": "bundled", "stream": "true"}, file)
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=60)
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    received = b""
    while b"data: " not in received:
        received += connection.recv(4096)
    return connection


def gone(served: Served) -> int:
    """How many requests were given up by their clients."""
    found = re.search(rf'requests_total{{route="{ROUTE}",status="499"}} (\d+)', served.service.metrics.text())
    return int(found[1]) if found else 0


@pytest.mark.parametrize("stream", [True, False])
def test_work_stops_when_the_client_has_left(served, lecture, stream):
    gauges, before = served.service.metrics.gauges, gone(served)
    if stream:
        connection = start_stream(served, lecture)
    else:
        body, kind = multipart({"model": "bundled"}, lecture)
        connection = socket.create_connection(("127.0.0.1", served.port))
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
    wait_for(lambda: gauges.running == 1)
    connection.close()
    wait_for(lambda: gauges.running == 0, 6)
    wait_for(lambda: gone(served) == before + 1)


def test_a_short_clip_is_answered_while_a_lecture_runs(served, lecture, texts):
    gauges = served.service.metrics.gauges
    connection = start_stream(served, lecture)
    try:
        status, answer = post(served, {"model": "bundled"}, COMMAND)
        assert (status, json.loads(answer)["text"]) == (200, texts[COMMAND])
        assert gauges.running == 1  # the lecture still runs
    finally:
        connection.close()
    wait_for(lambda: gauges.running == 0)


def test_slow_uploads_do_not_block_others(served, texts):
    body, kind = multipart({"model": "bundled"}, COMMAND.read_bytes())
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    slow = [socket.create_connection(("127.0.0.1", served.port), timeout=60) for _ in range(80)]
    try:
        for connection in slow:
            connection.sendall(head.encode() + body[:1000])
        began = time.monotonic()
        status, answer = post(served, {"model": "bundled"}, COMMAND)
        assert (status, json.loads(answer)["text"]) == (200, texts[COMMAND])
        assert time.monotonic() - began < 20
        slow[0].sendall(body[1000:])  # a slow one is answered, too
        assert slow[0].recv(4096).startswith(b"HTTP/1.1 200")
    finally:
        for connection in slow:
            connection.close()


def test_an_upload_that_stops_is_given_up(served, monkeypatch):
    monkeypatch.setattr(uploads, "CHUNK_PATIENCE", 0.3)
    body, kind = multipart({"model": "bundled"}, COMMAND.read_bytes())
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(head.encode() + body[:1000])
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_long_recordings_leave_places_for_short_ones():
    async def run() -> tuple[int, str]:
        gauges, release = Gauges(), threading.Event()
        queue = work.Work(gauges)
        never = asyncio.get_running_loop().create_future()
        lectures = [
            asyncio.ensure_future(queue.run(lambda stop: release.wait(10), never, 3600.0)) for _ in range(work.RUNNING)
        ]
        await asyncio.sleep(0.1)
        running = gauges.running
        answer = await asyncio.wait_for(queue.run(lambda stop: "short", never, 2.0), 5)
        release.set()
        await asyncio.gather(*lectures)
        return running, answer

    assert asyncio.run(run()) == (work.LONG_RUNNING, "short")
