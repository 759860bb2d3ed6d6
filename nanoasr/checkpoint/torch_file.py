"""Tensors out of a PyTorch ``.pt`` file, without torch and without running anything that the file says.

Such a file (torch 1.6 and later) is a zip: a pickle, ``data.pkl``, lists the tensors, and ``data/0``,
``data/1`` … hold their values, as a rule uncompressed. A pickle is a program that may import and call
anything, so it is not unpickled: `_interpret` knows the few opcodes and the handful of names that tensors and
plain data need, only compares those names, never imports, calls or sets an attribute of anything, and refuses
the rest.
"""

from __future__ import annotations

import math
import mmap
import pickletools
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CheckpointError, UnsafeCheckpointError


@dataclass(frozen=True, eq=False)
class RawTensor:
    """One tensor of a file; numpy has no bfloat16, so `data` holds those values as their uint16 bits.

    In MLX it is ``mx.array(t.data)``, and ``mx.array(t.data).view(mx.bfloat16)`` where `dtype` is "bfloat16".
    """

    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray


def read_torch_file(path: Path) -> dict[str, RawTensor]:
    """The weights in a PyTorch file by name, "module." prefixes taken off; nothing in the file is run.

    The state_dict may be the whole file or lie under "state_dict", "model_state_dict", "model" or "module";
    what a training run saved beside it is ignored. Values are mapped from the file, read-only, and read when
    they are used, so leave the file as it is meanwhile; only views that are not contiguous are copied.

    Raises UnsafeCheckpointError if the file asks for anything but tensors and plain data, CheckpointError if
    it is damaged or of another kind.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            entries = _Entries(archive, mapped)
            return _tensors(_weights(_interpret(entries.pickle())), entries)
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read, {error.strerror or error}.") from error
    except _BAD_ZIP as error:
        raise CheckpointError(f"{path}: {_what_is_wrong_with(path)}") from error


# What a file may cost to read. A full checkpoint has 60,000 opcodes and uses each byte once, twice if tied.
_MOST_PICKLE_BYTES = 32 << 20
_MOST_OPCODES = 2_000_000
_MOST_USES_OF_A_BYTE = 4
_ALLOWED_ANY_FILE = 64 << 20

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
_DEEPEST_WRAPPING = 3

# by name: the tensors' dtype, and how numpy reads it (bool as bytes first: a stored 2 must not become a bool)
_STORAGES = {
    "torch.DoubleStorage": ("float64", np.dtype("<f8")),
    "torch.FloatStorage": ("float32", np.dtype("<f4")),
    "torch.HalfStorage": ("float16", np.dtype("<f2")),
    "torch.BFloat16Storage": ("bfloat16", np.dtype("<u2")),
    "torch.LongStorage": ("int64", np.dtype("<i8")),
    "torch.IntStorage": ("int32", np.dtype("<i4")),
    "torch.ShortStorage": ("int16", np.dtype("<i2")),
    "torch.CharStorage": ("int8", np.dtype("i1")),
    "torch.ByteStorage": ("uint8", np.dtype("u1")),
    "torch.BoolStorage": ("bool", np.dtype("u1")),
}
_REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
_REBUILD_PARAMETER = "torch._utils._rebuild_parameter"
_ORDERED_DICT = "collections.OrderedDict"
_ADMITTED_NAMES = {_REBUILD_TENSOR, _REBUILD_PARAMETER, _ORDERED_DICT, *_STORAGES}

# what zipfile raises for damaged archives (NotImplementedError, for strange ones, is a RuntimeError)
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, OverflowError)


@dataclass(frozen=True)
class _Label:
    """A name that the pickle mentions, such as "torch.FloatStorage"."""

    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    stored_as: np.dtype
    length: int

    @property
    def bytes(self) -> int:
        return self.length * self.stored_as.itemsize


@dataclass(frozen=True)
class _View:
    """A tensor as the pickle describes it; all but `storage` is whatever the file says until `_check`."""

    storage: _Storage
    offset: object
    shape: object
    strides: object


def _interpret(pickled: bytes) -> object:
    """What the pickle describes: plain data, with a `_View` for each tensor."""
    stack: list = []
    outer_stacks: list[list] = []
    memo: dict[int, object] = {}

    def pop(count: int) -> tuple:
        return tuple(reversed([stack.pop() for _ in range(count)]))

    def pop_to_mark() -> list:
        nonlocal stack
        items, stack = stack, outer_stacks.pop()
        return items

    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
            if count > _MOST_OPCODES:
                raise CheckpointError(f"data.pkl has over {_MOST_OPCODES:,} opcodes; save the weights alone.")
            match opcode.name:
                case "PROTO" | "FRAME":
                    pass
                case "NONE":
                    stack.append(None)
                case "NEWTRUE" | "NEWFALSE":
                    stack.append(opcode.name == "NEWTRUE")
                case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                    stack.append(argument)
                case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8" | "BINBYTES" | "SHORT_BINBYTES":
                    stack.append(argument)
                case "EMPTY_LIST":
                    stack.append([])
                case "EMPTY_DICT":
                    stack.append({})
                case "EMPTY_TUPLE":
                    stack.append(())
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    stack.append(pop(int(opcode.name[-1])))
                case "MARK":
                    outer_stacks.append(stack)
                    stack = []
                case "TUPLE":
                    items = pop_to_mark()
                    stack.append(tuple(items))
                case "APPEND" | "APPENDS":
                    items = pop(1) if opcode.name == "APPEND" else pop_to_mark()
                    _extend(stack[-1], items)
                case "SETITEM" | "SETITEMS":
                    items = pop(2) if opcode.name == "SETITEM" else pop_to_mark()
                    _set_items(stack[-1], items)
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "GLOBAL":
                    stack.append(_label(*argument.split(" ", 1)))
                case "STACK_GLOBAL":
                    stack.append(_label(*pop(2)))
                case "BINPERSID":
                    stack.append(_storage(stack.pop()))
                case "REDUCE":
                    stack.append(_rebuilt(*pop(2)))
                case "BUILD":
                    stack.pop()  # torch's _metadata of a state_dict; dropped, since no attribute is ever set
                    if not isinstance(stack[-1], dict):
                        raise _refusal(f"BUILD on {_describe(stack[-1])}")
                case "STOP":
                    return stack.pop()
                case _:
                    raise _refusal(f"{opcode.name} {argument}" if isinstance(argument, str) else opcode.name)
    except (IndexError, KeyError, ValueError) as error:
        raise CheckpointError("its list of tensors (data.pkl) is damaged; download it again.") from error


def _extend(target: object, items: list | tuple) -> None:
    if not isinstance(target, list):
        raise ValueError("items for what is no list")
    target.extend(items)


def _set_items(target: object, items: list | tuple) -> None:
    if not isinstance(target, dict) or len(items) % 2:
        raise ValueError("pairs for what is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str):  # only text names weights, and only hashes of text cannot be made to collide
            target[key] = value


def _label(module: object, name: object) -> _Label:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a global without a name")
    full_name = f"{module}.{name}"
    if full_name not in _ADMITTED_NAMES:
        raise _refusal(full_name)
    return _Label(full_name)


def _storage(persistent_id: object) -> _Storage:
    match persistent_id:
        case ("storage", _Label(name), str(key), str(), int(length)) if name in _STORAGES and length >= 0:
            return _Storage(key, *_STORAGES[name], length)
    raise _refusal(f"BINPERSID of {_describe(persistent_id)}")


def _rebuilt(called: object, arguments: object) -> object:
    match called, arguments:
        case _Label(name), () if name == _ORDERED_DICT:
            return {}
        case _Label(name), (_View() as view, _, _) if name == _REBUILD_PARAMETER:
            return view
        case _Label(name), (_Storage() as storage, offset, shape, strides, _, _) if name == _REBUILD_TENSOR:
            return _View(storage, offset, shape, strides)
    raise _refusal(f"REDUCE of {_describe(called)} with {_describe(arguments)}")


def _describe(value: object) -> str:
    if isinstance(value, _Label):
        return value.name
    if isinstance(value, tuple):
        return f"({', '.join(type(item).__name__.lstrip('_') for item in value[:8])})"
    return type(value).__name__.lstrip("_")


def _refusal(asked_for: str) -> UnsafeCheckpointError:
    return UnsafeCheckpointError(
        f"asks for {asked_for!r:.200}, which could run code and plain tensors never need; nothing was run. "
        "Get the weights as .safetensors, or saved as a state_dict of plain tensors."
    )


def _weights(saved: object) -> dict[str, _View]:
    found = _state_dict(saved, _DEEPEST_WRAPPING)
    if not found:
        keys = [f"{key!r:.40}" for key in saved][:8] if isinstance(saved, dict) else [_describe(saved)]
        raise CheckpointError(f"holds no weights: no state_dict among {', '.join(keys) or 'nothing'}.")
    weights = {name.removeprefix("module."): view for name, view in found.items()}
    if len(weights) < len(found):
        twice = next(name for name in found if f"module.{name}" in found)
        raise CheckpointError(f"holds {twice!r} both with and without 'module.' in front; keep one of them.")
    return weights


def _state_dict(node: object, deepest: int) -> dict[str, _View]:
    if not isinstance(node, dict):
        return {}
    for wrapper in _WRAPPERS if deepest else ():
        if found := _state_dict(node.get(wrapper), deepest - 1):
            return found
    return {name: value for name, value in node.items() if isinstance(value, _View)}


def _tensors(weights: dict[str, _View], entries: _Entries) -> dict[str, RawTensor]:
    claimed = 0
    for name, view in weights.items():
        if wrong := _check(view) or entries.check(view.storage):
            raise CheckpointError(f"tensor {name!r} {wrong}; download the file again.")
        claimed += math.prod(view.shape) * view.storage.stored_as.itemsize
    if claimed > entries.budget:
        raise CheckpointError(f"its tensors claim {claimed:,} bytes, far more than the file has.")
    return {name: _tensor(view, entries) for name, view in weights.items()}


def _check(view: _View) -> str | None:
    """What is wrong with a tensor's description, if anything; without a fault it lies within its storage."""
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


def _tensor(view: _View, entries: _Entries) -> RawTensor:
    dtype, shape, storage = view.storage.stored_as, view.shape, view.storage
    if 0 in shape:
        data = np.empty(shape, dtype)
    else:
        offset, *strides = (values * dtype.itemsize for values in (view.offset, *view.strides))
        data = np.ndarray(shape, dtype, entries.values(storage), offset, strides)
        data = np.require(data, requirements=["C_CONTIGUOUS", "ALIGNED"])
    return RawTensor(storage.dtype, shape, data.astype(bool) if storage.dtype == "bool" else data)


class _Entries:
    """The zip's entries: mapped where they lie uncompressed, else unpacked once, `budget` bytes at most."""

    def __init__(self, archive: zipfile.ZipFile, mapped: mmap.mmap):
        self._archive, self._mapped = archive, mapped
        self._infos = {info.filename: info for info in archive.infolist()}
        self._values: dict[str, np.ndarray] = {}
        self.budget = _ALLOWED_ANY_FILE + _MOST_USES_OF_A_BYTE * len(mapped)
        compressed = [info for info in self._infos.values() if info.compress_type]
        if any(info.compress_type != zipfile.ZIP_DEFLATED for info in compressed):
            raise CheckpointError("is compressed in a way that PyTorch does not read; save it anew.")
        if sum(info.file_size for info in compressed) > self.budget:
            raise CheckpointError("would unpack to far more than its own size; refused as a zip bomb.")
        pickles = [name for name in self._infos if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise CheckpointError("is a zip but not a PyTorch checkpoint: no data.pkl in it.")
        self._folder = pickles[0].removesuffix("data.pkl")
        byteorder = self._infos.get(f"{self._folder}byteorder")
        if byteorder and (byteorder.file_size != len("little") or archive.read(byteorder) != b"little"):
            raise CheckpointError("was saved on a big-endian machine; load and save it anew on another.")

    def pickle(self) -> bytes:
        info = self._infos[f"{self._folder}data.pkl"]
        if info.file_size > _MOST_PICKLE_BYTES:
            raise CheckpointError(f"its data.pkl has {info.file_size:,} bytes; save the weights alone.")
        return self._archive.read(info)

    def check(self, storage: _Storage) -> str | None:
        info = self._infos.get(f"{self._folder}data/{storage.key}")
        if info is None:
            return f"has no values (no entry {storage.key!r:.40} under data/)"
        if info.file_size != storage.bytes:
            return f"has {info.file_size:,} bytes where {storage.bytes:,} are due"
        return None

    def values(self, storage: _Storage) -> np.ndarray:
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


def _what_is_wrong_with(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "is empty; download it again."
    if head.startswith(b"PK"):
        return "is cut short or damaged; download it again."
    if b"l\xfc\x9cF\xf9 j\xa8P\x19" in head:  # the number that torch.save began with before 1.6
        return (
            "is in PyTorch's old format, of before 1.6; with torch installed, save it anew: "
            "torch.save(torch.load(file, weights_only=True), file)."
        )
    if head[8:9] == b"{":
        return "is a safetensors file; let its name end in .safetensors."
    if head.startswith(b"version https://git-lfs"):
        return "is only a Git LFS pointer; fetch the file itself with: git lfs pull."
    return "is not a PyTorch file; see whether the download is an error page or another format."
