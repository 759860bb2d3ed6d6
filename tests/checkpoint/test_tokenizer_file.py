"""A tokenizer.json from a stranger: what a recognizer needs of it is used, what attacks the library is refused."""

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tokenizers
from places import HERE, PARITY

from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.checkpoint.sources import BUNDLED
from nanoasr.checkpoint.tokenizer import Tokenizer
from nanoasr.checkpoint.tokenizer_file import _try_out, sanitized
from nanoasr.errors import CheckpointError

PLAIN = json.loads((PARITY / "mlx_audio_plus" / "tokenizer.json").read_text())
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Qwen3's own settings around its vocabulary
QWEN = {
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN_SPLIT}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ],
    },
    "post_processor": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
    "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
}
UNIGRAM = {
    "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁", -2.0], ["▁a", -1.0], ["b", -1.5]]},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
}
PADDING = {
    "strategy": {"Fixed": 2 * 10**18},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "x",
}
TEXTS = (
    "",
    "Hello, it's 42 o'clock.\n",
    "你好，世界。ひらがな",
    "<|im_start|>user\nx<|im_end|>",
    "  a  b  ",
    "é e\u0301 😀",
)


def write(folder: Path, content: object) -> Tokenizer:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return Tokenizer(folder)


@pytest.mark.parametrize("settings", [{}, QWEN], ids=["as trained here", "as Qwen3"])
def test_what_a_recognizer_uses_of_a_tokenizer_is_not_changed(settings, tmp_path):
    ours = write(tmp_path, PLAIN | settings)
    theirs = tokenizers.Tokenizer.from_file(str(ours.path))
    for text in TEXTS:
        encoding = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text) == encoding.ids
        assert [span for _, span in ours.encode_spans(text)] == encoding.offsets
        assert ours.decode(encoding.ids) == theirs.decode(encoding.ids)
    assert ours.size == 1 + max(theirs.get_vocab().values())


def test_a_sentencepiece_unigram_is_read():
    loaded = tokenizers.Tokenizer.from_str(json.dumps(sanitized(UNIGRAM)))
    assert loaded.decode(loaded.encode("a b").ids) == "a b"


def test_padding_truncation_and_templates_are_left_out(tmp_path):
    template = [{"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}] * 1000
    content = PLAIN | {
        "padding": PADDING | {"pad_id": 2**31},
        "truncation": {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "post_processor": {"type": "TemplateProcessing", "single": template, "pair": template, "special_tokens": {}},
    }
    found = write(tmp_path, content)
    assert found.encode("good morning") == Tokenizer(PARITY / "mlx_audio_plus").encode("good morning")


def changed(*path: object, to: object) -> dict:
    content = copy.deepcopy(PLAIN)
    here = content
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = to
    return content


GROWING = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100}
SLOW = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
ATTACKS = {
    "a normalizer that grows a text": changed("normalizer", to=GROWING),
    "chained normalizers": changed("normalizer", to={"type": "Sequence", "normalizers": [GROWING] * 8}),
    "a long chain": changed("normalizer", to={"type": "Sequence", "normalizers": [{"type": "NFC"}] * 10**4}),
    "nested chains": changed("normalizer", to={"type": "Sequence", "normalizers": [{"type": "Sequence"}]}),
    "an expression that takes for ever": changed("pre_tokenizer", to=SLOW),
    "a decoder that grows a text": changed("decoder", to=GROWING),
    "a panicking decoder": changed("decoder", to={"type": "CTC", "pad_token": "", "word_delimiter_token": ""}),
    "an unknown component": changed("pre_tokenizer", to={"type": "System"}),
    "a component that is a list": changed("pre_tokenizer", to=[]),
    "a model of another type": changed("model", "type", to="WordPiece"),
    "dropout": changed("model", "dropout", to=0.5),
    "a prefix for the inside of words": changed("model", "continuing_subword_prefix", to="#" * 10**6),
    "a merge of unknown tokens": changed("model", "merges", 0, to=["no", "such"]),
    "a merge of one token": changed("model", "merges", 0, to=["a"]),
    "merges that are a text": changed("model", "merges", to="a b"),
    "an empty vocabulary": changed("model", "vocab", to={}),
    "a vocabulary that is a list": changed("model", "vocab", to=["a"]),
    "a negative id": changed("model", "vocab", "a", to=-1),
    "an id that is no number": changed("model", "vocab", "a", to="1"),
    "an id beyond 32 bits": changed("model", "vocab", "a", to=2**32),
    "two tokens with one id": changed("model", "vocab", "a", to=PLAIN["model"]["vocab"]["b"]),
    "a token of a megabyte": changed("model", "vocab", "x" * 2**20, to=5),
    "an unknown unknown": changed("model", "unk_token", to="nothing"),
    "an added token of a megabyte": changed("added_tokens", 0, "content", to="x" * 2**20),
    "an added token without text": changed("added_tokens", 0, "content", to=""),
    "an added token with a huge id": changed("added_tokens", 0, "id", to=2**64),
    "an added token that is a number": changed("added_tokens", 0, to=7),
    "no model": {},
    "a unigram without its unknown": {"model": UNIGRAM["model"] | {"unk_id": 2**32}},
    "a unigram with infinite scores": {"model": UNIGRAM["model"] | {"vocab": [["a", float("inf")]]}},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_tokenizer_is_refused_at_once(attack, tmp_path):
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not a tokenizer that is supported") as caught:
        write(tmp_path, ATTACKS[attack])
    assert time.perf_counter() - start < 5
    assert len(str(caught.value)) < 1000


def test_a_file_of_any_size_is_not_parsed(tmp_path):
    with (tmp_path / "tokenizer.json").open("w") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="larger than 32 MiB"):
        Tokenizer(tmp_path)


def test_ids_beyond_the_llms_vocabulary_are_refused(tmp_path):
    folder = Path(shutil.copytree(PARITY / "mlx_audio_plus", tmp_path / "c"))
    (folder / "tokenizer.json").write_text(json.dumps(changed("model", "vocab", "surplus", to=10**6)))
    with pytest.raises(CheckpointError, match="has 1000001 ids where the LLM has"):
        load_checkpoint(folder)


TRIED = """
import subprocess, sys
from pathlib import Path
from nanoasr.checkpoint.tokenizer import Tokenizer
started = []
sys.addaudithook(lambda event, arguments: started.append(arguments) if event == "subprocess.Popen" else None)
for folder in sys.argv[1:]:
    Tokenizer(Path(folder))
    print(len(started))
"""


def test_a_strangers_tokenizer_is_tried_once_in_another_process_and_ours_never(tmp_path):
    write(tmp_path / "new", changed("model", "vocab", f"{time.time_ns()}", to=10**5))  # one that no run had before
    (tmp_path / "cache").mkdir()
    paths = {name: os.environ[name] for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    for expected in ("0 1 1", "0 0 0"):  # the second process finds the mark of the first
        done = subprocess.run(
            [sys.executable, "-c", TRIED, BUNDLED / "Qwen3-0.6B", tmp_path / "new", tmp_path / "new"],
            env={"NANOASR_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin"} | paths,
            cwd=HERE.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == expected.split()


def test_a_tokenizer_that_crashes_the_library_crashes_only_its_trial():
    with pytest.raises(ValueError, match="failed in a trial"):
        _try_out(json.dumps(PLAIN | {"padding": PADDING}))  # which aborts the process that uses it
