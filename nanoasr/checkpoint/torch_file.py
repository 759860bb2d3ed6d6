"""Read tensors from a PyTorch .pt file, without torch and without running anything the file contains.

Such a file (torch 1.6 and later) is a zip: a pickle, data.pkl, lists the tensors, and data/0, data/1 … hold their
values, usually uncompressed. `torch_pickle` interprets the pickle.
"""

from __future__ import annotations

import math
import mmap
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CheckpointError
from .torch_pickle import Storage, View, describe, interpret


@dataclass(frozen=True, eq=False)
class RawTensor:
    """One tensor of a file. NumPy has no bfloat16, so `data` holds such values as their uint16 bits.

    In MLX it is `mx.array(t.data)`, or `mx.array(t.data).view(mx.bfloat16)` where `dtype` is "bfloat16".
    """

    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray


def read_torch_file(path: Path) -> dict[str, RawTensor]:
    """Return the weights of a PyTorch file by name, without "module." prefixes; nothing in the file is run.

    The state_dict may be the whole file or lie under "state_dict", "model_state_dict", "model" or "module"; what
    else a training run saved is ignored. Values are mapped from the file read-only and read when they are used, so
    the file must not change meanwhile; only views that are not contiguous are copied.

    Raises UnsafeCheckpointError if the file asks for anything but tensors and plain data, CheckpointError if it is
    damaged or of another kind.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            entries = _Entries(archive, mapped)
            return _tensors(_weights(interpret(entries.pickle())), entries)
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read, {error.strerror or error}.") from error
    except _BAD_ZIP as error:
        raise CheckpointError(f"{path}: {_diagnose(path)}") from error


# A full checkpoint's pickle has 1 MB; its tensors use each byte of the file once, twice if tied.
_MAX_PICKLE_BYTES = 32 << 20
_MAX_USES_OF_A_BYTE = 4
_ALLOWED_ANY_FILE = 64 << 20

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
_MAX_WRAPPERS = 3

# What zipfile raises for damaged archives; NotImplementedError is a RuntimeError.
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, OverflowError)


def _weights(saved: object) -> dict[str, View]:
    found = _state_dict(saved, _MAX_WRAPPERS)
    if not found:
        keys = [f"{key!r:.40}" for key in saved][:8] if isinstance(saved, dict) else [describe(saved)]
        raise CheckpointError(f"holds no weights: no state_dict among {', '.join(keys) or 'nothing'}.")
    weights = {name.removeprefix("module."): view for name, view in found.items()}
    if len(weights) < len(found):
        twice = next(name for name in found if f"module.{name}" in found)
        raise CheckpointError(f"holds {twice!r} both with and without 'module.' in front; keep one of them.")
    return weights


def _state_dict(node: object, wrappers: int) -> dict[str, View]:
    if not isinstance(node, dict):
        return {}
    for wrapper in _WRAPPERS if wrappers else ():
        if found := _state_dict(node.get(wrapper), wrappers - 1):
            return found
    return {name: value for name, value in node.items() if isinstance(value, View)}


def _tensors(weights: dict[str, View], entries: _Entries) -> dict[str, RawTensor]:
    claimed = 0
    for name, view in weights.items():
        if wrong := _check(view) or entries.check(view.storage):
            raise CheckpointError(f"tensor {name!r} {wrong}; download the file again.")
        claimed += math.prod(view.shape) * view.storage.stored_as.itemsize
    if claimed > entries.budget:
        raise CheckpointError(f"its tensors claim {claimed:,} bytes, far more than the file has.")
    return {name: _tensor(view, entries) for name, view in weights.items()}


def _check(view: View) -> str | None:
    """Return what is wrong with a tensor's description, None if nothing is: then it lies within its storage."""
    shape, strides, offset = view.shape, view.strides, view.offset
    for numbers in (shape, strides, (offset,)):
        if not isinstance(numbers, tuple) or not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers):
            return "has a shape, strides or offset that are not plain numbers from 0 up"
    if len(shape) != len(strides) or len(shape) > 32:
        return f"has {len(shape)} dimensions and {len(strides)} strides"
    if math.prod(max(size, 1) for size in shape) >= 1 << 48:  # numpy has such a limit even for empty arrays
        return "is larger than any memory"
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= view.storage.length:
        return f"reaches value {last:,} of a storage of {view.storage.length:,}"
    return None


def _tensor(view: View, entries: _Entries) -> RawTensor:
    dtype, shape, storage = view.storage.stored_as, view.shape, view.storage
    if 0 in shape:
        data = np.empty(shape, dtype)
    else:
        offset, *strides = (values * dtype.itemsize for values in (view.offset, *view.strides))
        data = np.ndarray(shape, dtype, entries.values(storage), offset, strides)
        data = np.require(data, requirements=["C_CONTIGUOUS", "ALIGNED"])
    return RawTensor(storage.dtype, shape, data.astype(bool) if storage.dtype == "bool" else data)


class _Entries:
    """The entries of the zip: mapped where they are uncompressed, else unpacked once, at most `budget` bytes."""

    def __init__(self, archive: zipfile.ZipFile, mapped: mmap.mmap):
        self._archive, self._mapped = archive, mapped
        self._infos = {info.filename: info for info in archive.infolist()}
        self._values: dict[str, np.ndarray] = {}
        self.budget = _ALLOWED_ANY_FILE + _MAX_USES_OF_A_BYTE * len(mapped)
        compressed = [info for info in self._infos.values() if info.compress_type]
        if any(info.compress_type != zipfile.ZIP_DEFLATED for info in compressed):
            raise CheckpointError("is compressed in a way that PyTorch does not read; save it again.")
        if sum(info.file_size for info in compressed) > self.budget:
            raise CheckpointError("would unpack to far more than its own size; refused as a zip bomb.")
        pickles = [name for name in self._infos if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise CheckpointError("is a zip but not a PyTorch checkpoint: no data.pkl in it.")
        self._folder = pickles[0].removesuffix("data.pkl")
        byteorder = self._infos.get(f"{self._folder}byteorder")
        if byteorder and (byteorder.file_size != len("little") or archive.read(byteorder) != b"little"):
            raise CheckpointError("was saved on a big-endian machine; load and save it on another machine.")

    def pickle(self) -> bytes:
        info = self._infos[f"{self._folder}data.pkl"]
        if info.file_size > _MAX_PICKLE_BYTES:
            raise CheckpointError(f"its data.pkl has {info.file_size:,} bytes; save the weights alone.")
        return self._archive.read(info)

    def check(self, storage: Storage) -> str | None:
        info = self._infos.get(f"{self._folder}data/{storage.key}")
        if info is None:
            return f"has no values (no entry {storage.key!r:.40} under data/)"
        if info.file_size != storage.bytes:
            return f"has {info.file_size:,} bytes instead of {storage.bytes:,}"
        return None

    def values(self, storage: Storage) -> np.ndarray:
        if storage.key not in self._values:
            self._values[storage.key] = self._read(self._infos[f"{self._folder}data/{storage.key}"])
        return self._values[storage.key]

    def _read(self, info: zipfile.ZipInfo) -> np.ndarray:
        if info.compress_type or info.flag_bits & 1:  # bit 0: encrypted, which the archive itself refuses
            return np.frombuffer(self._archive.read(info), np.uint8)
        header = self._mapped[info.header_offset : info.header_offset + 30]
        signature, name_length, extra_length = struct.unpack("<4s22xHH", header)
        start = info.header_offset + len(header) + name_length + extra_length
        if signature != b"PK\3\4" or start + info.file_size > len(self._mapped):
            raise zipfile.BadZipFile(f"{info.filename} is not where the directory says")
        return np.frombuffer(self._mapped, np.uint8, info.file_size, start)


def _diagnose(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "is empty; download it again."
    if head.startswith(b"PK"):
        return "is cut short or damaged; download it again."
    if b"l\xfc\x9cF\xf9 j\xa8P\x19" in head:  # the magic number of torch.save before 1.6
        return (
            "is in the format of PyTorch before 1.6; with torch installed, save it again: "
            "torch.save(torch.load(file, weights_only=True), file)."
        )
    if head[8:9] == b"{":
        return "is a safetensors file; rename it to end in .safetensors."
    if head.startswith(b"version https://git-lfs"):
        return "is only a Git LFS pointer; fetch the file itself with: git lfs pull."
    return "is not a PyTorch file; check whether the download is an error page or another format."
