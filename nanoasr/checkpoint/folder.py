"""The files of a checkpoint folder, found and read with care: a stranger wrote the folder and what its configs name."""

import json
import os
from pathlib import Path

import yaml

from ..errors import CheckpointError

_LARGEST_CONFIG = 16 << 20  # bytes


def one_file(folder: Path, pattern: str) -> Path:
    """The folder's one weights file: that of the usual name, or else the only one there is."""
    preferred = folder / pattern.replace("*", "model")
    files = [preferred] if preferred.is_file() else sorted(folder.glob(pattern))
    if len(files) != 1:
        found = f"several ({', '.join(f.name for f in files)})" if files else "none"
        raise CheckpointError(f"{folder}: expected one weights file {preferred.name}, found {found}")
    return files[0]


def tokenizer_folder(folder: Path, wanted: str) -> Path:
    """Where tokenizer.json is: the folder that the config names, this one, or the only one inside it."""
    candidates = [
        _inside(folder, wanted),
        folder,
        *sorted(p.parent for p in folder.glob("*/tokenizer.json")),
    ]
    for candidate in candidates:
        if (candidate / "tokenizer.json").is_file():
            return candidate
    raise CheckpointError(f"{folder}: no tokenizer.json in it or in a folder of it, such as Qwen3-0.6B/")


def beside(folder: Path, name: str) -> Path:
    """A file that a config names, which must be in the config's own folder."""
    path = _inside(folder, name)
    if not os.path.isfile(path):
        raise CheckpointError(f"{folder}: its config names {name:.200}, and no such file is in that folder")
    return path


def _inside(folder: Path, name: str) -> Path:
    """The last part of a path that a config names: one that leads out of the folder is not followed."""
    last = Path(name).name
    return folder if last == ".." else folder / last


def read_json(path: Path) -> dict:
    """A JSON file's settings."""
    try:
        raw = json.loads(_read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path}: expected an object of settings, found {type(raw).__name__}")
    return raw


def read_yaml(path: Path) -> dict:
    """The settings of FunASR's config.yaml."""
    try:
        raw = yaml.safe_load(_read_text(path))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as YAML ({error})") from None
    if not isinstance(raw, dict) or "audio_encoder_conf" not in raw:
        raise CheckpointError(f"{path}: not the config of a Fun-ASR-Nano (no audio_encoder_conf)")
    return raw


def _read_text(path: Path) -> str:
    if path.stat().st_size > _LARGEST_CONFIG:
        raise ValueError(f"over {_LARGEST_CONFIG >> 20} MB, far too large for a config")
    return path.read_text(encoding="utf-8")
