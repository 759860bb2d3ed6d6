"""Read a tokenizer.json that may be hostile.

The `tokenizers` library trusts its files: some make it crash, fill the memory or panic. So a new file is built from
the parts that byte-level BPE (Qwen3) and SentencePiece tokenizers need, each checked, and everything else is left out
(padding, truncation, templates) or refused. Before its first use here, the result is tried in a process of its own.
"""

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers

from ..errors import CheckpointError, printable
from .folder import cache_folder, read_json
from .sources import BUNDLED

_MAX_BYTES, _MAX_TOKENS, _MAX_TOKEN_LENGTH, _MAX_SEQUENCE = 32 << 20, 1 << 19, 1024, 8  # Qwen3: 11 MB, 151,669, 128
_MEMORY, _SECONDS = 2 << 30, 20
# How GPT-2, Qwen2 and Qwen3 split text before they merge bytes; other expressions could take for ever.
_EXPRESSIONS = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
}


def _one_of(*values: object) -> Callable[[object], bool]:
    return lambda value: any(type(value) is type(known) and value == known for known in values)


_BOOL = _one_of(True, False)
_CHARACTER = lambda value: isinstance(value, str) and len(value) == 1  # noqa: E731
_BYTE_LEVEL = {"add_prefix_space": _BOOL, "trim_offsets": _BOOL, "use_regex": _BOOL}
_METASPACE = {"replacement": _CHARACTER, "prepend_scheme": _one_of("always", "first", "never"), "split": _BOOL}
_SPLIT = {
    "pattern": lambda value: isinstance(value, dict) and value.keys() == {"Regex"} and value["Regex"] in _EXPRESSIONS,
    "behavior": _one_of("Isolated", "Removed"),
    "invert": _BOOL,
}
# The components that are admitted, by type, with a check for each setting.
_NORMALIZERS = {"NFC": {}, "NFKC": {}}
_PRE_TOKENIZERS = {
    "ByteLevel": _BYTE_LEVEL,
    "Digits": {"individual_digits": _BOOL},
    "Metaspace": _METASPACE,
    "Split": _SPLIT,
}
_POST_PROCESSORS = {"ByteLevel": _BYTE_LEVEL}
_DECODERS = {"ByteLevel": _BYTE_LEVEL, "Metaspace": _METASPACE, "ByteFallback": {}, "Fuse": {}}
_TOKEN_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def read_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """Load a tokenizer.json; CheckpointError if it is damaged, hostile, or of a kind no checkpoint here has."""
    try:
        text = json.dumps(sanitized(read_json(path, _MAX_BYTES)))
        if not path.is_relative_to(BUNDLED):
            _try_out(text)
        return tokenizers.Tokenizer.from_str(text)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{path}: not a tokenizer that is supported ({error!s:.500})") from None


def sanitized(raw: dict) -> dict:
    """Return the admitted parts of a tokenizer.json; ValueError names what cannot be."""
    post = raw.get("post_processor")
    known = isinstance(post, dict) and post.get("type") in _POST_PROCESSORS
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(raw.get("added_tokens") or []),
        "normalizer": _component("normalizer", raw.get("normalizer"), _NORMALIZERS, "normalizers"),
        "pre_tokenizer": _component("pre_tokenizer", raw.get("pre_tokenizer"), _PRE_TOKENIZERS, "pretokenizers"),
        "post_processor": _component("post_processor", post, _POST_PROCESSORS, "processors") if known else None,
        "decoder": _component("decoder", raw.get("decoder"), _DECODERS, "decoders"),
        "model": _model(raw.get("model")),
    }


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)


def _component(where: str, raw: Any, known: dict[str, dict], members: str) -> dict | None:
    if raw is None:
        return None
    _require(isinstance(raw, dict), f"its {where} is not an object")
    kind = raw.get("type")
    if kind == "Sequence":
        items = raw.get(members)
        _require(isinstance(items, list) and len(items) <= _MAX_SEQUENCE, f"its {where} is not a short list")
        return {"type": kind, members: [_component(where, item, known, "") for item in items]}
    _require(isinstance(kind, str) and kind in known, f"its {where} {kind!r:.40} is not supported")
    for name, check in known[kind].items():
        _require(name not in raw or check(raw[name]), f"its {where} {kind} has an unsupported {name}")
    return {"type": kind} | {name: raw[name] for name in known[kind] if name in raw}


def _is_token(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= _MAX_TOKEN_LENGTH


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 32


def _added_tokens(raw: Any) -> list[dict]:
    _require(isinstance(raw, list) and len(raw) <= _MAX_TOKENS, "its added_tokens are not a list")
    for token in raw:
        valid = isinstance(token, dict) and _is_token(token.get("content")) and _is_id(token.get("id"))
        _require(valid and all(type(token.get(flag, False)) is bool for flag in _TOKEN_FLAGS), "an added token is odd")
    fields = ("id", "content", *_TOKEN_FLAGS)
    return [{name: token.get(name, False) for name in fields} for token in raw]


def _model(raw: Any) -> dict:
    _require(isinstance(raw, dict), "it has no model")
    kind = raw.get("type")
    _require(kind in ("BPE", "Unigram"), f"a model of type {kind!r:.40} is not supported")
    return _bpe(raw) if kind == "BPE" else _unigram(raw)


def _bpe(raw: dict) -> dict:
    vocab, merges = raw.get("vocab"), raw.get("merges")
    _require(isinstance(vocab, dict) and 0 < len(vocab) <= _MAX_TOKENS, "its vocabulary is empty or too large")
    _require(all(_is_token(token) and _is_id(i) for token, i in vocab.items()), "its vocabulary has an odd entry")
    _require(len(set(vocab.values())) == len(vocab), "two tokens of its vocabulary have one id")
    _require(isinstance(merges, list) and len(merges) <= _MAX_TOKENS, "its merges are not a list")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    valid = all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) and part in vocab for part in pair)
        for pair in pairs
    )
    _require(valid, "a merge is not of two tokens of its vocabulary")
    unknown = raw.get("unk_token")
    _require(unknown is None or (isinstance(unknown, str) and unknown in vocab), "its unk_token is not a token")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        _require(not raw.get(name), f"its model's {name} is not supported")
    flags = {name: raw.get(name, False) for name in ("fuse_unk", "byte_fallback", "ignore_merges")}
    _require(all(map(_BOOL, flags.values())), "a flag of its model is not true or false")
    return {"type": "BPE", "unk_token": unknown, **flags, "vocab": vocab, "merges": pairs}


def _unigram(raw: dict) -> dict:
    vocab, unknown, fallback = raw.get("vocab"), raw.get("unk_id"), raw.get("byte_fallback", False)
    _require(isinstance(vocab, list) and 0 < len(vocab) <= _MAX_TOKENS, "its vocabulary is empty or too large")
    for entry in vocab:
        valid = isinstance(entry, list) and len(entry) == 2 and _is_token(entry[0])
        _require(
            valid and type(entry[1]) in (int, float) and math.isfinite(entry[1]), "its vocabulary has an odd entry"
        )
    _require(unknown is None or (_is_id(unknown) and unknown < len(vocab)), "its unk_id is not an id")
    _require(_BOOL(fallback), "a flag of its model is not true or false")
    return {"type": "Unigram", "unk_id": unknown, "byte_fallback": fallback, "vocab": vocab}


# The trial

_TRIAL = """
import resource, sys
limits = (resource.RLIMIT_AS, {memory}), (resource.RLIMIT_CPU, {seconds}), (resource.RLIMIT_CORE, 0)
for limit, value in limits:
    try:
        resource.setrlimit(limit, (value, value))
    except (OSError, ValueError):
        pass  # macOS has no limit on memory; elsewhere a lower one is set already
sys.path[:] = sys.argv[1:]
import tokenizers
tokenizer = tokenizers.Tokenizer.from_str(sys.stdin.buffer.read().decode())
vocabulary = tokenizer.get_vocab()
texts = "", "Hello, world's 42 \\u4f60\\u597d\\u3002\\n", "<|im_start|>user\\n", " a\\u0301\\U0001f600\\0" * 500
for text in texts:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert len(ids) <= 4 * len(text), "too many ids"
    assert len(tokenizer.decode(ids)) <= 1100 * len(ids), "too long a text"
for token in list(vocabulary)[:1000]:
    tokenizer.decode([vocabulary[token]])
"""
_tried: set[str] = set()


def _try_out(text: str) -> None:
    """Load and use a tokenizer in a process of its own, with limits, once for each content on this machine."""
    digest = hashlib.sha256(f"{tokenizers.__version__}\n{text}".encode()).hexdigest()
    mark = cache_folder() / "tokenizers" / digest
    if digest in _tried or mark.exists() or not sys.executable or getattr(sys, "frozen", False):
        return
    code = _TRIAL.format(memory=_MEMORY, seconds=_SECONDS)
    environment = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, *filter(None, sys.path)],
            input=text.encode(),
            env=os.environ | environment,
            capture_output=True,
            timeout=6 * _SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ValueError("it takes too long") from None
    except OSError:
        return  # no process can be started here; what is left of the file is harmless as far as is known
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise ValueError(f"it failed in a trial: {printable(last[0], 200)}")
    _tried.add(digest)
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        pass  # tried again in the next process
