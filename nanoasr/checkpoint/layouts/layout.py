"""What every layout is read into, and what their modules share."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CheckpointError, printable
from ...model.build import AnyConfig, family
from ...model.config import LLMConfig
from ..folder import read_json, read_yaml
from ..weights import Tensor, read_tensors


@dataclass(frozen=True)
class Configs:
    """A folder's config.json and config.yaml; an empty dict where there is none."""

    json: dict[str, Any]
    yaml: dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """What a checkpoint folder holds, whatever its layout.

    Tensors have the official checkpoint's names, which both MLX layouts keep
    (`audio_encoder.encoders.0.norm1.weight`); `rename` maps those of a layout with other names, and `adapt` gives
    tensors the shapes that MLX has.
    """

    name: str  # "official", "transformers", "mlx-audio", "mlx-audio-plus" or "nanoasr"
    folder: Path
    config: AnyConfig
    tokenizer: Path  # the folder of tokenizer.json, or the file of SentencePiece's or Paraformer's tokens
    cmvn: Path | np.ndarray | None = None  # am.mvn, or its values
    languages: tuple[str, ...] | None = None  # prompt names that the config lists
    card: str | None = None  # one line to show wherever the checkpoint is shown
    hub_id: str | None = None  # the repository it was downloaded or converted from
    rename: Callable[[str], str] | None = None
    adapt: Callable[[str, Tensor], Tensor] | None = None
    files: tuple[Path, ...] = ()  # that the tokenizer is made of, where it is not a folder

    @property
    def family(self) -> str:
        """The recognizer family: "nano", "sensevoice" or "paraformer"."""
        return family(self.config)

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the checkpoint under its official name; nothing is read yet."""
        found = read_tensors(self.folder, "*.pt" if self.name == "official" else "*.safetensors")
        if self.rename:
            found = {self.rename(name): tensor for name, tensor in found.items()}
        if self.adapt:
            found = {name: self.adapt(name, tensor) for name, tensor in found.items()}
        if self.family == "nano" and self.config.llm.tie_word_embeddings:
            found.pop("llm.lm_head.weight", None)  # a copy of the embeddings
        return found


def read_configs(folder: Path) -> Configs:
    """Read the config files that are there."""
    files = (folder / "config.json", read_json), (folder / "config.yaml", read_yaml)
    return Configs(*(read(path) if path.is_file() else {} for path, read in files))


def description(raw: dict) -> dict[str, Any]:
    """Return the fields of a `Layout` that nanoasr's own config.json adds: languages, card and hub id."""
    languages = raw.get("languages")
    return {
        "languages": tuple(printable(name, 40) for name in languages[:200]) if isinstance(languages, list) else None,
        "card": printable(raw["nanoasr_card"], 500) if raw.get("nanoasr_card") else None,
        "hub_id": printable(raw["nanoasr_source"], 200) if raw.get("nanoasr_source") else None,
    }


def only_known(kind: type, raw: dict, **fixed: Any) -> dict:
    """Return the settings that the dataclass `kind` has, with those of `fixed` over them."""
    return {f.name: raw[f.name] for f in fields(kind) if f.name in raw} | fixed


def llm_config(raw: dict, folder: Path) -> LLMConfig:
    """Read the config of a Qwen3, which is the same in every layout."""
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise CheckpointError(f"{folder}: an LLM with {rope['rope_type']!r:.80} rotary positions is not supported")
    known = only_known(LLMConfig, raw, dropout=0.0)
    if "rope_theta" in rope:
        known["rope_theta"] = rope["rope_theta"]
    known.setdefault("head_dim", raw["hidden_size"] // raw["num_attention_heads"])
    return LLMConfig(**known)
