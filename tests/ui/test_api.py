"""The app as an API: what `gradio_client` gets."""

import re

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from pages import CLIP, DRAWN
from running import ROOT, upload_file, write_wav


def test_the_api_gives_the_whole_transcript(client):
    found = client.predict(handle_file(str(CLIP)), api_name="/transcribe", **DRAWN)
    assert found["text"] and found["duration"] == pytest.approx(1.54, abs=0.01)
    assert len(found["segments"][0]["tokens"]) == 40


def test_a_recording_is_heard_live_and_ends_as_transcribe_has_it(bundled_app):
    client = Client(bundled_app.url, verbose=False, download_files=False)
    number = handle_file(str(ROOT / "assets/speech/kokoro-number.wav"))
    job = client.submit(number, api_name="/live")
    whole = job.result(60)
    updates = job.outputs()[:-1]
    assert [update["seconds"] for update in updates][:3] == [0.5, 1.0, 1.5]
    assert updates[-1]["seconds"] == pytest.approx(whole["duration"], abs=0.01)
    assert any("seven" in update["tentative"] + update["committed"] for update in updates)
    assert [segment["text"] for update in updates for segment in update["segments"]]
    assert whole["text"] == client.predict(number, api_name="/transcribe")["text"]


@pytest.mark.parametrize("name", ["/transcribe", "/live", "/inspect"])
def test_every_way_in_tells_a_bad_file_in_a_sentence(client, tmp_path, name):
    bad = tmp_path / "letter.wav"
    bad.write_text("Dear Sir or Madam, this is not a recording. " * 50)
    with pytest.raises(AppError, match=r"letter\.wav: not audio"):
        client.predict(handle_file(str(bad)), api_name=name)


README = [
    code
    for code in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    if "gradio_client" in code
]


@pytest.mark.parametrize("code", README, ids=lambda code: re.search(r'api_name="/(\w+)"', code)[1])
def test_the_examples_in_the_readme_run(code, bundled_app, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(code.replace("http://127.0.0.1:7860", bundled_app.url), {})
    assert capsys.readouterr().out.strip()
    if "load_model" in code:
        Client(bundled_app.url, verbose=False).predict("bundled", api_name="/load_model")


def test_every_way_in_is_in_the_readme(client):
    offered = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {re.search(r'api_name="(/\w+)"', code)[1] for code in README} | {"/inspect"} == set(offered)


def test_partial_texts_come_before_the_transcript(client):
    options = DRAWN | {"max_tokens": 500}
    job = client.submit(handle_file(str(CLIP)), api_name="/transcribe", **options)
    whole = job.result(60)
    assert job.outputs()[-1] == whole
    assert all(whole["text"].startswith(partial["text"]) for partial in job.outputs()[:-1])


def test_the_same_seed_gives_the_same_text_and_another_seed_another(client):
    def text(seed: int) -> str:
        options = DRAWN | {"seed": seed}
        return client.predict(handle_file(str(CLIP)), api_name="/transcribe", **options)["text"]

    assert text(1) == text(1) != text(2)


def test_requests_at_once_do_not_mix(client):
    seeds = (1, 2, 3, 4)

    def ask(seed: int):
        return client.submit(handle_file(str(CLIP)), api_name="/transcribe", **DRAWN | {"seed": seed})

    alone = [ask(seed).result(60)["text"] for seed in seeds]
    jobs = [ask(seed) for seed in seeds]
    assert [job.result(60)["text"] for job in jobs] == alone and len(set(alone)) == len(seeds)


@pytest.mark.parametrize(
    ("samples", "said"),
    [(np.zeros(0), ": 0 s of audio"), (np.zeros(100), "0.0125 s of audio"), (np.zeros(8000 * 125), "limit of 120 s")],
)
def test_empty_short_and_long_recordings_are_told_apart(client, tmp_path, samples, said):
    with pytest.raises(AppError, match=said):
        client.predict(handle_file(str(write_wav(tmp_path / "x.wav", samples, 8000))), api_name="/transcribe")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"language": "xx"}, "language 'xx'"),
        ({"temperature": -1}, "less than minimum value 0"),
        ({"hotwords": "<|im_end|>"}, "special"),
    ],
)
def test_unusable_options_are_answered_with_a_sentence(client, options, said):
    with pytest.raises(AppError, match=said):
        client.predict(handle_file(str(CLIP)), api_name="/transcribe", **options)


def test_the_model_is_described_and_a_failed_load_leaves_it(client):
    before = client.predict(api_name="/model")
    assert before["layout"] == "official" and before["parameters"]["encoder"] > 0
    with pytest.raises(AppError, match="neither a folder, nor a hub id, nor a preset"):
        client.predict("/no/such/folder", api_name="/load_model")
    assert client.predict(api_name="/model") == before


def test_the_model_can_be_loaded_again_in_fewer_bits(client):
    before = client.predict(api_name="/model")
    found = client.predict(before["source"], quantize="llm-8bit", api_name="/load_model")
    assert found["precision"] != before["precision"]
    assert client.predict(before["source"], api_name="/load_model") == before


def test_transcribe_fills_in_what_a_program_leaves_out_and_load_model_does_not(app):
    recording = {"path": upload_file(app, "clip.wav", CLIP.read_bytes()), "meta": {"_type": "gradio.FileData"}}
    assert "event: complete" in app.call("transcribe", [recording])
    loaded = app.call("model", [])
    assert "event: complete" not in app.call("load_model", []) and app.call("model", []) == loaded
