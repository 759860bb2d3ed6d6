"""Decoding again: silencing everything leaves silence, silencing nothing changes nothing, and drafts change no text."""

import numpy as np
import pytest
from places import HERE, PARITY, SPEECH

import nanoasr
from nanoasr import backend
from nanoasr.errors import OptionError
from nanoasr.introspection.reruns import Patch, draft_passes, silence

ROOT = HERE.parent
NUMBER = ROOT / "assets/speech/kokoro-number.wav"
FAMILIES = [None, PARITY / "families/sensevoice", PARITY / "families/paraformer_bicif"]


@pytest.fixture(scope="module")
def asr():
    return nanoasr.load()


@pytest.mark.parametrize("source", FAMILIES, ids=["nano", "sensevoice", "paraformer"])
def test_a_patch_that_holds_no_sound_changes_nothing_and_one_with_all_of_it_changes_the_text(source):
    asr = nanoasr.load(source, dtype="float32")
    samples = np.concatenate([nanoasr.audio.load_audio(NUMBER).samples, np.zeros(16000, np.float32)])
    x, text = asr.inspect(samples), asr.transcribe(samples).text
    seconds = len(samples) / 16000
    again = backend.run(silence, asr.model_family, x, Patch(seconds - 0.9, seconds, 0, 79))
    assert again.text == text
    assert backend.run(silence, asr.model_family, x, Patch(0, seconds, 0, 79)).text != text


def test_silencing_a_word_changes_it_and_leaves_those_before_it(asr):
    words = asr.transcribe(NUMBER).words
    nine = words[6]
    text = backend.run(silence, asr.model_family, asr.inspect(NUMBER), Patch(nine.start, nine.end, 0, 79)).text
    assert text.split()[:6] == [word.text for word in words[:6]]
    assert text.split()[6] != nine.text


@pytest.mark.parametrize("box", [(1, 1, 0, 9), (-1, 1, 0, 9), (0, 1, 5, 4), (0, 1, 0, 80), (float("nan"), 1, 0, 9)])
def test_a_patch_without_an_area_is_refused(box):
    with pytest.raises(OptionError, match="mel bins"):
        Patch(*box)


@pytest.mark.parametrize("recording", [NUMBER, SPEECH / "LJ002-0020.wav", ROOT / "assets/speech/jfk.flac"])
def test_passes_with_drafts_write_the_greedy_text_and_add_up(asr, recording):
    x, tokens = asr.inspect(recording), asr.transcribe(recording, draft=None).tokens
    ids, passes = backend.run(draft_passes, asr.model_family, x)
    assert ids == [token.id for token in tokens]
    assert sum(each.written for each in passes) == len(ids)
    place = 0
    for each in passes:
        assert list(each.draft[: each.accepted]) == ids[place : place + each.accepted]
        assert each.accepted <= each.written <= each.accepted + 1
        if each.accepted < len(each.draft) and each.written > each.accepted:
            assert ids[place + each.accepted] != each.draft[each.accepted]
        place += each.written
