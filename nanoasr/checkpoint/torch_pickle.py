"""Interpret the pickle of a PyTorch file without running it.

A pickle is a program that may import and call anything, so it is not unpickled. `interpret` knows the few opcodes and
the handful of names that tensors and plain data need. It only compares those names: nothing is imported or called, no
attribute is set, and everything else is refused.
"""

import pickletools
from dataclasses import dataclass

import numpy as np

from ..errors import CheckpointError, UnsafeCheckpointError

_MAX_OPCODES = 2_000_000  # a full checkpoint has 60,000

# By name: the tensors' dtype, and how NumPy reads it (bool as bytes first: a stored 2 must not become a bool).
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


@dataclass(frozen=True)
class _Label:
    """A name that the pickle mentions, such as "torch.FloatStorage"."""

    name: str


@dataclass(frozen=True)
class Storage:
    """An entry of the zip that holds the values of one or more tensors."""

    key: str
    dtype: str
    stored_as: np.dtype
    length: int

    @property
    def bytes(self) -> int:
        """Size of the entry."""
        return self.length * self.stored_as.itemsize


@dataclass(frozen=True)
class View:
    """A tensor as the pickle describes it; all but `storage` is unchecked, of any type."""

    storage: Storage
    offset: object
    shape: object
    strides: object


def interpret(pickled: bytes) -> object:
    """Return what the pickle describes: plain data, with a `View` for each tensor."""
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
            if count > _MAX_OPCODES:
                raise CheckpointError(f"data.pkl has over {_MAX_OPCODES:,} opcodes; save the weights alone.")
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
                        raise _refusal(f"BUILD on {describe(stack[-1])}")
                case "STOP":
                    return stack.pop()
                case _:
                    raise _refusal(f"{opcode.name} {argument}" if isinstance(argument, str) else opcode.name)
    except (IndexError, KeyError, ValueError) as error:
        raise CheckpointError("its list of tensors (data.pkl) is damaged; download it again.") from error


def _extend(target: object, items: list | tuple) -> None:
    if not isinstance(target, list):
        raise ValueError("items for something that is not a list")
    target.extend(items)


def _set_items(target: object, items: list | tuple) -> None:
    if not isinstance(target, dict) or len(items) % 2:
        raise ValueError("pairs for something that is not a dict")
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


def _storage(persistent_id: object) -> Storage:
    match persistent_id:
        case ("storage", _Label(name), str(key), str(), int(length)) if name in _STORAGES and length >= 0:
            return Storage(key, *_STORAGES[name], length)
    raise _refusal(f"BINPERSID of {describe(persistent_id)}")


def _rebuilt(called: object, arguments: object) -> object:
    match called, arguments:
        case _Label(name), () if name == _ORDERED_DICT:
            return {}
        case _Label(name), (View() as view, _, _) if name == _REBUILD_PARAMETER:
            return view
        case _Label(name), (Storage() as storage, offset, shape, strides, _, _) if name == _REBUILD_TENSOR:
            return View(storage, offset, shape, strides)
    raise _refusal(f"REDUCE of {describe(called)} with {describe(arguments)}")


def describe(value: object) -> str:
    """Name a value's kind, for errors."""
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
