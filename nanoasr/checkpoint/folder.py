"""Find and read the files of a checkpoint folder. Their content is untrusted, so every size is bounded first."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from ..errors import CheckpointError

# A real config has a few kilobytes; an index of 1,300 tensors 120, and a YAML config with a list of tokens 70.
_MAX_JSON_BYTES, _MAX_YAML_BYTES, _MAX_DEPTH = 1 << 20, 256 << 10, 50
_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def cache_folder() -> Path:
    """Return the folder for what can be downloaded or computed again: $NANOASR_CACHE, or ~/.cache/nanoasr."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("NANOASR_CACHE") or f"{cache}/nanoasr").expanduser()


def one_file(folder: Path, pattern: str) -> Path:
    """Return the weights file of the folder: the one with the usual name, or else the only one that matches."""
    preferred = folder / pattern.replace("*", "model")
    files = [preferred] if preferred.is_file() else sorted(path for path in folder.glob(pattern) if path.is_file())
    if len(files) != 1:
        found = f"several ({', '.join(f.name for f in files[:10])})" if files else "none"
        raise CheckpointError(f"{folder}: expected one weights file {preferred.name}, found {found}")
    return files[0]


def tokenizer_folder(folder: Path, named: str) -> Path:
    """Return the folder of tokenizer.json: the one the config names, `folder` itself, or the only one inside it."""
    candidates = [_inside(folder, named), folder, *sorted(p.parent for p in folder.glob("*/tokenizer.json"))]
    for candidate in candidates:
        if (candidate / "tokenizer.json").is_file():
            return candidate
    raise CheckpointError(f"{folder}: no tokenizer.json in it or in a folder of it, such as Qwen3-0.6B/")


def beside(folder: Path, name: str) -> Path:
    """Return the file that a config names; it must lie in the config's own folder."""
    path = _inside(folder, name)
    if not os.path.isfile(path):
        raise CheckpointError(f"{folder}: its config names {name:.200}, and no such file is in that folder")
    return path


def _inside(folder: Path, name: str) -> Path:
    """Take only the last part of a path in a config, so that it cannot lead out of the folder."""
    last = Path(name).name
    return folder if last == ".." else folder / last


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; a pipe or a device is refused, not waited for."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CheckpointError(f"{path}: not a regular file")
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None
    if len(data) > limit:
        raise CheckpointError(f"{path}: too large for its kind, larger than {limit / 2**20:g} MiB")
    return data


def read_json(path: Path, limit: int = _MAX_JSON_BYTES) -> dict:
    """Read a JSON object."""
    try:
        raw = json.loads(read_bytes(path, limit).decode("utf-8"))
        _check_depth(raw)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(raw).__name__}")
    return raw


def read_yaml(path: Path) -> dict:
    """Read the mapping in a YAML file, such as FunASR's config.yaml."""
    try:
        loader = _YamlLoader(read_bytes(path, _MAX_YAML_BYTES).decode("utf-8"))
        try:
            node = loader.get_single_node()
            if node is not None:
                _expanded_size(node, {})
            raw = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path}: expected settings by name, found {type(raw).__name__}")
    return raw


def _check_depth(value: Any, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, dict | list):
                _check_depth(item, depth + 1)


def _expanded_size(node: yaml.Node, sizes: dict[int, int], depth: int = 0) -> int:
    """Count the characters that a node stands for with its aliases written out; ValueError if they are too many.

    A few hundred bytes of nested aliases can stand for gigabytes.
    """
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise ValueError("an alias contains itself")
        return sizes[id(node)]
    sizes[id(node)] = 0  # until it is known
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > 100 and not node.tag.endswith(":str"):
            raise ValueError("a number of more than 100 characters")
        size = 1 + len(node.value)
    else:
        pairs = isinstance(node, yaml.MappingNode)
        items = [item for pair in node.value for item in pair] if pairs else node.value
        size = 1 + sum(_expanded_size(item, sizes, depth + 1) for item in items)
    if size > 4 * _MAX_YAML_BYTES:
        raise ValueError("its aliases stand for far more than the file has")
    sizes[id(node)] = size
    return size
