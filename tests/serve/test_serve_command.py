"""`nanoasr serve` as a process."""

import json
import os
import re
import socket
import threading
import time
import urllib.request

import numpy as np
import pytest
import soundfile
from commands import MODEL, run
from serve.serving import COMMAND, NUMBER, Process, post

from nanoasr.audio import load_audio
from nanoasr.cli.serve import named_model
from nanoasr.serve.server import bind


def test_it_serves_until_sigterm_and_finishes_what_runs(texts):
    served = Process("--alias", "whisper-1")
    assert "serving bundled at http://127.0.0.1:" in served.line
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/v1/models", timeout=30) as answer:
        assert [model["id"] for model in json.load(answer)["data"]] == ["bundled", "whisper-1"]
    answers = []
    asking = threading.Thread(target=lambda: answers.append(post(served, {"model": "whisper-1"}, NUMBER)))
    asking.start()
    time.sleep(0.15)
    status, seconds, log = served.stop()
    asking.join(10)
    assert (status, "Traceback" in log) == (0, False)
    assert seconds < 10
    [(code, answer)] = answers
    assert code == 503 or json.loads(answer)["text"] == texts[NUMBER]
    assert all(json.loads(line)["route"] for line in log.splitlines())


@pytest.mark.slow
def test_a_lecture_that_runs_is_refused_in_time(tmp_path):
    soundfile.write(tmp_path / "long.flac", np.tile(load_audio(COMMAND).samples, 400), 16000)
    served = Process(*MODEL)
    name = "official"
    answers = []
    fields = {"model": name, "max_tokens": "400"}
    asking = threading.Thread(target=lambda: answers.append(post(served, fields, tmp_path / "long.flac")))
    asking.start()
    time.sleep(2)
    status, seconds, log = served.stop()
    asking.join(10)
    assert (status, "Traceback" in log) == (0, False)
    assert seconds < 10.5
    assert not answers or answers[0][0] in (200, 503)


def test_the_key_comes_from_the_environment():
    served = Process(*MODEL, NANOASR_API_KEY="from here")
    assert post(served, {"model": "official"}, COMMAND)[0] == 401
    assert post(served, {"model": "nothing"}, COMMAND, authorization="Bearer from here")[0] == 404
    assert served.stop()[0] == 0


def test_the_body_of_an_answer_does_not_wait_until_its_headers_have_been_received():
    with bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_one_clear_error(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert run("serve", "--port", other.getsockname()[1]) == 2
    assert re.fullmatch(r"nanoasr: cannot serve on 127.0.0.1:\d+: choose another .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("model", ["=nano", "name=", "no such/folder/anywhere"])
def test_a_model_that_cannot_be_is_one_clear_error(model, capsys):
    assert run("serve", "--port", 0, "--model", model) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_models_are_named_as_requests_name_them(tmp_path):
    (tmp_path / "mine").mkdir()
    assert named_model("bundled") == ("bundled", None)
    assert named_model("nano") == ("nano", "nano")
    assert named_model("talks=owner/name") == ("talks", "owner/name")
    assert named_model(os.fspath(tmp_path / "mine")) == ("mine", os.fspath(tmp_path / "mine"))
