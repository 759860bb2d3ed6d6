"""SenseVoice and Paraformer against FunASR 1.4.16 on small random networks, in float32.

tests/parity/families holds the checkpoints and what FunASR computes on them.
"""

import json
import re
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import pytest
from nearness import differs
from places import PARITY

import nanoasr
from nanoasr.decode.cif_times import cif_times
from nanoasr.families.paraformer import ParaformerInspection
from nanoasr.recognizer import Recognizer

PARAFORMERS = ("paraformer", "paraformer_bicif", "paraformer_seaco")
CASES = [(name, case) for name in PARAFORMERS for case in ("whole", "half")]
NEAR = 1e-4


@dataclass(frozen=True)
class Reference:
    """A checkpoint, and FunASR's results on it."""

    asr: Recognizer
    expected: dict[str, np.ndarray]

    def audio(self, case: str) -> np.ndarray:
        return self.expected["half" if case == "half" else "audio"]

    def near(self, found: mx.array, name: str) -> bool:
        return found.shape == self.expected[name].shape and differs(found, mx.array(self.expected[name])) < NEAR


@pytest.fixture(scope="module")
def references() -> dict[str, Reference]:
    folders = {name: PARITY / "families" / name for name in ("sensevoice", *PARAFORMERS)}
    return {
        name: Reference(nanoasr.load(folder, dtype="float32"), dict(np.load(folder / "expected.npz")))
        for name, folder in folders.items()
    }


def inspect(reference: Reference, case: str) -> ParaformerInspection:
    return reference.asr.inspect(reference.audio(case))


@pytest.mark.parametrize(("language", "itn"), [("auto", False), ("en", True)])
def test_sensevoice_computes_what_funasr_does(references, language, itn):
    reference = references["sensevoice"]
    x = reference.asr.inspect(reference.audio("whole"), language=language, itn=itn)
    assert reference.near(x.features, "features")
    assert reference.near(x.encoded, f"{language}.encoded")
    assert reference.near(x.ctc_logprobs, f"{language}.ctc_logprobs")
    assert (np.array(x.ctc_logprobs.argmax(-1)) == reference.expected[f"{language}.frame_ids"]).all()


@pytest.mark.parametrize(("language", "itn"), [("auto", False), ("en", True)])
def test_sensevoice_writes_funasrs_text_without_its_marks(references, language, itn):
    reference = references["sensevoice"]
    found = reference.asr.transcribe(reference.audio("whole"), language=language, itn=itn)
    text = str(reference.expected[f"{language}.text"])
    assert found.text == re.sub(r"\s+", " ", re.sub(r"<\|\w+\|>", "", text)).strip()
    assert found.language == re.match(r"<\|(\w+)\|>", text)[1]
    assert found.tags.events == tuple(dict.fromkeys(re.findall("BGM|Laughter|Applause|Speech", text)))
    assert found.tags.emotion == re.search("HAPPY|SAD|ANGRY|NEUTRAL", text)[0]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_paraformer_computes_what_funasr_does(references, name, case):
    reference, x = references[name], inspect(references[name], case)
    for stage in ("features", "encoded", "alphas", "peaks", "acoustic", "logprobs"):
        assert reference.near(getattr(x, stage), f"{case}.{stage}"), stage
    assert len(x.acoustic) == reference.expected[f"{case}.count"][0]
    assert (np.array(x.logprobs.argmax(-1)) == reference.expected[f"{case}.ids"]).all()
    assert x.ctc_logprobs is None


@pytest.mark.parametrize(("name", "case"), CASES[2:])
def test_upsampled_weights_are_funasrs(references, name, case):
    reference, x = references[name], inspect(references[name], case)
    assert reference.near(x.up_alphas, f"{case}.up_alphas")
    assert reference.near(x.up_peaks, f"{case}.up_peaks")


def unspaced(text: str) -> str:
    return text.replace(" ", "")


@pytest.mark.parametrize(("name", "case"), CASES)
def test_paraformer_writes_funasrs_text(references, name, case):
    """FunASR joins all words by spaces where it is asked for times; see test_spelling.py for those without."""
    reference = references[name]
    found = reference.asr.transcribe(reference.audio(case))
    assert unspaced(found.text) == unspaced(str(reference.expected[f"{case}.text"]))


@pytest.mark.parametrize("case", ["whole", "half"])
def test_hotwords_change_the_text_as_in_funasr(references, case):
    reference = references["paraformer_seaco"]
    found = reference.asr.transcribe(reference.audio(case), hotwords=["今天", "reader"])
    assert unspaced(found.text) == unspaced(str(reference.expected[f"{case}.hotwords.text"]))
    assert found.text != reference.asr.transcribe(reference.audio(case)).text


@pytest.mark.parametrize("case", ["whole", "half"])
def test_bicif_times_are_funasrs_to_the_millisecond(references, case):
    reference = references["paraformer_bicif"]
    words = reference.asr.transcribe(reference.audio(case)).words
    expected = json.loads(str(reference.expected[f"{case}.timestamp"]))
    assert len(words) == len(expected) > 0
    for word, (start, end) in zip(words, expected, strict=True):
        assert abs(1000 * word.start - start) <= 1
        assert abs(1000 * word.end - end) <= 1


@pytest.mark.parametrize("case", ["whole", "half"])
def test_paraformers_times_follow_its_weights(references, case):
    """FunASR passes the running sums as weights, and the weights as running sums: then tokens fall into silence."""
    reference = references["paraformer"]
    x, found = inspect(reference, case), reference.asr.transcribe(reference.audio(case))
    alphas, peaks, count = np.array(x.alphas), np.array(x.peaks), int((np.array(x.logprobs.argmax(-1)) > 2).sum())
    funasrs = cif_times(peaks, alphas, count, 0.06)
    expected = json.loads(str(reference.expected[f"{case}.timestamp"]))
    for (start, end), (their_start, their_end) in zip(funasrs, expected, strict=False):
        assert abs(1000 * start - max(their_start, 0)) <= 1
        assert abs(1000 * end - their_end) <= 1
    starts = {start for start, _ in cif_times(alphas, peaks, count, 0.06)}
    assert {word.start for word in found.words} <= starts
