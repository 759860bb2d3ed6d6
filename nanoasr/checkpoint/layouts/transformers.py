"""Checkpoints for Hugging Face transformers, which has names of its own for settings and tensors.

They come in two generations. Today's has one flat list of encoder layers. The first one (`Fun-ASR-Nano-2512-hf` at
revisions 972ee603 and 1fd03aa5) splits the encoder into stem, layers and timestamp prediction layers, names the
parts of a layer in another way, and was made for the low rate of audio tokens.
"""

import re
from functools import partial
from pathlib import Path

from ...model.config import AdaptorConfig, EncoderConfig, ModelConfig
from ..checks import FRONT_END, check_settings
from ..folder import tokenizer_folder
from .layout import Configs, Layout, llm_config

# The parts of an encoder or adaptor layer: today's names, the first generation's, and the official ones.
_LAYER_PARTS = (
    ("input_layernorm.", "self_attn_layer_norm.", "norm1."),
    ("post_attention_layernorm.", "final_layer_norm.", "norm2."),
    ("mlp.fc1.", "fc1.", "feed_forward.w_1."),
    ("mlp.fc2.", "fc2.", "feed_forward.w_2."),
    ("self_attn.fsmn.conv.", "fsmn.conv.", "self_attn.fsmn_block."),
    ("self_attn.fsmn.conv.", "feedforward_sequential_memory.conv.", "self_attn.fsmn_block."),
    ("self_attn.o_proj.", "self_attn.out_proj.", "self_attn.linear_out."),
    *((f"self_attn.{x}_proj.", f"self_attn.{x}_proj.", f"self_attn.linear_{x}.") for x in "qkv"),
)
_SPLIT_ENCODER = (
    (r"stem\.", "encoders0.0."),
    (r"layers\.(\d+)\.", r"encoders.\1."),
    (r"layer_norm\.", "after_norm."),
    (r"timestamp_prediction_layers\.(\d+)\.", r"tp_encoders.\1."),
    (r"timestamp_prediction_layer_norm\.", "tp_norm."),
)


def recognize(folder: Path, configs: Configs) -> Layout | None:
    """Read a transformers checkpoint's config."""
    raw = configs.json
    audio = raw.get("audio_config") or raw.get("encoder_config")
    if raw.get("model_type") != "fun_asr_nano" or not audio:
        return None
    given = {"n_mels": audio.get("num_mel_bins", 80), "lfr_m": audio.get("num_stacked_frames", 7)}
    check_settings(given, FRONT_END, folder)
    split = "num_timestamp_prediction_blocks" in audio or "encoder_config" in raw
    config = ModelConfig(
        encoder=_encoder(audio, split),
        adaptor=_adaptor(raw, audio),
        llm=llm_config(raw["text_config"], folder),
        audio_tokens="low" if split else "full",
    )
    rename = partial(official_name, config=config, split=split)
    return Layout("transformers", folder, config, tokenizer_folder(folder, ""), rename=rename)


def _encoder(audio: dict, split: bool) -> EncoderConfig:
    def setting(*names: str, default: int | None = None) -> int:
        return next((audio[name] for name in names if name in audio), default)

    later = setting("num_timestamp_prediction_layers", "num_timestamp_prediction_blocks", default=20)
    layers = setting("encoder_layers", "num_hidden_layers")
    return EncoderConfig(
        output_size=setting("hidden_size", "d_model"),
        attention_heads=setting("num_attention_heads", "encoder_attention_heads"),
        linear_units=setting("intermediate_size", "encoder_ffn_dim"),
        num_blocks=layers if split else layers - later,
        tp_blocks=later,
        kernel_size=setting("fsmn_kernel_size", "kernel_size", default=11),
    )


def _adaptor(raw: dict, audio: dict) -> AdaptorConfig:
    nested = raw.get("adaptor_config") or {}
    return AdaptorConfig(
        encoder_dim=audio.get("hidden_size", audio.get("d_model")),
        ffn_dim=nested.get("projector_hidden_size", raw.get("adaptor_intermediate_size", 2048)),
        llm_dim=raw["text_config"]["hidden_size"],
        n_layer=nested.get("num_hidden_layers", raw.get("adaptor_num_hidden_layers", 2)),
        attention_heads=nested.get("num_attention_heads", raw.get("adaptor_num_attention_heads", 8)),
        norm_eps=nested.get("layer_norm_eps", 1e-5),
    )


def official_name(name: str, config: ModelConfig, split: bool = False) -> str:
    """Return the official name of a transformers tensor; an unknown name stays as it is, to be reported."""
    part, _, rest = name.removeprefix("model.").partition(".")
    if part == "audio_tower":
        return "audio_encoder." + (_split_encoder_name(rest) if split else _encoder_name(rest, config))
    if part in ("multi_modal_projector", "audio_adaptor"):
        rest = re.sub(r"^linear_([12])\.", r"linear\1.", rest)
        layer = re.fullmatch(r"(?:layers|blocks)\.(\d+)\.(.+)", rest)
        return "audio_adaptor." + (f"blocks.{layer[1]}.{_layer_name(layer[2], split)}" if layer else rest)
    if part == "language_model":
        return f"llm.model.{rest}"
    return "llm.lm_head.weight" if name == "lm_head.weight" else name


def _encoder_name(name: str, config: ModelConfig) -> str:
    layer = re.fullmatch(r"layers\.(\d+)\.(.+)", name)
    if not layer:
        return name
    index, rest = int(layer[1]), layer[2]
    first, last = config.encoder.num_blocks, config.encoder.num_blocks + config.encoder.tp_blocks
    if rest.startswith("final_layernorm.") and index + 1 in (first, last):
        norm = "after_norm" if index + 1 == first else "tp_norm"
        return f"{norm}.{rest.removeprefix('final_layernorm.')}"
    group, index = (
        ("tp_encoders", index - first) if index >= first else ("encoders", index - 1) if index else ("encoders0", 0)
    )
    return f"{group}.{index}.{_layer_name(rest, split=False)}"


def _split_encoder_name(name: str) -> str:
    for pattern, official in _SPLIT_ENCODER:
        found = re.match(pattern, name)
        if found:
            return found.expand(official) + _layer_name(name[found.end() :], split=True)
    return name


def _layer_name(name: str, split: bool) -> str:
    for flat, first, official in _LAYER_PARTS:
        theirs = first if split and not name.startswith(flat) else flat
        if name.startswith(theirs):
            return official + name.removeprefix(theirs)
    return name
