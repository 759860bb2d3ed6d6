"""Paraformer, BiCifParaformer and SeacoParaformer: FunASR's official layout, and the one that `convert` writes.

No MLX package has a layout for Paraformer. Ours keeps FunASR's settings, as JSON, and its names of tensors.
"""

from pathlib import Path
from typing import Any

from ...audio.features import FEATURE_SIZE
from ...errors import CheckpointError
from ...model.config import (
    DecoderConfig,
    EncoderConfig,
    ParaformerConfig,
    PredictorConfig,
    SeacoConfig,
    UpsampledConfig,
)
from ..checks import FRONT_END, check_settings
from ..token_list import read_tokens
from ..weights import Tensor
from .funasr_files import DECODER, ENCODER, encoder_settings, find_file
from .layout import Configs, Layout, description, only_known

TOKENS, SPELLINGS = "tokens.json", "seg_dict"
_KINDS = ("Paraformer", "BiCifParaformer", "SeacoParaformer")
_UPSAMPLED = {"upsample_type": "cnn_blstm", "use_cif1_cnn": False}
_SEACO = {"bias_encoder_type": "lstm", "bias_encoder_bid": False, "seaco_decoder": "ParaformerSANMDecoder"}


def recognize(folder: Path, configs: Configs) -> Layout | None:
    """Read an official checkpoint's config, or a converted one's."""
    if "Paraformer" in str(configs.yaml.get("model")):
        return _read("official", folder, configs.yaml)
    if configs.json.get("model_type") == "paraformer":
        return _read("nanoasr", folder, configs.json)
    return None


def settings(config: ParaformerConfig) -> dict[str, Any]:
    """Return config.json's settings of a network, under FunASR's names."""
    predictor = {name: getattr(config.predictor, name) for name in ("idim", "l_order", "r_order", "tail_threshold")}
    predictor |= {name: getattr(config.predictor, name) for name in ("smooth_factor", "noise_threshold")}
    found = {
        "model_type": "paraformer",
        "model": _KINDS[2] if config.seaco else _KINDS[1] if config.upsampled else _KINDS[0],
        "model_conf": {},
        "vocab_size": config.vocab_size,
        "input_size": config.encoder.input_size,
        "encoder": "SANMEncoder",
        "encoder_conf": encoder_settings(config.encoder),
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": _decoder_settings(config.decoder),
        "predictor": "CifPredictorV3" if config.upsampled else "CifPredictorV2",
        "predictor_conf": predictor,
        "frontend_conf": dict(FRONT_END),
        "tokenizer_conf": {"token_list": TOKENS},
    }
    if config.upsampled:
        names = ("upsample_times", "smooth_factor2", "noise_threshold2")
        found["predictor_conf"] |= {name: getattr(config.upsampled, name) for name in names} | _UPSAMPLED
    if config.seaco:
        found["model_conf"] = _SEACO | {
            "inner_dim": config.seaco.decoder.size,
            "NO_BIAS": config.seaco.no_bias_id,
            "sos": config.seaco.start_id,
            "seaco_decoder_conf": _decoder_settings(config.seaco.decoder),
        }
    return found


def _decoder_settings(config: DecoderConfig) -> dict[str, Any]:
    return {
        "attention_heads": config.attention_heads,
        "linear_units": config.linear_units,
        "num_blocks": config.num_layers + config.self_layers,
        "att_layer_num": config.num_layers,
        "kernel_size": config.kernel_size,
    }


def _read(name: str, folder: Path, raw: dict) -> Layout:
    kind, model, predictor = raw.get("model"), raw.get("model_conf") or {}, raw["predictor_conf"]
    if kind not in _KINDS:
        raise CheckpointError(f"{folder}: its model is {kind!r:.80}; {', '.join(_KINDS)} are supported")
    check_settings(raw.get("frontend_conf") or {}, FRONT_END, folder)
    check_settings(raw, {"encoder": "SANMEncoder", "decoder": "ParaformerSANMDecoder"}, folder)
    check_settings(raw["encoder_conf"], ENCODER, folder)
    check_settings(predictor, {"threshold": 1.0}, folder)
    upsampled = raw.get("predictor") == "CifPredictorV3"
    if not upsampled:
        check_settings(raw, {"predictor": "CifPredictorV2"}, folder)
    tokens, spellings = _token_files(folder, raw)
    encoder = EncoderConfig(
        **only_known(EncoderConfig, raw["encoder_conf"], input_size=FEATURE_SIZE, dropout=0.0)
        | {"tp_blocks": 0, "tp_norm": False, "norm_eps": 1e-12}
    )
    size = len(read_tokens(tokens))
    config = ParaformerConfig(
        encoder=encoder,
        predictor=PredictorConfig(**only_known(PredictorConfig, predictor)),
        decoder=_decoder(raw["decoder_conf"], encoder.output_size, folder),
        upsampled=_upsampled(predictor, folder) if upsampled else None,
        seaco=_seaco(model, folder) if kind == "SeacoParaformer" else None,
        vocab_size=raw.get("vocab_size", size),
    )
    if size != config.vocab_size:
        raise CheckpointError(f"{tokens}: has {size} tokens where the network has {config.vocab_size} ids")
    cmvn = find_file(folder, raw, ("frontend_conf", "cmvn_file"), "am.mvn")
    if cmvn is None:
        raise CheckpointError(f"{folder}: its CMVN file, am.mvn, is missing")
    files = tuple(path for path in (tokens, spellings) if path)
    adapt = _as_in_mlx if name == "official" else None
    return Layout(name, folder, config, tokens, cmvn=cmvn, files=files, adapt=adapt, **description(raw))


def _token_files(folder: Path, raw: dict) -> tuple[Path, Path | None]:
    tokens = find_file(folder, raw, ("tokenizer_conf", "token_list"), TOKENS)
    if tokens is None:
        raise CheckpointError(f"{folder}: its list of tokens, tokens.json, is missing")
    return tokens, find_file(folder, raw, ("tokenizer_conf", "seg_dict"), SPELLINGS)


def _decoder(raw: dict, size: int, folder: Path, **fixed: Any) -> DecoderConfig:
    check_settings(raw, DECODER | fixed, folder)
    layers = raw.get("att_layer_num", 6)  # FunASR makes so many even where num_blocks is less
    more = raw.get("num_blocks", 6) - layers
    known = only_known(DecoderConfig, raw, size=size, num_layers=layers, self_layers=max(more, 0))
    return DecoderConfig(**{"kernel_size": 21} | known)


def _upsampled(raw: dict, folder: Path) -> UpsampledConfig:
    check_settings({"upsample_type": "cnn", "use_cif1_cnn": True} | raw, _UPSAMPLED, folder)
    defaults = {"upsample_times": 5, "smooth_factor2": 1.0, "noise_threshold2": 0.0}
    return UpsampledConfig(**defaults | only_known(UpsampledConfig, raw))


def _seaco(raw: dict, folder: Path) -> SeacoConfig:
    check_settings(raw, _SEACO, folder)
    size = raw.get("inner_dim", 256)
    decoder = _decoder(raw["seaco_decoder_conf"], size, folder, use_output_layer=False, wo_input_layer=True)
    return SeacoConfig(decoder, no_bias_id=raw.get("NO_BIAS", 8377), start_id=raw.get("sos", 1))


def _as_in_mlx(name: str, tensor: Tensor) -> Tensor:
    """Return a convolution kernel as MLX has it, [out, K, in]; PyTorch has [out, in, K], or [in, out, K] transposed."""
    axes = {"predictor.cif_conv1d.weight": (0, 2, 1), "predictor.upsample_cnn.weight": (1, 2, 0)}.get(name)
    if axes is None or len(tensor.shape) != 3:
        return tensor
    return Tensor(tuple(tensor.shape[i] for i in axes), tensor.dtype, lambda: tensor.read().transpose(*axes))
