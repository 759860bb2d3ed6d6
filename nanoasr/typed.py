"""Check the fields of dataclasses, and build dataclasses from the plain values of JSON and YAML."""

import functools
import math
import reprlib
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from .errors import OptionError

_type_hints = functools.lru_cache(typing.get_type_hints)  # slow to resolve, and needed for every token of a transcript


def build(kind: Any, value: Any, where: str, *, lenient: bool = False) -> Any:
    """Return `value` as the type `kind`; OptionError names the first place where it does not fit.

    lenient   ignore unknown keys, and read null as NaN where a number is required
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        return build(next((o for o in options if type(value) is o), options[0]), value, where, lenient=lenient)
    if is_dataclass(kind):
        return _build_dataclass(kind, value, where, lenient)
    if origin is tuple:
        _require(isinstance(value, list), where, "a list", value)
        inner = [arguments[0]] * len(value) if arguments[-1] is ... else list(arguments)
        _require(len(inner) == len(value), where, f"{len(inner)} values", value)
        items = enumerate(zip(inner, value, strict=True))
        return tuple(build(part, item, f"{where}[{i}]", lenient=lenient) for i, (part, item) in items)
    if origin is dict:
        _require(isinstance(value, dict), where, "names and values", value)
        return {str(k): build(arguments[1], item, f"{where}.{k}", lenient=lenient) for k, item in value.items()}
    if origin is typing.Literal:
        _require(value in arguments, where, f"one of {', '.join(map(repr, arguments))}", value)
        return value
    if kind is float and value is None and lenient:
        return math.nan
    if kind is float and type(value) in (int, str):  # YAML reads 1e-3 as text
        try:
            return float(value)
        except OverflowError as error:
            raise OptionError(f"{where}: {error}") from None
        except ValueError:
            pass
    _require(type(value) is kind, where, kind.__name__, value)
    return value


def check_fields(options: Any, rules: Iterable[tuple[str, type | tuple, Callable[[Any], bool], str]]) -> None:
    """Raise OptionError for the first field that breaks its rule: (name, type, predicate, description).

    True and False are not numbers here.
    """
    for name, kind, fits, wanted in rules:
        value = getattr(options, name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool) or not fits(value):
            raise OptionError(f"{name}={value!r:.80}: must be {wanted}")


def _build_dataclass(kind: Any, value: Any, where: str, lenient: bool) -> Any:
    _require(isinstance(value, dict), where, "settings by name", value)
    known = fields(kind)
    unknown = [str(key) for key in value if key not in {f.name for f in known}]
    if unknown and not lenient:
        names = ", ".join(f.name for f in known)
        raise OptionError(f"{where}: no setting {', '.join(unknown)}; there are {names}"[:1000])
    hints = _type_hints(kind)
    given = {
        f.name: build(hints[f.name], value[f.name], f"{where}.{f.name}", lenient=lenient)
        for f in known
        if f.name in value
    }
    required = [f.name for f in known if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if name not in given]:
        raise OptionError(f"{where} lacks {', '.join(missing)}")
    return kind(**given)


def _require(fits: bool, where: str, wanted: str, value: Any) -> None:
    if not fits:
        raise OptionError(f"{where}: expected {wanted}, found {reprlib.repr(value)}")
