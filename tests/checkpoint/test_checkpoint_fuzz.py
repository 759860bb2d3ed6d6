"""Damaged and forged checkpoints, made at random: each loads or is a CheckpointError, in bounded time and memory.

NANOASR_FUZZ=5000 makes so many cases of every kind instead of the few of each run of the tests.
"""

import json
import os
import random
import resource
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from checkpoints import LAYOUTS, SMALL, write_checkpoint
from places import PARITY

from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.checkpoint.tokenizer import Tokenizer
from nanoasr.errors import CheckpointError

CASES = int(os.environ.get("NANOASR_FUZZ", 0))
LONGEST, MOST_MEMORY = 10.0, 600 << 20  # seconds of this process for one case; bytes for all of a kind
NUMBERS = (0, 1, -1, 2, 7, 63, 255, 2**16, 2**31, 2**32 - 1, 2**63, 10**30, 1e-300, 1e308, float("nan"), float("inf"))
STRANGE = (*NUMBERS, None, True, False, "", "a" * 3000, "\0", "../..", "/dev/zero", "\x1b[2J", "\ud800", [], {}, [[]])


def damage(data: bytes, chance: random.Random) -> bytes:
    """Change, drop, repeat or insert a few bytes."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        where = chance.randrange(len(changed) + 1)
        size = chance.choice((1, 1, 2, 4, 8, 100))
        piece = chance.choice((b"\0", b"\xff", b"\x7f", chance.randbytes(1))) * size
        match chance.randrange(5):
            case 0:
                changed[where : where + size] = piece
            case 1:
                del changed[where : where + size]
            case 2:
                changed[where:where] = piece
            case 3:
                changed[where:where] = changed[where : where + size]
            case 4 if chance.random() < 0.2:
                del changed[where:]
    return bytes(changed)


def forge(content: object, chance: random.Random) -> object:
    """Replace, remove, swap or repeat a few values of a JSON value, in place."""
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        here = content
        while True:
            keys = list(here) if isinstance(here, dict) else range(len(here))
            if not keys:
                break
            key = chance.choice(keys)
            if not isinstance(here[key], dict | list) or not here[key] or chance.random() < 0.2:
                _change(here, key, chance)
                break
            here = here[key]
    return content


def _change(here: dict | list, key: object, chance: random.Random) -> None:
    match chance.randrange(4):
        case 0 | 1:
            here[key] = chance.choice(STRANGE)
        case 2:
            del here[key]
        case 3:
            deep = value = here[key]
            for _ in range(chance.choice((1, 3, 60, 150))):
                deep = [deep] if chance.random() < 0.5 else {"a": deep}
            here[key] = deep if chance.random() < 0.5 else [value] * chance.choice((0, 2, 1000))


def fuzz_bytes(path: Path, chance: random.Random) -> None:
    path.write_bytes(damage(path.read_bytes(), chance))


def fuzz_pickle(path: Path, chance: random.Random) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice([name for name in entries if name.endswith("data.pkl")] * 3 + list(entries))
    entries[name] = damage(entries[name], chance)
    with zipfile.ZipFile(
        path, "w", chance.choice([zipfile.ZIP_STORED] * 4 + [zipfile.ZIP_DEFLATED]), compresslevel=1
    ) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def fuzz_header(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], data[8 + length :]
    if chance.random() < 0.5:
        header = damage(header, chance)
    else:
        header = json.dumps(forge(json.loads(header), chance)).encode("utf-8", "replace")
    length = len(header) if chance.random() < 0.8 else chance.choice((0, 7, 2**20, 2**31, 2**64 - 1))
    path.write_bytes(length.to_bytes(8, "little") + header + body)


def fuzz_json(path: Path, chance: random.Random) -> None:
    if chance.random() < 0.2:
        fuzz_bytes(path, chance)
    else:
        path.write_text(json.dumps(forge(json.loads(path.read_text()), chance)))


def fuzz_yaml(path: Path, chance: random.Random) -> None:
    if chance.random() < 0.4:
        fuzz_bytes(path, chance)
    else:
        path.write_text(yaml.safe_dump(forge(yaml.safe_load(path.read_text()), chance)))


def load_all(folder: Path) -> None:
    load_checkpoint(folder)


def load_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    ids = tokenizer.encode("Hello, world 你好 <|im_end|>\n" * 20)
    assert len(ids) < 10_000 and len(tokenizer.decode(ids)) < 10**6


# layout, file, how it is changed, what is loaded, cases in a usual run
KINDS: dict[str, tuple[str, str, Callable, Callable, int]] = {
    "pt bytes": ("official", "model.pt", fuzz_bytes, load_all, 30),
    "pt pickle": ("official", "model.pt", fuzz_pickle, load_all, 30),
    "safetensors bytes": ("mlx_audio", "model.safetensors", fuzz_bytes, load_all, 30),
    "safetensors header": ("mlx_audio", "model.safetensors", fuzz_header, load_all, 40),
    "config.json": ("mlx_audio", "config.json", fuzz_json, load_all, 40),
    "config.json of transformers": ("transformers", "config.json", fuzz_json, load_all, 40),
    "config.yaml": ("official", "config.yaml", fuzz_yaml, load_all, 40),
    "tokenizer.json": ("mlx_audio_plus", "tokenizer.json", fuzz_json, load_tokenizer, 15),
    "config.yaml of SenseVoice": ("sensevoice", "config.yaml", fuzz_yaml, load_all, 30),
    "SentencePiece": ("sensevoice", "chn_jpn_yue_eng_ko_spectok.bpe.model", fuzz_bytes, load_all, 30),
    "config.yaml of Paraformer": ("paraformer_seaco", "config.yaml", fuzz_yaml, load_all, 30),
    "tokens.json": ("paraformer_seaco", "tokens.json", fuzz_json, load_all, 30),
    "am.mvn": ("paraformer", "am.mvn", fuzz_bytes, load_all, 30),
}


def write(folder: Path, layout: str) -> Path:
    if layout in LAYOUTS:
        return write_checkpoint(folder, layout, SMALL)
    return Path(shutil.copytree(PARITY / "families" / layout, folder))


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_changed_a_checkpoint_loads_or_is_refused(kind, tmp_path):
    layout, name, fuzz, load, usual = KINDS[kind]
    if (official := PARITY / "families" / layout).is_dir():
        folder = shutil.copytree(official, tmp_path / "c")
    else:
        folder = write(tmp_path / "c", layout)
    shutil.copy(folder / name, tmp_path / "good")
    load(folder)
    before, loaded, cases = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0, CASES or usual
    for seed in range(cases):
        shutil.copy(tmp_path / "good", folder / name)
        fuzz(folder / name, random.Random(f"{kind} {seed}"))
        start = time.process_time()
        try:
            load(folder)
            loaded += 1
        except CheckpointError as error:
            assert len(str(error)) < 6000 and str(error).isprintable(), seed
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}: {type(error).__name__}: {error!s:.300}") from error
        assert time.process_time() - start < LONGEST, seed
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    print(f"{kind}: {cases} cases, {loaded} loaded, {cases - loaded} refused, {grown >> 20} MB more memory")
    assert cases - loaded > 0
    assert grown < MOST_MEMORY
