"""The app as an API: what `gradio_client` gets."""

import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from pages import CLIP, DRAWN
from running import write_wav


def test_the_api_gives_the_whole_transcript(client):
    found = client.predict(handle_file(str(CLIP)), api_name="/transcribe", **DRAWN)
    assert found["text"] and found["duration"] == pytest.approx(1.54, abs=0.01)
    assert len(found["segments"][0]["tokens"]) == 40


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
    [(np.zeros(0), "at least"), (np.zeros(100), "at least"), (np.zeros(8000 * 125), "limit of 120 s")],
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
