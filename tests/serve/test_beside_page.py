"""`nanoasr app --api`: one process, one model, the page and the API."""

import json

import pytest
from commands import run
from serve.serving import COMMAND, error_of, post, request
from ui.running import ROOT, App

import nanoasr

pytestmark = pytest.mark.slow

KEY = {"authorization": "Bearer secret"}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NANOASR_API_KEY", "secret")
        app = App(tmp_path_factory.mktemp("both"), "--model", str(ROOT / "tests/parity/official"), "--api")
    yield app
    app.close()


def test_the_page_and_the_api_are_served_at_one_address(both):
    status, _, page = request(both, "GET", "/")
    assert (status, b"gradio" in page.lower()) == (200, True)
    models = json.loads(request(both, "GET", "/v1/models", **KEY)[2])["data"]
    assert [model["id"] for model in models] == ["nanoasr"]
    wanted = nanoasr.load(ROOT / "tests/parity/official").transcribe(COMMAND, sampling=nanoasr.Sampling(max_tokens=8))
    status, answer = post(both, {"model": "nanoasr", "max_tokens": "8"}, COMMAND, **KEY)
    assert (status, json.loads(answer)["text"]) == (200, wanted.text)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", "/metrics", "/openapi.json"])
def test_the_api_asks_for_its_key_there_too(both, path):
    status, _, answer = request(both, "GET", path)
    assert (status, error_of(answer)["code"]) == (401, "invalid_api_key")


def test_a_page_with_a_login_has_no_open_api(capsys, monkeypatch):
    monkeypatch.delenv("NANOASR_API_KEY", raising=False)
    assert run("app", "--api", "--auth", "ada:lovelace") == 2
    assert "set NANOASR_API_KEY" in capsys.readouterr().err
