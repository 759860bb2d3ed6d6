"""A training in one file: YAML (or JSON) read into frozen dataclasses, every unknown or misspelt key an error."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from ..errors import OptionError
from ..model.config import ModelConfig
from ..typed import build
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
    if isinstance(raw.get("train"), list):  # a manifest alone is short for a source with only that
        raw["train"] = [{"manifest": source} if isinstance(source, str) else source for source in raw["train"]]
    config = build(TrainConfig, raw, path.name)
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
