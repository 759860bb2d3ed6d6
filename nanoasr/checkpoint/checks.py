"""Check a checkpoint's config before anything is built from it."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ..audio.features import FEATURE_SIZE, LFR_SHIFT, LFR_WINDOW, MEL_BINS, SAMPLE_RATE
from ..errors import CheckpointError
from ..model.build import AnyConfig
from ..model.config import DecoderConfig, EncoderConfig, ModelConfig, ParaformerConfig

FRONT_END = {  # of every checkpoint, under FunASR's names
    "fs": SAMPLE_RATE,
    "window": "hamming",
    "n_mels": MEL_BINS,
    "frame_length": 25,
    "frame_shift": 10,
    "lfr_m": LFR_WINDOW,
    "lfr_n": LFR_SHIFT,
}
_MAY_BE_ZERO = {"tp_blocks", "n_layer", "blank_id", "self_layers", "l_order", "r_order", "start_id", "no_bias_id"}
_FLOAT_RANGES = {
    "rms_norm_eps": (1e-15, 0.1),
    "norm_eps": (1e-15, 0.1),
    "rope_theta": (1, 1e9),
    "dropout": (0, 0.99),
    "tail_threshold": (0, 1),
}


def check_settings(settings: dict, supported: dict, folder: Path) -> None:
    """Raise CheckpointError if a setting is there and is not the one that is supported."""
    for name, value in supported.items():
        if settings.get(name, value) != value:
            found = f"{settings[name]!r:.80}"
            raise CheckpointError(f"{folder}: its config has {name} = {found}; only {value!r} is supported")


def check_sizes(config: Any, folder: Path) -> None:
    """Raise CheckpointError if a size or a number in the config is out of range.

    The bounds keep a network with absurd sizes from filling the memory before its tensors are compared.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            check_sizes(value, folder)
            continue
        valid = True
        if field.type is int:
            most = 512 if "layer" in field.name or "blocks" in field.name else 2**20
            least = 0 if field.name in _MAY_BE_ZERO else 1
            valid = type(value) is int and least <= value <= most
        elif field.type is float:
            least, most = _FLOAT_RANGES.get(field.name, (0, 1e9))
            valid = type(value) in (int, float) and least <= value <= most
        elif field.type is bool:
            valid = type(value) is bool
        if not valid:
            raise CheckpointError(f"{folder}: its config has {field.name} = {value!r:.80}, which is out of range")


def check_relations(config: AnyConfig, folder: Path) -> None:
    """Raise CheckpointError if sizes of the config contradict each other."""
    rules = [*_encoder_rules(config.encoder)]
    if isinstance(config, ModelConfig):
        rules += _nano_rules(config)
    elif isinstance(config, ParaformerConfig):
        rules += _paraformer_rules(config)
    else:
        rules.append((config.blank_id < config.vocab_size, "blank_id is below vocab_size"))
    for holds, rule in rules:
        if not holds:
            raise CheckpointError(f"{folder}: its config breaks the rule that {rule}")


def _encoder_rules(encoder: EncoderConfig) -> list[tuple[bool, str]]:
    return [
        (encoder.input_size == FEATURE_SIZE, f"input_size is {FEATURE_SIZE}"),
        (encoder.output_size % encoder.attention_heads == 0, "output_size is a multiple of attention_heads"),
        (encoder.kernel_size % 2 == 1, "kernel_size is odd"),
    ]


def _nano_rules(config: ModelConfig) -> list[tuple[bool, str]]:
    encoder, adaptor, llm, ctc = config.encoder, config.adaptor, config.llm, config.ctc
    decoders = [adaptor, ctc.decoder] if ctc else [adaptor]
    return [
        (all(d.llm_dim % d.attention_heads == 0 for d in decoders), "llm_dim is a multiple of attention_heads"),
        (all(d.encoder_dim == encoder.output_size for d in decoders), "encoder_dim is the encoder's output_size"),
        (adaptor.llm_dim == llm.hidden_size, "llm_dim is the LLM's hidden_size"),
        (llm.num_attention_heads % llm.num_key_value_heads == 0, "attention heads are a multiple of key-value heads"),
        (llm.head_dim % 2 == 0, "head_dim is even"),
        (llm.num_attention_heads * llm.head_dim <= 2**20, "attention heads times head_dim are at most 2^20"),
        (all(d.encoder_dim * d.downsample_rate <= 2**20 for d in decoders), "stacked frames are at most 2^20 wide"),
        (ctc is None or ctc.blank_id < ctc.vocab_size, "blank_id is below ctc_vocab_size"),
    ]


def _paraformer_rules(config: ParaformerConfig) -> list[tuple[bool, str]]:
    size, predictor, seaco = config.encoder.output_size, config.predictor, config.seaco
    found = [
        (predictor.idim == size, "the predictor's idim is the encoder's output_size"),
        (predictor.l_order <= 16 and predictor.r_order <= 16, "l_order and r_order are at most 16"),
        (config.upsampled is None or config.upsampled.upsample_times <= 16, "upsample_times is at most 16"),
        (config.upsampled is None or config.upsampled.idim == size, "idim is the encoder's output_size"),
        (seaco is None or seaco.decoder.size == size, "inner_dim is the encoder's output_size"),
        (seaco is None or seaco.no_bias_id < config.vocab_size, "NO_BIAS is one of the tokens"),
        (seaco is None or seaco.start_id < config.vocab_size, "sos is one of the tokens"),
    ]
    return found + _decoder_rules(config.decoder) + (_decoder_rules(seaco.decoder) if seaco else [])


def _decoder_rules(decoder: DecoderConfig) -> list[tuple[bool, str]]:
    return [
        (decoder.size % decoder.attention_heads == 0, "output_size is a multiple of the decoder's attention_heads"),
        (decoder.kernel_size % 2 == 1, "the decoder's kernel_size is odd"),
    ]
