"""Files -> the network: what does not fit is told, what fits costs no more memory than it must."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import SMALL, random_tensors, write_checkpoint, write_torch_file
from mlx.utils import tree_flatten
from places import HERE, PARITY

import nanoasr
from nanoasr import backend
from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.errors import CheckpointError, OptionError
from nanoasr.model.config import EncoderConfig, LLMConfig


def parameters(folder: Path, **options) -> dict[str, np.ndarray]:
    model = load_checkpoint(folder, **{"dtype": "float32"} | options).model
    return {name: np.array(x) for name, x in tree_flatten(model.parameters())}


@pytest.fixture(params=["official", "mlx_audio"])
def wrong(request, tmp_path):
    """A function that writes a checkpoint of the tensors it is given, which do not fit."""
    return lambda tensors: write_checkpoint(tmp_path / "wrong", request.param, SMALL, tensors)


def test_missing_unknown_and_misshapen_tensors_are_all_named_in_one_error(wrong):
    tensors = random_tensors(SMALL)
    missing = ["llm.model.norm.weight", "llm.model.layers.1.self_attn.k_proj.weight", "audio_adaptor.linear1.bias"]
    for name in missing:
        del tensors[name]
    misshapen = {
        "audio_encoder.after_norm.weight": (33,),
        "llm.model.layers.0.mlp.gate_proj.weight": (96, 65),
        "audio_adaptor.blocks.0.self_attn.linear_q.weight": (65, 64),
        "audio_adaptor.linear2.weight": (64,),
    }
    tensors |= {name: np.zeros(shape, np.float32) for name, shape in misshapen.items()}
    tensors["somebody.elses"] = tensors["llm.model.layers.2.mlp.up_proj.weight"] = np.zeros(3, np.float32)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(wrong(tensors))
    said = re.search(r"wrong: .*3 missing: (.*); 2 unknown: (.*); 4 misshapen: (.*)", str(caught.value))
    assert sorted(said[1].split(", ")) == sorted(missing)
    assert said[2] == "llm.model.layers.2.mlp.up_proj.weight, somebody.elses"
    assert all(name in said[3] for name in misshapen)


def test_numbers_that_are_no_weights_are_named(wrong):
    tensors = random_tensors(SMALL)
    tensors["audio_encoder.after_norm.weight"] = np.ones(32, np.int64)
    with pytest.raises(CheckpointError, match=r"1 misshapen: audio_encoder\.after_norm\.weight is of type (int64|I64)"):
        load_checkpoint(wrong(tensors))


@pytest.mark.parametrize(("layout", "file"), [("official", "model.pt"), ("mlx_audio", "model.safetensors")])
@pytest.mark.parametrize("kept", [0, 7, 3000, 100_000])
def test_a_truncated_file_is_named(layout, file, kept, tmp_path):
    path = write_checkpoint(tmp_path / "c", layout, SMALL) / file
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=file):
        load_checkpoint(path.parent)


def test_low_and_full_override_what_the_checkpoint_says():
    found = {wish: load_checkpoint(PARITY / "official", audio_tokens=wish) for wish in ("low", "full", None)}
    assert {wish: c.model.audio_token_count(55) for wish, c in found.items()} == {"low": 7, "full": 55, None: 7}
    assert found["full"].layout.config.audio_tokens == "full"
    hf = load_checkpoint(PARITY / "transformers", audio_tokens="low")
    assert hf.model.audio_token_count(55) == 7


@pytest.mark.parametrize(
    "options",
    [{"audio_tokens": "half"}, {"dtype": "float16"}, {"dtype": "int8"}, {"quantize": "llm-3bit"}],
    ids=lambda options: "-".join(options.values()),
)
def test_options_that_cannot_be_say_which_can(options):
    name, value = next(iter(options.items()))
    with pytest.raises(OptionError, match=f"{name}={value!r}: use "):
        load_checkpoint(PARITY / "official", **options)


def test_half_precision_files_load_with_their_values(tmp_path):
    tensors = {name: x.astype(np.float16) for name, x in random_tensors(SMALL).items()}
    found = parameters(write_checkpoint(tmp_path / "c", "official", SMALL, tensors))
    assert np.array_equal(found["llm.model.norm.weight"], tensors["llm.model.norm.weight"].astype(np.float32))


def test_bfloat16_pt_files_load_with_their_values(tmp_path):
    tensors = random_tensors(SMALL)
    folder = write_checkpoint(tmp_path / "c", "official", SMALL, tensors)
    halves = {name: (x.view(np.uint32) >> 16).astype(np.uint16) for name, x in tensors.items()}
    write_torch_file(folder / "model.pt", halves)
    whole = (halves["llm.model.norm.weight"].astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(parameters(folder)["llm.model.norm.weight"], whole)


def test_progress_goes_from_nothing_to_one():
    shares: list[float] = []
    load_checkpoint(PARITY / "official", on_progress=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.05
    assert shares[-1] == 1


def write_cmvn(path: Path, shift: float, scale: float) -> None:
    numbers = (" ".join([str(value)] * 560) for value in (shift, scale))
    path.write_text("<Nnet> <AddShift> 560 560 <LearnRateCoef> 0 [ {} ] <Rescale> 560 560 [ {} ]".format(*numbers))


def test_a_cmvn_file_is_read_where_the_config_names_one(tmp_path):
    folder = write_checkpoint(tmp_path / "c", "mlx_audio", SMALL)
    write_cmvn(folder / "am.mvn", -8.5, 0.25)
    assert load_checkpoint(folder).cmvn is None
    config = json.loads((folder / "config.json").read_text())
    config["frontend_conf"]["cmvn_file"] = "some/where/am.mvn"
    (folder / "config.json").write_text(json.dumps(config))
    assert np.array(load_checkpoint(folder).cmvn).tolist() == [[-8.5] * 560, [0.25] * 560]
    (folder / "am.mvn").write_text("not numbers")
    with pytest.raises(CheckpointError, match=r"am\.mvn: expected <AddShift>"):
        load_checkpoint(folder)


def tokenizer_of(words: dict[str, int]) -> str:
    return json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": words, "merges": []}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as JSON"),
        ("{}", "not a tokenizer"),
        (tokenizer_of({"a": 0, "b": 1}), r"neither <\|im_end\|> nor <\|endoftext\|>"),
        (tokenizer_of({"a": 0, "<|im_end|>": 420}), "has 421 ids where the LLM has 420"),
        (tokenizer_of({"a": 0, "<|im_end|>": 1, "b": 4_000_000_000}), "has 4000000001 ids"),
    ],
    ids=["empty", "no_model", "endless", "one_too_many", "far_too_many"],
)
def test_the_wrong_tokenizer_is_told(text, said, tmp_path):
    folder = write_checkpoint(tmp_path / "c", "mlx_audio_plus", SMALL)
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"tokenizer\.json: .*{said}"):
        load_checkpoint(folder)


PEAK_OF_LOADING = """
import sys, resource
from pathlib import Path
import mlx.core as mx
from nanoasr import backend
from nanoasr.checkpoint.load import load_checkpoint
from mlx.utils import tree_flatten

def peak():
    status = Path("/proc/self/status")  # a process inherits ru_maxrss from whoever started it
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

mx.eval(mx.ones((64, 64)) @ mx.ones((64, 64)))
mx.reset_peak_memory()
before = peak() if backend.on_cpu else mx.get_active_memory()
model = load_checkpoint(sys.argv[1]).model
after = peak() if backend.on_cpu else mx.get_peak_memory()
print(after - before, sum(x.nbytes for _, x in tree_flatten(model.parameters())))
"""
BIG = replace(
    SMALL,
    encoder=EncoderConfig(num_blocks=3, tp_blocks=2),
    adaptor=replace(SMALL.adaptor, encoder_dim=512, llm_dim=1024),
    llm=LLMConfig(vocab_size=8000, num_hidden_layers=2),
)


@pytest.fixture(scope="module")
def big_tensors() -> dict[str, np.ndarray]:
    return random_tensors(BIG)


@pytest.mark.parametrize("halved", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["official", "mlx_audio"])
def test_loading_takes_little_more_memory_than_the_model(layout, halved, big_tensors, tmp_path):
    folder = write_checkpoint(tmp_path / "c", layout, BIG, big_tensors)
    if halved and layout == "official":
        halves = {name: x.view(np.uint16).reshape(*x.shape, 2)[..., 1].copy() for name, x in big_tensors.items()}
        write_torch_file(folder / "model.pt", halves)
    elif halved:
        arrays = {name: x.astype(mx.bfloat16) for name, x in mx.load(str(folder / "model.safetensors")).items()}
        mx.save_safetensors(str(folder / "model.safetensors"), arrays)
    done = subprocess.run(
        [sys.executable, "-c", PEAK_OF_LOADING, folder], cwd=HERE.parent, capture_output=True, text=True, check=True
    )
    shutil.rmtree(folder)  # pytest would keep these 250 MB for a while
    peak, size = map(int, done.stdout.split())
    assert size > (200e6 if backend.on_cpu else 100e6)  # bfloat16 on a GPU
    assert peak < size + 0.3 * sum(tensor.nbytes for tensor in big_tensors.values())


def test_languages_do_not_depend_on_the_path_of_the_folder(tmp_path):
    folder = Path(shutil.copytree(PARITY / "official", tmp_path / "my-fun-asr-nano-experiments" / "mlt"))
    assert len(nanoasr.load(folder).languages) == 31


def test_languages_follow_the_repository_that_a_config_names(tmp_path):
    folder = Path(shutil.copytree(PARITY / "mlx_audio", tmp_path / "c"))
    config = json.loads((folder / "config.json").read_text())
    for source, count in (("FunAudioLLM/Fun-ASR-Nano-2512", 3), ("FunAudioLLM/Fun-ASR-MLT-Nano-2512", 31)):
        (folder / "config.json").write_text(json.dumps(config | {"nanoasr_source": source}))
        assert len(nanoasr.load(folder).languages) == count
    converted = nanoasr.convert(folder, tmp_path / "converted")
    assert json.loads((converted / "config.json").read_text())["nanoasr_source"] == source


GROWTH_OF_LOADING = """
import sys
from pathlib import Path
import nanoasr
from nanoasr import backend
from nanoasr.checkpoint.load import load_checkpoint

def size():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

sizes = []
for _ in range(16):
    backend.run(lambda: load_checkpoint() and None)
    backend.give_back_memory()
    sizes.append(size())
print(min(sizes[-4:]) - min(sizes[2:6]))
"""


@pytest.mark.skipif(sys.platform != "linux" or not backend.on_cpu, reason="counts this process's memory in /proc")
def test_loading_again_and_again_takes_no_more_memory():
    command = [sys.executable, "-c", GROWTH_OF_LOADING]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 3e6  # it was 0.75 MB for each of ten
