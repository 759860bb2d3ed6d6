"""What the layouts of SenseVoice and Paraformer share: FunASR's settings, and the files they name."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...model.config import EncoderConfig
from ..folder import beside, read_json

# The settings that an encoder and a decoder must have, where they name them.
ENCODER = {
    "input_layer": "pe",
    "normalize_before": True,
    "concat_after": False,
    "selfattention_layer_type": "sanm",
    "sanm_shfit": 0,
    "sanm_shift": 0,
}
DECODER = {"normalize_before": True, "concat_after": False, "input_layer": "embed", "sanm_shfit": 0}


def encoder_settings(config: EncoderConfig) -> dict[str, Any]:
    """Return an encoder's settings under FunASR's names."""
    names = ("output_size", "attention_heads", "linear_units", "num_blocks", "tp_blocks", "kernel_size")
    found = {name: value for name, value in asdict(config).items() if name in names}
    return found | {"normalize_before": True, "sanm_shift": 0}


def find_file(folder: Path, raw: dict, setting: tuple[str, str], usual: str) -> Path | None:
    """Return the file that config.yaml or configuration.json names, else the usual one, or None if there is none."""
    section, name = setting
    named = (raw.get(section) or {}).get(name)
    if not named and (folder / "configuration.json").is_file():
        metas = read_json(folder / "configuration.json").get("file_path_metas") or {}
        named = (metas.get(section) or {}).get(name)
    if named:
        return beside(folder, str(named))
    return folder / usual if (folder / usual).is_file() else None
