"""The speaker networks and their front ends, beside what resemblyzer and FunASR compute (data/make.py)."""

import shutil

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from speakers.voices import ASSETS, DATA, SPEECH

from nanoasr import backend
from nanoasr.audio import load_audio
from nanoasr.errors import CheckpointError
from nanoasr.speakers import load_speaker_model
from nanoasr.speakers.embeddings import cut_windows
from nanoasr.speakers.frontend import kaldi_filterbank, mel_energies

EXPECTED = np.load(DATA / "expected.npz")
SAMPLES = load_audio(SPEECH / "kokoro-number.wav").samples


def on_worker(function, *arrays):
    return backend.run(lambda: np.array(function(*map(mx.array, arrays))))


def test_mel_energies_are_those_of_librosa():
    level = 10 ** (-30 / 20) / np.sqrt(np.mean(SAMPLES**2))
    mel = on_worker(mel_energies, SAMPLES[None] * level)[0, : len(EXPECTED["mel"])]
    np.testing.assert_allclose(mel, EXPECTED["mel"], atol=1e-4, rtol=1e-4)


def test_ge2e_embeddings_are_those_of_resemblyzer():
    level = 10 ** (-30 / 20) / np.sqrt(np.mean(SAMPLES**2))
    padded = np.pad(SAMPLES, (0, 25600)) * np.float32(level)
    starts = EXPECTED["ge2e_starts"] // 160

    def windows(samples):
        mel = mel_energies(samples[None])[0]
        return load_speaker_model().network(mx.stack([mel[start : start + 160] for start in starts.tolist()]))

    # Resemblyzer stores float32, the bundled file halves of it: an embedding of length 1 differs by less than 0.001.
    np.testing.assert_allclose(on_worker(windows, padded), EXPECTED["ge2e_windows"], atol=1e-3)


@pytest.mark.skipif(not backend.on_cpu, reason="the voice encoder runs in NumPy on a CPU only")
def test_on_a_cpu_the_calling_thread_computes_what_mlx_does():
    model = load_speaker_model()
    windows = cut_windows(SAMPLES, model.window, model.step)[0]
    np.testing.assert_allclose(model.embed(windows), backend.run(model._embed, windows), atol=1e-4)


def test_two_halves_of_a_recording_sound_more_alike_than_two_voices():
    def embedding(name, half):
        samples = load_audio(SPEECH / name).samples
        model = load_speaker_model()
        part = np.array_split(samples, 2)[half]
        return model.embed(cut_windows(part, model.window, model.step)[0]).mean(axis=0)

    kennedy, again, librivox = embedding("jfk.flac", 0), embedding("jfk.flac", 1), embedding("librivox-0870.wav", 0)
    assert kennedy @ again > kennedy @ librivox + 0.1


def test_loudness_makes_no_difference_to_ge2e():
    model = load_speaker_model()
    windows = cut_windows(SAMPLES, model.window, model.step)[0]
    np.testing.assert_allclose(model.embed(windows), model.embed(windows / 16), atol=1e-4)


def test_the_filterbank_of_cam_plus_plus_is_funasrs():
    two = np.stack([SAMPLES[:48000], SAMPLES[16000:64000]])
    np.testing.assert_allclose(on_worker(kaldi_filterbank, two), EXPECTED["campplus_features"], atol=1e-3)


def test_cam_plus_plus_embeddings_are_funasrs():
    model = load_speaker_model(DATA / "campplus")
    assert model.name == "campplus"
    found = on_worker(model.network, EXPECTED["campplus_features"])
    np.testing.assert_allclose(found, EXPECTED["campplus_embeddings"], atol=1e-4)


def test_cam_plus_plus_gives_a_batch_what_it_gives_each_window():
    model = load_speaker_model(DATA / "campplus")
    windows = cut_windows(SAMPLES, model.window, model.step)[0]
    alone = np.concatenate([model.embed(window[None]) for window in windows])
    np.testing.assert_allclose(model.embed(windows), alone, atol=1e-5)


def test_a_folder_without_a_speaker_model_is_one_clear_error(tmp_path):
    with pytest.raises(CheckpointError, match="no speaker model"):
        load_speaker_model(tmp_path)


def test_tensors_that_do_not_fit_are_named(tmp_path):
    tensors = load_file(ASSETS / "speaker" / "model.safetensors")
    tensors["stray"] = tensors.pop("linear.bias")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing: linear\.bias; 1 unknown: stray"):
        load_speaker_model(tmp_path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    shutil.copy(DATA.parents[1] / "data" / "torch" / "parameters.pt", tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="not those of CAM"):
        load_speaker_model(tmp_path)


def test_windows_cover_speech_to_its_end():
    windows, centres = cut_windows(np.arange(100, dtype=np.float32), 40, 20)
    assert windows[:, 0].tolist() == [0, 20, 40, 60]
    assert centres.tolist() == [20, 40, 60, 80]
    assert cut_windows(np.arange(110, dtype=np.float32), 40, 20)[0][-1, -1] == 109


def test_short_speech_is_repeated_to_fill_a_window():
    windows, centres = cut_windows(np.arange(15, dtype=np.float32), 40, 20)
    assert windows[0].tolist() == [*range(15), *range(15), *range(10)]
    assert centres.tolist() == [7.5]
