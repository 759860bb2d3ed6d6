"""FunASR's own settings: official checkpoints have them as YAML, mlx-audio's keep them as JSON."""

from pathlib import Path

from ...errors import CheckpointError
from ...model.config import AdaptorConfig, CTCConfig, EncoderConfig, ModelConfig
from ..checks import FRONT_END, check_settings
from ..folder import beside, read_json, tokenizer_folder
from .layout import Configs, Layout, description, llm_config, only_known


def recognize(folder: Path, configs: Configs) -> Layout | None:
    """Read an official or an mlx-audio checkpoint's config."""
    if "audio_encoder_conf" in configs.json:
        raw = configs.json
        llm = raw.get("text_config") or raw.get("llm_config")
        if not llm:
            raise CheckpointError(f"{folder / 'config.json'}: has no text_config, the sizes of the LLM")
        return _read("mlx-audio", folder, raw, llm)
    if "audio_encoder_conf" in configs.yaml:
        raw = configs.yaml
        inner = tokenizer_folder(folder, str((raw.get("llm_conf") or {}).get("init_param_path", "")))
        return _read("official", folder, raw, read_json(inner / "config.json"))
    return None


def _read(name: str, folder: Path, raw: dict, llm: dict) -> Layout:
    frontend, adaptor = raw.get("frontend_conf") or {}, raw.get("audio_adaptor_conf") or {}
    check_settings(frontend, FRONT_END, folder)
    encoder = only_known(EncoderConfig, raw["audio_encoder_conf"], dropout=0.0)
    low = adaptor.get("use_low_frame_rate", name == "mlx-audio")  # each reference implementation's default
    config = ModelConfig(
        encoder=EncoderConfig(**encoder),
        adaptor=AdaptorConfig(
            **only_known(AdaptorConfig, adaptor, dropout=0.0)
            | {"encoder_dim": encoder["output_size"], "llm_dim": llm["hidden_size"]}
        ),
        llm=llm_config(llm, folder),
        ctc=_ctc(raw, encoder["output_size"]) if raw.get("ctc_decoder") else None,
        audio_tokens="low" if low else "full",
    )
    named = raw.get("qwen_tokenizer_path") or (raw.get("llm_conf") or {}).get("init_param_path", "")
    cmvn = frontend.get("cmvn_file")
    return Layout(
        name,
        folder,
        config,
        tokenizer_folder(folder, str(named)),
        cmvn=beside(folder, cmvn) if cmvn else None,
        **description(raw),
    )


def _ctc(raw: dict, encoder_size: int) -> CTCConfig:
    vocabulary = raw.get("ctc_vocab_size", 60515)
    decoder = only_known(AdaptorConfig, raw.get("ctc_decoder_conf") or {}, dropout=0.0, encoder_dim=encoder_size)
    return CTCConfig(
        decoder=AdaptorConfig(**{"n_layer": 2, "ffn_dim": 2048} | decoder),
        vocab_size=vocabulary,
        blank_id=(raw.get("ctc_conf") or {}).get("blank_id", vocabulary - 1),
    )
