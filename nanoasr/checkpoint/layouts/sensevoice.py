"""SenseVoiceSmall: FunASR's official layout, and mlx-audio's conversion of it, which `convert` writes."""

from pathlib import Path
from typing import Any

import numpy as np

from ...audio.features import FEATURE_SIZE
from ...errors import CheckpointError
from ...model.config import EncoderConfig, SenseVoiceConfig
from ..checks import FRONT_END, check_settings
from ..sentencepiece import SentencePieces
from .funasr_files import ENCODER, encoder_settings, find_file
from .layout import Configs, Layout, description, only_known

PIECES = "chn_jpn_yue_eng_ko_spectok.bpe.model"


def recognize(folder: Path, configs: Configs) -> Layout | None:
    """Read an official or an mlx-audio checkpoint's config."""
    if configs.yaml.get("model") == "SenseVoiceSmall":
        return _read("official", folder, configs.yaml)
    if configs.json.get("model_type") == "sensevoice":
        return _read("mlx-audio", folder, configs.json)
    return None


def settings(config: SenseVoiceConfig) -> dict[str, Any]:
    """Return config.json's settings of a network, as mlx-audio reads them."""
    return {
        "model_type": "sensevoice",
        "vocab_size": config.vocab_size,
        "input_size": config.encoder.input_size,
        "encoder_conf": encoder_settings(config.encoder),
        "frontend_conf": dict(FRONT_END),
    }


def stored(name: str, value: Any) -> tuple[str, Any]:
    """Return a tensor as mlx-audio's layout has it: `ctc_lo` at the top, depthwise kernels as in PyTorch."""
    if ".fsmn_block." in name:
        value = value.swapaxes(1, 2)
    return name.removeprefix("ctc.") if name.startswith("ctc.ctc_lo.") else name, value


def _read(name: str, folder: Path, raw: dict) -> Layout:
    encoder = raw["encoder_conf"]
    check_settings(raw.get("frontend_conf") or {}, FRONT_END, folder)
    check_settings(encoder, ENCODER, folder)
    pieces = find_file(folder, raw, ("tokenizer_conf", "bpemodel"), PIECES)
    if pieces is None:
        raise CheckpointError(f"{folder}: its SentencePiece model, {PIECES}, is missing")
    size = SentencePieces.read(pieces).size
    config = SenseVoiceConfig(
        EncoderConfig(**only_known(EncoderConfig, encoder, input_size=FEATURE_SIZE, dropout=0.0)),
        vocab_size=raw.get("vocab_size", size),
    )
    if size != config.vocab_size:
        raise CheckpointError(f"{pieces}: has {size} pieces where the network has {config.vocab_size} ids")
    cmvn = find_file(folder, raw, ("frontend_conf", "cmvn_file"), "am.mvn")
    if cmvn is None:
        cmvn = _cmvn(raw, folder)
    return Layout(name, folder, config, pieces, cmvn=cmvn, files=(pieces,), rename=_official_name, **description(raw))


def _official_name(name: str) -> str:
    return f"ctc.{name}" if name.startswith("ctc_lo.") else name


def _cmvn(raw: dict, folder: Path) -> np.ndarray:
    """Read the CMVN in a converted checkpoint's config."""
    try:
        values = np.array([raw["cmvn_means"], raw["cmvn_istd"]], np.float32)
    except KeyError:
        raise CheckpointError(f"{folder}: its CMVN file, am.mvn, is missing") from None
    if values.shape != (2, FEATURE_SIZE) or not np.isfinite(values).all():
        raise CheckpointError(f"{folder}: cmvn_means and cmvn_istd must have {FEATURE_SIZE} numbers each")
    return values
