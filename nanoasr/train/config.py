"""The settings of a training run, read from YAML or JSON. Unknown keys are errors."""

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
    """Dropout rates after each sublayer, by part of the network."""

    encoder: float = 0.0
    adaptor: float = 0.0
    llm: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run; paths in the file are relative to it.

    Either `init` names a checkpoint (folder or hub id) to start from, or `model` gives the sizes of a new one and
    `tokenizer` the vocabulary size of its tokenizer (or the folder of an existing one). `freeze` lists prefixes of
    tensor names that are not trained, such as `audio_encoder.`; `lora` trains only LoRA matrices of the LLM. `dtype`
    is the compute dtype; the trained weights are kept in float32.
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
    languages: tuple[str, ...] = ()  # prompt names of the languages that the checkpoint supports, such as 英文
    card: str | None = None  # one line about the checkpoint, shown wherever it is used

    def __post_init__(self) -> None:
        if (self.init is None) == (self.model is None):
            raise OptionError("a training needs either init (a checkpoint to start from) or model (sizes), not both")
        if not self.train:
            raise OptionError("a training needs at least one manifest under train")


def read_config(path: str | Path) -> TrainConfig:
    """Read and check a config file."""
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise OptionError(f"{path}: cannot be read as YAML ({error})") from None
    if not isinstance(raw, dict):
        raise OptionError(f"{path}: expected settings by name, found {type(raw).__name__}")
    if isinstance(raw.get("train"), list):  # a bare manifest is a source with defaults
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
