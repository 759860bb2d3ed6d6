"""A training in one file: YAML (or JSON) read into frozen dataclasses, every unknown or misspelt key an error."""

import os
import types
import typing
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import OptionError
from ..model.config import ModelConfig
from .augment import AugmentConfig
from .batches import BatchConfig, Source
from .lora import LoRAConfig
from .optimizer import OptimizerConfig
from .prompts import PromptConfig
from .step import LossConfig


@dataclass(frozen=True)
class DropoutConfig:
    """In training only, after each sublayer of a part."""

    encoder: float = 0.0
    adaptor: float = 0.0
    llm: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """Everything about a training; paths in the file are relative to it.

    Either `init` names a checkpoint (folder or hub id) to go on from, or `model` gives the sizes of a new one
    and `tokenizer` how many pieces its tokenizer gets (or the folder of one that exists). `freeze` lists the
    beginnings of tensor names that stay as they are, such as `audio_encoder.`; `lora` trains only small
    additions to the LLM. `dtype` is what is computed in; weights are kept in float32 meanwhile.
    """

    out: str
    train: tuple[Source, ...]
    valid: dict[str, str] = field(default_factory=dict)  # name: manifest
    init: str | None = None
    model: ModelConfig | None = None
    tokenizer: int | str = 1024
    batch: BatchConfig = field(default_factory=BatchConfig)
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    prompts: PromptConfig = field(default_factory=PromptConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    dropout: DropoutConfig = field(default_factory=DropoutConfig)
    lora: LoRAConfig | None = None
    freeze: tuple[str, ...] = ()
    dtype: str | None = None  # None: bfloat16 on a GPU, float32 on a CPU
    seed: int = 0
    validate_every: int = 1000
    validate_batches: int = 4  # of each manifest; 0 for all
    save_every: int = 1000
    log_every: int = 20
    languages: tuple[str, ...] = ()  # prompt names of those that the checkpoint will know, such as 英文
    card: str | None = None  # a line that whoever shows the trained checkpoint should show with it

    def __post_init__(self) -> None:
        if (self.init is None) == (self.model is None):
            raise OptionError("a training needs either init (a checkpoint to go on from) or model (sizes), not both")
        if not self.train:
            raise OptionError("a training needs at least one manifest under train")


def read_config(path: str | Path) -> TrainConfig:
    """The training that a file describes."""
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise OptionError(f"{path}: cannot be read as YAML ({error})") from None
    if not isinstance(raw, dict):
        raise OptionError(f"{path}: expected settings by name, found {type(raw).__name__}")
    config = _build(TrainConfig, raw, path.name)
    return _resolved(config, path.parent)


def _resolved(config: TrainConfig, folder: Path) -> TrainConfig:
    def local(name: str) -> str:
        return os.path.normpath(folder / name)

    return replace(
        config,
        out=local(config.out),
        train=tuple(replace(source, manifest=local(source.manifest)) for source in config.train),
        valid={name: local(manifest) for name, manifest in config.valid.items()},
        init=local(config.init) if config.init and (folder / config.init).is_dir() else config.init,
        tokenizer=local(config.tokenizer) if isinstance(config.tokenizer, str) else config.tokenizer,
    )


def _build(kind: Any, raw: Any, where: str) -> Any:
    """`raw`, of a YAML file, as a value of the type `kind`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if raw is None and type(None) in arguments:
            return None
        options = [a for a in arguments if a is not type(None)]
        fitting = next((a for a in options if isinstance(a, type) and type(raw) is a), options[0])
        return _build(fitting, raw, where)
    if is_dataclass(kind):
        return _build_dataclass(kind, raw, where)
    if origin is tuple:
        if not isinstance(raw, list):
            raise OptionError(f"{where}: expected a list, found {raw!r}")
        inner = [arguments[0]] * len(raw) if arguments[-1] is ... else list(arguments)
        if len(inner) != len(raw):
            raise OptionError(f"{where}: expected {len(inner)} values, found {raw!r}")
        return tuple(_build(a, value, f"{where}[{i}]") for i, (a, value) in enumerate(zip(inner, raw, strict=True)))
    if origin is dict:
        if not isinstance(raw, dict):
            raise OptionError(f"{where}: expected names and values, found {raw!r}")
        return {str(key): _build(arguments[1], value, f"{where}.{key}") for key, value in raw.items()}
    if origin is typing.Literal:
        if raw not in arguments:
            raise OptionError(f"{where}: {raw!r} is none of {', '.join(map(repr, arguments))}")
        return raw
    return _plain(kind, raw, where)


def _build_dataclass(kind: type, raw: Any, where: str) -> Any:
    if kind is Source and isinstance(raw, str):
        raw = {"manifest": raw}
    if not isinstance(raw, dict):
        raise OptionError(f"{where}: expected settings by name, found {raw!r}")
    hints = typing.get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    unknown = [str(key) for key in raw if key not in names]
    if unknown:
        raise OptionError(f"{where}: no setting {', '.join(unknown)}; there are {', '.join(names)}")
    try:
        return kind(**{name: _build(hints[name], value, f"{where}.{name}") for name, value in raw.items()})
    except TypeError as error:
        raise OptionError(f"{where}: {error}") from None


def _plain(kind: type, raw: Any, where: str) -> Any:
    if kind is float and isinstance(raw, (int, str)) and not isinstance(raw, bool):
        try:
            return float(raw)  # YAML reads 1e-3 as a text
        except ValueError:
            pass
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise OptionError(f"{where}: expected {kind.__name__}, found {raw!r}")
    return raw
