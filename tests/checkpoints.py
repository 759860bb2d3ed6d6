"""Makes checkpoints of any size in each of the four layouts, with random weights, for the tests."""

import json
import math
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import mlx.core as mx
import numpy as np
import yaml
from places import PARITY

from nanoasr.model.config import AdaptorConfig, CTCConfig, EncoderConfig, LLMConfig, ModelConfig

LAYOUTS = ("official", "transformers", "mlx_audio", "mlx_audio_plus")
SMALL = ModelConfig(
    encoder=EncoderConfig(output_size=32, attention_heads=2, linear_units=48, num_blocks=2, tp_blocks=1),
    adaptor=AdaptorConfig(encoder_dim=32, ffn_dim=40, llm_dim=64, n_layer=1, attention_heads=4),
    llm=LLMConfig(
        vocab_size=420,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
    ),
)
SMALL_CTC = CTCConfig(
    AdaptorConfig(encoder_dim=32, ffn_dim=40, llm_dim=32, n_layer=1, attention_heads=4), vocab_size=50, blank_id=49
)


def write_checkpoint(folder: Path, layout: str, config: ModelConfig, tensors: dict | None = None) -> Path:
    """A folder in one of LAYOUTS, with a small tokenizer; `tensors` have official names and torch's shapes."""
    tensors = random_tensors(config) if tensors is None else tensors
    inner = folder / "Qwen3-0.6B" if layout in ("official", "mlx_audio") else folder
    inner.mkdir(parents=True)
    shutil.copy(PARITY / "mlx_audio_plus" / "tokenizer.json", inner)
    settings = {"official": _funasr, "mlx_audio": _funasr, "transformers": _transformers, "mlx_audio_plus": _plus}
    written = settings[layout](config)
    if layout == "official":
        (folder / "config.yaml").write_text(yaml.safe_dump(written))
        (inner / "config.json").write_text(json.dumps(_llm(config)))
        write_torch_file(folder / "model.pt", tensors)
        return folder
    (folder / "config.json").write_text(json.dumps(written))
    if layout == "transformers":
        tensors = {transformers_name(name, config): value for name, value in _split_qkv(tensors).items()}
    else:
        tensors = {name: x.swapaxes(1, 2) if ".fsmn_block." in name else x for name, x in tensors.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), {name: mx.array(x) for name, x in tensors.items()})
    return folder


def random_tensors(config: ModelConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights with the names and shapes of the official model.pt."""
    random = np.random.default_rng(seed)

    def value(name: str, shape: tuple[int, ...]) -> np.ndarray:
        x = random.standard_normal(shape, dtype=np.float32)
        is_norm = len(shape) == 1 and name.endswith("weight")
        return 1 + 0.1 * x if is_norm else 0.1 * x if len(shape) == 1 else x / math.sqrt(math.prod(shape[1:]))

    return {name: value(name, shape) for name, shape in _shapes(config).items()}


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, rows: int, columns: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (rows, columns)
        if bias:
            shapes[f"{name}.bias"] = (rows,)

    def norm(name: str, size: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (size,)

    encoder, llm = config.encoder, config.llm
    size = encoder.output_size
    names = ["encoders0.0"] + [f"encoders.{i}" for i in range(encoder.num_blocks - 1)]
    for name in names + [f"tp_encoders.{i}" for i in range(encoder.tp_blocks)]:
        block, columns = f"audio_encoder.{name}", encoder.input_size if name == "encoders0.0" else size
        norm(f"{block}.norm1", columns)
        norm(f"{block}.norm2", size)
        linear(f"{block}.self_attn.linear_q_k_v", 3 * size, columns)
        linear(f"{block}.self_attn.linear_out", size, size)
        shapes[f"{block}.self_attn.fsmn_block.weight"] = (size, 1, encoder.kernel_size)
        linear(f"{block}.feed_forward.w_1", encoder.linear_units, size)
        linear(f"{block}.feed_forward.w_2", size, encoder.linear_units)
    norm("audio_encoder.after_norm", size)
    norm("audio_encoder.tp_norm", size)
    adaptors = {"audio_adaptor": config.adaptor} | ({"ctc_decoder": config.ctc.decoder} if config.ctc else {})
    for part, adaptor in adaptors.items():
        linear(f"{part}.linear1", adaptor.ffn_dim, adaptor.encoder_dim * adaptor.downsample_rate)
        linear(f"{part}.linear2", adaptor.llm_dim, adaptor.ffn_dim)
        for i in range(adaptor.n_layer):
            block, size = f"{part}.blocks.{i}", adaptor.llm_dim
            norm(f"{block}.norm1", size)
            norm(f"{block}.norm2", size)
            for name in "linear_q", "linear_k", "linear_v", "linear_out":
                linear(f"{block}.self_attn.{name}", size, size)
            linear(f"{block}.feed_forward.w_1", size // 4, size)
            linear(f"{block}.feed_forward.w_2", size, size // 4)
    if config.ctc:
        linear("ctc.ctc_lo", config.ctc.vocab_size, config.ctc.decoder.llm_dim)
    shapes["llm.model.embed_tokens.weight"] = (llm.vocab_size, llm.hidden_size)
    shapes["llm.model.norm.weight"] = (llm.hidden_size,)
    if not llm.tie_word_embeddings:
        linear("llm.lm_head", llm.vocab_size, llm.hidden_size, bias=False)
    for i in range(llm.num_hidden_layers):
        layer, heads = f"llm.model.layers.{i}", llm.num_attention_heads
        for name in "input_layernorm", "post_attention_layernorm":
            shapes[f"{layer}.{name}.weight"] = (llm.hidden_size,)
        for name in "q_norm", "k_norm":
            shapes[f"{layer}.self_attn.{name}.weight"] = (llm.head_dim,)
        for name, count in ("q_proj", heads), ("k_proj", llm.num_key_value_heads), ("v_proj", llm.num_key_value_heads):
            linear(f"{layer}.self_attn.{name}", count * llm.head_dim, llm.hidden_size, bias=False)
        linear(f"{layer}.self_attn.o_proj", llm.hidden_size, heads * llm.head_dim, bias=False)
        for name in "gate_proj", "up_proj":
            linear(f"{layer}.mlp.{name}", llm.intermediate_size, llm.hidden_size, bias=False)
        linear(f"{layer}.mlp.down_proj", llm.hidden_size, llm.intermediate_size, bias=False)
    return shapes


def _llm(config: ModelConfig) -> dict:
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    more = ("num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "tie_word_embeddings")
    return {name: getattr(config.llm, name) for name in names + more}


def _adaptor(config: AdaptorConfig) -> dict:
    names = ("downsample_rate", "encoder_dim", "ffn_dim", "llm_dim", "n_layer", "attention_heads")
    return {name: getattr(config, name) for name in names}


def _funasr(config: ModelConfig) -> dict:
    names = ("output_size", "attention_heads", "linear_units", "num_blocks", "tp_blocks", "kernel_size")
    settings = {
        "model_type": "fun_asr_nano",
        "frontend_conf": {"fs": 16000, "n_mels": 80, "lfr_m": 7, "lfr_n": 6, "window": "hamming"},
        "audio_encoder_conf": {name: getattr(config.encoder, name) for name in names},
        "audio_adaptor_conf": _adaptor(config.adaptor) | {"use_low_frame_rate": config.audio_tokens == "low"},
        "text_config": _llm(config),
        "llm_conf": {"init_param_path": "Qwen3-0.6B"},
    }
    if config.ctc:
        settings |= {
            "ctc_decoder": "Transformer",
            "ctc_decoder_conf": _adaptor(config.ctc.decoder),
            "ctc_vocab_size": config.ctc.vocab_size,
            "ctc_conf": {"blank_id": config.ctc.blank_id},
        }
    return settings


def _transformers(config: ModelConfig) -> dict:
    encoder, adaptor = config.encoder, config.adaptor
    return {
        "model_type": "fun_asr_nano",
        "audio_config": {
            "hidden_size": encoder.output_size,
            "intermediate_size": encoder.linear_units,
            "num_attention_heads": encoder.attention_heads,
            "num_hidden_layers": encoder.num_blocks + encoder.tp_blocks,
            "num_timestamp_prediction_layers": encoder.tp_blocks,
            "fsmn_kernel_size": encoder.kernel_size,
        },
        "adaptor_config": {
            "projector_hidden_size": adaptor.ffn_dim,
            "num_hidden_layers": adaptor.n_layer,
            "num_attention_heads": adaptor.attention_heads,
        },
        "text_config": _llm(config),
    }


def _plus(config: ModelConfig) -> dict:
    encoder = config.encoder
    return {
        "model_type": "funasr",
        "encoder": {
            "encoder_dim": encoder.output_size,
            "num_heads": encoder.attention_heads,
            "ffn_dim": encoder.linear_units,
            "kernel_size": encoder.kernel_size,
            "num_encoders0": 1,
            "num_encoders": encoder.num_blocks - 1,
            "num_tp_encoders": encoder.tp_blocks,
        },
        "adaptor": _adaptor(config.adaptor),
        "llm": _llm(config),
    }


def _split_qkv(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    for name, value in tensors.items():
        parts = np.split(value, 3) if ".linear_q_k_v." in name else [value]
        names = [name.replace("linear_q_k_v", f"linear_{part}") for part in "qkv"] if len(parts) > 1 else [name]
        found |= dict(zip(names, parts, strict=True))
    return found


def transformers_name(name: str, config: ModelConfig) -> str:
    """The name that transformers gives to an official tensor."""
    first, later = config.encoder.num_blocks, config.encoder.tp_blocks
    for pattern, to in (
        (r"^audio_encoder\.encoders0\.0\.", lambda m: "model.audio_tower.layers.0."),
        (r"^audio_encoder\.encoders\.(\d+)\.", lambda m: f"model.audio_tower.layers.{int(m[1]) + 1}."),
        (r"^audio_encoder\.tp_encoders\.(\d+)\.", lambda m: f"model.audio_tower.layers.{int(m[1]) + first}."),
        (r"^audio_encoder\.after_norm\.", lambda m: f"model.audio_tower.layers.{first - 1}.final_layernorm."),
        (r"^audio_encoder\.tp_norm\.", lambda m: f"model.audio_tower.layers.{first + later - 1}.final_layernorm."),
        (r"^audio_adaptor\.blocks\.", lambda m: "model.multi_modal_projector.layers."),
        (r"^audio_adaptor\.linear([12])\.", lambda m: f"model.multi_modal_projector.linear_{m[1]}."),
        (r"^llm\.model\.", lambda m: "model.language_model."),
        (r"^llm\.lm_head\.", lambda m: "lm_head."),
        (r"\.norm1\.", lambda m: ".input_layernorm."),
        (r"\.norm2\.", lambda m: ".post_attention_layernorm."),
        (r"\.feed_forward\.w_([12])\.", lambda m: f".mlp.fc{m[1]}."),
        (r"\.fsmn_block\.", lambda m: ".fsmn.conv."),
        (r"\.linear_out\.", lambda m: ".o_proj."),
        (r"\.self_attn\.linear_([qkv])\.", lambda m: f".self_attn.{m[1]}_proj."),
    ):
        name = re.sub(pattern, to, name)
    return name


def make_first_generation(folder: Path, config: ModelConfig, revision: str) -> Path:
    """Rename a transformers checkpoint to what Fun-ASR-Nano-2512-hf was at revision "972ee603" or "1fd03aa5"."""
    old = revision == "972ee603"
    first = config.encoder.num_blocks
    later = range(first, first + config.encoder.tp_blocks)
    memory = "feedforward_sequential_memory" if old else "fsmn"
    names = {
        rf"audio_tower\.layers\.{first - 1}\.final_layernorm\.": "audio_tower.layer_norm.",
        rf"audio_tower\.layers\.{later[-1]}\.final_layernorm\.": "audio_tower.timestamp_prediction_layer_norm.",
        r"audio_tower\.layers\.0\.": "audio_tower.stem.",
        **{rf"audio_tower\.layers\.{i}\.": f"audio_tower.layer_s.{i - 1}." for i in range(1, first)},
        **{rf"audio_tower\.layers\.{i}\.": f"audio_tower.timestamp_prediction_layers.{i - first}." for i in later},
        r"layer_s\.": "layers.",
        r"\.multi_modal_projector\.layers\.": ".multi_modal_projector.blocks.",
        r"\.multi_modal_projector\.": ".audio_adaptor." if old else ".multi_modal_projector.",
        r"\.input_layernorm\.": ".self_attn_layer_norm.",
        r"\.post_attention_layernorm\.": ".final_layer_norm.",
        r"\.mlp\.fc": ".fc",
        r"\.self_attn\.fsmn\.": f".{memory}.",
        r"\.self_attn\.o_proj\.": ".self_attn.out_proj.",
    }
    weights = {}
    for name, value in mx.load(str(folder / "model.safetensors")).items():
        if "language_model" not in name:
            for pattern, to in names.items():
                name = re.sub(pattern, to, name)
        weights[name] = value
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    settings = json.loads((folder / "config.json").read_text())
    audio, adaptor = settings.pop("audio_config"), settings.pop("adaptor_config")
    encoder = {
        "d_model": audio["hidden_size"],
        "encoder_ffn_dim": audio["intermediate_size"],
        "encoder_attention_heads": audio["num_attention_heads"],
        "encoder_layers": first,
        "num_timestamp_prediction_blocks": len(later),
        "kernel_size": audio["fsmn_kernel_size"],
        "num_mel_bins": 80,
        "num_stacked_frames": 7,
    }
    if old:
        settings |= {
            "encoder_config": encoder,
            "adaptor_intermediate_size": adaptor["projector_hidden_size"],
            "adaptor_num_hidden_layers": adaptor["num_hidden_layers"],
            "adaptor_num_attention_heads": adaptor["num_attention_heads"],
        }
    else:
        settings |= {"audio_config": encoder, "adaptor_config": adaptor}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def write_torch_file(path: Path, tensors: dict[str, np.ndarray], wrappers: tuple[str, ...] = ()) -> Path:
    """What torch.save writes of a state_dict, which may lie under names such as "state_dict"; uint16 is bfloat16."""
    kinds = {np.dtype("f4"): b"Float", np.dtype("f2"): b"Half", np.dtype("u2"): b"BFloat16", np.dtype("i8"): b"Long"}

    def plain(value: object) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    pickled = b"}("
    for i, (name, x) in enumerate(tensors.items()):
        storage = plain("storage") + b"ctorch\n" + kinds[x.dtype] + b"Storage\n" + plain(str(i)) + plain("cpu")
        strides = tuple(step // x.itemsize for step in np.empty(x.shape, x.dtype).strides)
        pickled += plain(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + plain(x.size) + b"tQ"
        pickled += plain(0) + plain(x.shape) + plain(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    pickled += b"u"
    for wrapper in reversed(wrappers):
        pickled = b"}" + plain(wrapper) + pickled + b"s"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        for i, x in enumerate(tensors.values()):
            info = zipfile.ZipInfo(f"archive/data/{i}")
            info.file_size = x.nbytes
            padding = -(archive.fp.tell() + 30 + len(info.filename) + 4) % 64  # torch aligns its entries
            info.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
            with archive.open(info, "w") as entry:
                entry.write(memoryview(np.ascontiguousarray(x)).cast("B"))
    return path
