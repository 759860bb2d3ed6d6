"""mlx-audio-plus: the official names of tensors, and settings under names of its own."""

from pathlib import Path

from ...audio.features import FEATURE_SIZE, SAMPLE_RATE
from ...model.config import AdaptorConfig, EncoderConfig, ModelConfig
from ..checks import FRONT_END, check_settings
from ..folder import tokenizer_folder
from .layout import Configs, Layout, llm_config, only_known


def recognize(folder: Path, configs: Configs) -> Layout | None:
    """Read an mlx-audio-plus checkpoint's config."""
    raw = configs.json
    if not {"encoder", "adaptor", "llm"} <= raw.keys():
        return None
    check_settings({"fs": raw.get("sample_rate", SAMPLE_RATE)} | raw, FRONT_END, folder)
    encoder = raw["encoder"]
    config = ModelConfig(
        encoder=EncoderConfig(
            input_size=encoder.get("input_dim", FEATURE_SIZE),
            output_size=encoder.get("encoder_dim", 512),
            attention_heads=encoder.get("num_heads", 4),
            linear_units=encoder.get("ffn_dim", 2048),
            num_blocks=encoder.get("num_encoders0", 1) + encoder.get("num_encoders", 49),
            tp_blocks=encoder.get("num_tp_encoders", 20),
            kernel_size=encoder.get("kernel_size", 11),
        ),
        adaptor=AdaptorConfig(**only_known(AdaptorConfig, raw["adaptor"], dropout=0.0)),
        llm=llm_config(raw["llm"], folder),
        audio_tokens="low",  # it carries the official weights, which were trained so
    )
    return Layout("mlx-audio-plus", folder, config, tokenizer_folder(folder, ""))
