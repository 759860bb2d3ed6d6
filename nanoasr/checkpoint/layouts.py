"""The four public forms of a Fun-ASR-Nano checkpoint, read into one: a config, and tensors by one set of names.

The names are the official checkpoint's, which both MLX layouts keep (`audio_encoder.encoders.0.norm1.weight`);
only transformers has its own. A tensor is read when it is asked for, so what is known here costs no memory.
"""

import mmap
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from safetensors import SafetensorError, safe_open

from ..audio.features import FEATURE_SIZE, SAMPLE_RATE
from ..errors import CheckpointError
from ..model.config import AdaptorConfig, CTCConfig, EncoderConfig, LLMConfig, ModelConfig
from .checks import check_front_end, check_relations, check_sizes
from .folder import beside, one_file, read_json, read_yaml, tokenizer_folder
from .torch_file import RawTensor, read_torch_file

_SAFETENSORS_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "U32": "uint32"}


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file: its shape, its type by MLX's name where MLX has it, and how to read it."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], mx.array]


@dataclass(frozen=True)
class Layout:
    """What a checkpoint folder holds, whatever its form."""

    name: str  # "official", "transformers", "mlx-audio" or "mlx-audio-plus"
    folder: Path
    config: ModelConfig
    tokenizer: Path  # the folder of tokenizer.json
    cmvn: Path | None = None
    languages: tuple[str, ...] | None = None  # prompt names that the checkpoint itself lists
    card: str | None = None  # a line that whoever shows this checkpoint should show with it

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the checkpoint under its official name; nothing is read yet."""
        found = _torch_tensors(one_file(self.folder, "*.pt")) if self.name == "official" else _safetensors(self.folder)
        if self.name == "transformers":
            found = {official_name(name, self.config): tensor for name, tensor in found.items()}
        if self.config.llm.tie_word_embeddings:
            found.pop("llm.lm_head.weight", None)  # a copy of the embeddings
        return {name: _memory_kernel(t) if ".fsmn_block." in name else t for name, t in found.items()}


def read_layout(folder: Path) -> Layout:
    """What the folder holds, from its config files alone; CheckpointError says what is missing or unknown."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    try:
        layout = _recognize(folder)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{folder}: its config is not laid out as that of a Fun-ASR-Nano ({reason})") from error
    check_sizes(layout.config, folder)
    check_relations(layout.config, folder)
    return layout


def _recognize(folder: Path) -> Layout:
    if (folder / "config.json").is_file():
        raw = read_json(folder / "config.json")
        if "audio_encoder_conf" in raw:
            return _conf_layout("mlx-audio", folder, raw, raw.get("text_config") or raw.get("llm_config"))
        if raw.get("model_type") == "fun_asr_nano" and "audio_config" in raw:
            return _transformers_layout(folder, raw)
        if {"encoder", "adaptor", "llm"} <= raw.keys():
            return _plus_layout(folder, raw)
    if (folder / "config.yaml").is_file():
        raw = read_yaml(folder / "config.yaml")
        llm = tokenizer_folder(folder, str(raw.get("llm_conf", {}).get("init_param_path", "")))
        return _conf_layout("official", folder, raw, read_json(llm / "config.json"))
    raise CheckpointError(
        f"{folder}: not a Fun-ASR-Nano checkpoint. Expected config.yaml with model.pt (official), or config.json "
        "with model.safetensors (transformers, mlx-audio, mlx-audio-plus)"
    )


def _conf_layout(name: str, folder: Path, raw: dict, llm: dict | None) -> Layout:
    """FunASR's own words for everything; mlx-audio keeps them, as JSON."""
    if not llm:
        raise CheckpointError(f"{folder / 'config.json'}: has no text_config, the sizes of the LLM")
    frontend = raw.get("frontend_conf") or {}
    encoder = _only_known(EncoderConfig, raw["audio_encoder_conf"], dropout=0.0)
    check_front_end(frontend, folder)
    adaptor = raw.get("audio_adaptor_conf") or {}
    low = adaptor.get("use_low_frame_rate", name == "mlx-audio")  # each reference's own default
    ctc = None
    if raw.get("ctc_decoder"):
        vocabulary = raw.get("ctc_vocab_size", 60515)
        ctc = CTCConfig(
            decoder=AdaptorConfig(
                **{"n_layer": 2, "ffn_dim": 2048}
                | _only_known(AdaptorConfig, raw.get("ctc_decoder_conf") or {}, dropout=0.0)
                | {"encoder_dim": encoder["output_size"]}
            ),
            vocab_size=vocabulary,
            blank_id=(raw.get("ctc_conf") or {}).get("blank_id", vocabulary - 1),
        )
    config = ModelConfig(
        encoder=EncoderConfig(**encoder),
        adaptor=AdaptorConfig(
            **_only_known(AdaptorConfig, adaptor, dropout=0.0)
            | {"encoder_dim": encoder["output_size"], "llm_dim": llm["hidden_size"]}
        ),
        llm=_llm(llm, folder),
        ctc=ctc,
        audio_tokens="low" if low else "full",
    )
    wanted = raw.get("qwen_tokenizer_path") or (raw.get("llm_conf") or {}).get("init_param_path", "")
    cmvn = frontend.get("cmvn_file")
    return Layout(
        name,
        folder,
        config,
        tokenizer_folder(folder, str(wanted)),
        cmvn=beside(folder, cmvn) if cmvn else None,
        languages=tuple(map(str, raw["languages"])) if raw.get("languages") else None,
        card=str(raw["nanoasr_card"]) if raw.get("nanoasr_card") else None,
    )


def _transformers_layout(folder: Path, raw: dict) -> Layout:
    audio, adaptor, llm = raw["audio_config"], raw.get("adaptor_config") or {}, raw["text_config"]
    later = audio.get("num_timestamp_prediction_layers", 20)
    check_front_end({"n_mels": audio.get("num_mel_bins", 80), "lfr_m": audio.get("num_stacked_frames", 7)}, folder)
    config = ModelConfig(
        encoder=EncoderConfig(
            output_size=audio["hidden_size"],
            attention_heads=audio["num_attention_heads"],
            linear_units=audio["intermediate_size"],
            num_blocks=audio["num_hidden_layers"] - later,
            tp_blocks=later,
            kernel_size=audio.get("fsmn_kernel_size", 11),
        ),
        adaptor=AdaptorConfig(
            encoder_dim=audio["hidden_size"],
            ffn_dim=adaptor.get("projector_hidden_size", 2048),
            llm_dim=llm["hidden_size"],
            n_layer=adaptor.get("num_hidden_layers", 2),
            attention_heads=adaptor.get("num_attention_heads", 8),
            norm_eps=adaptor.get("layer_norm_eps", 1e-5),
        ),
        llm=_llm(llm, folder),
        audio_tokens="full",
    )
    return Layout("transformers", folder, config, tokenizer_folder(folder, ""))


def _plus_layout(folder: Path, raw: dict) -> Layout:
    encoder = raw["encoder"]
    check_front_end({"fs": raw.get("sample_rate", SAMPLE_RATE)} | raw, folder)
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
        adaptor=AdaptorConfig(**_only_known(AdaptorConfig, raw["adaptor"], dropout=0.0)),
        llm=_llm(raw["llm"], folder),
        audio_tokens="low",  # it carries the official weights, which were trained so
    )
    return Layout("mlx-audio-plus", folder, config, tokenizer_folder(folder, ""))


def _llm(raw: dict, folder: Path) -> LLMConfig:
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise CheckpointError(f"{folder}: an LLM with {rope['rope_type']!r:.80} rotary positions is not supported")
    known = _only_known(LLMConfig, raw, dropout=0.0)
    if "rope_theta" in rope:
        known["rope_theta"] = rope["rope_theta"]
    known.setdefault("head_dim", raw["hidden_size"] // raw["num_attention_heads"])
    return LLMConfig(**known)


def _only_known(kind: type, raw: dict, **fixed: Any) -> dict:
    return {f.name: raw[f.name] for f in fields(kind) if f.name in raw} | fixed


def official_name(name: str, config: ModelConfig) -> str:
    """transformers' name of a tensor -> the official one; unknown names pass as they are, to be reported."""
    tower = re.fullmatch(r"model\.audio_tower\.layers\.(\d+)\.(.+)", name)
    if tower:
        index, rest = int(tower[1]), tower[2]
        first, last = config.encoder.num_blocks, config.encoder.num_blocks + config.encoder.tp_blocks
        if rest.startswith("final_layernorm.") and index + 1 in (first, last):
            norm = "after_norm" if index + 1 == first else "tp_norm"
            return f"audio_encoder.{norm}.{rest.removeprefix('final_layernorm.')}"
        group, index = (
            ("tp_encoders", index - first) if index >= first else ("encoders", index - 1) if index else ("encoders0", 0)
        )
        return f"audio_encoder.{group}.{index}.{_block_name(rest)}"
    projector = re.fullmatch(r"model\.multi_modal_projector\.(.+)", name)
    if projector:
        rest = re.sub(r"^linear_([12])\.", r"linear\1.", projector[1])
        block = re.fullmatch(r"layers\.(\d+)\.(.+)", rest)
        return "audio_adaptor." + (f"blocks.{block[1]}.{_block_name(block[2])}" if block else rest)
    if name.startswith("model.language_model."):
        return "llm.model." + name.removeprefix("model.language_model.")
    return "llm.lm_head.weight" if name == "lm_head.weight" else name


def _block_name(name: str) -> str:
    for theirs, official in (
        ("input_layernorm.", "norm1."),
        ("post_attention_layernorm.", "norm2."),
        ("mlp.fc1.", "feed_forward.w_1."),
        ("mlp.fc2.", "feed_forward.w_2."),
        ("self_attn.fsmn.conv.", "self_attn.fsmn_block."),
        ("self_attn.o_proj.", "self_attn.linear_out."),
        ("self_attn.q_proj.", "self_attn.linear_q."),
        ("self_attn.k_proj.", "self_attn.linear_k."),
        ("self_attn.v_proj.", "self_attn.linear_v."),
    ):
        if name.startswith(theirs):
            return official + name.removeprefix(theirs)
    return name


def _memory_kernel(tensor: Tensor) -> Tensor:
    """A depthwise kernel as MLX has it, [C, K, 1]; PyTorch has [C, 1, K]."""
    if len(tensor.shape) != 3 or tensor.shape[1] != 1:
        return tensor
    channels, _, taps = tensor.shape
    return Tensor((channels, taps, 1), tensor.dtype, lambda: tensor.read().swapaxes(1, 2))


def _torch_tensors(path: Path) -> dict[str, Tensor]:
    def tensor(raw: RawTensor) -> Tensor:
        def read() -> mx.array:
            array = mx.array(raw.data)
            _unmap(raw.data)
            return array.view(mx.bfloat16) if raw.dtype == "bfloat16" else array

        return Tensor(raw.shape, raw.dtype.replace("float64", "float32"), read)  # mx.array makes float32 of float64

    return {name: tensor(raw) for name, raw in read_torch_file(path).items()}


def _unmap(mapped: Any) -> None:
    """Pages of a mapped file count as this process's memory until they are let go; they can be read again."""
    while isinstance(mapped, np.ndarray):
        mapped = mapped.base
    if isinstance(mapped, memoryview) and isinstance(mapped.obj, mmap.mmap):
        mapped.obj.madvise(mmap.MADV_DONTNEED)


def _safetensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of one or several files; `safetensors` checks each header, MLX reads the values when asked."""
    found: dict[str, Tensor] = {}
    for path in _safetensors_files(folder):
        try:
            with safe_open(path, "np") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            arrays = mx.load(str(path))
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path}: damaged or incomplete, fetch it again ({error})") from None
        for name, part in slices.items():
            dtype = _SAFETENSORS_DTYPES.get(part.get_dtype(), part.get_dtype())
            found[name] = Tensor(tuple(part.get_shape()), dtype, lambda arrays=arrays, name=name: arrays.pop(name))
    return found


def _safetensors_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise CheckpointError(f"{index}: has no weight_map, the list of files; fetch it again")
        return [beside(folder, name) for name in sorted({str(name) for name in shards.values()})]
    return [one_file(folder, "*.safetensors")]
