"""Write a checkpoint folder in mlx-audio's layout, as `convert` and training do."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import mlx.core as mx

from ..model.build import AnyConfig
from ..model.config import AdaptorConfig, ParaformerConfig, SenseVoiceConfig
from .assemble import Value, check_values
from .checks import FRONT_END
from .ctc_tokens import find_units
from .layouts import Layout, paraformer, sensevoice
from .layouts.funasr_files import encoder_settings
from .quantize import Packed

TOKENIZER = "Qwen3-0.6B"
FILES = {"config.json", "model.safetensors", "am.mvn", "multilingual.tiktoken", TOKENIZER}
FILES |= {sensevoice.PIECES, paraformer.TOKENS, paraformer.SPELLINGS}
_SAFETENSORS_NAMES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16", mx.uint32: "U32"}


def write_checkpoint(
    layout: Layout,
    folder: Path,
    tensors: Callable[[], Iterator[tuple[str, Value]]],
    on_progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Write config.json, model.safetensors, the tokenizer, the CTC branch's text units and the CMVN into `folder`.

    layout       the config to write, and where the other files lie
    tensors      gives the tensors under mlx-audio's names. It is called twice, and no more than a few tensors are
                 ever in memory: MLX knows the size of an array without computing it, so the first pass is free
    on_progress  called with the share that is written, from 0 to 1
    """
    header, packed, size = _survey(tensors())
    settings = config_settings(layout.config) | _quantization_settings(packed)
    settings |= {"languages": list(layout.languages)} if layout.languages else {}
    settings |= {"nanoasr_card": layout.card} if layout.card else {}
    settings |= {"nanoasr_source": layout.hub_id} if layout.hub_id else {}
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(layout.cmvn, Path):
        settings["frontend_conf"] |= {"cmvn_file": "am.mvn"}
        shutil.copyfile(layout.cmvn, folder / "am.mvn")
    elif layout.cmvn is not None:
        settings |= dict(zip(("cmvn_means", "cmvn_istd"), layout.cmvn.tolist(), strict=True))
    _copy_tokenizer(layout, folder)
    (folder / "config.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header)
        for name, value in tensors():
            for own_name, array in _arrays(name, value).items():
                if array.dtype != mx.uint32:
                    check_values(own_name, array, layout)
                file.write(memoryview(mx.contiguous(array).view(mx.uint8)))
            on_progress(file.tell() / size)


def _copy_tokenizer(layout: Layout, folder: Path) -> None:
    if layout.family != "nano":
        usual = (sensevoice.PIECES,) if layout.family == "sensevoice" else (paraformer.TOKENS, paraformer.SPELLINGS)
        for path, name in zip(layout.files, usual, strict=False):
            shutil.copyfile(path, folder / name)
        return
    (folder / TOKENIZER).mkdir(exist_ok=True)
    if units := find_units(layout):
        shutil.copyfile(units, folder / units.name)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (layout.tokenizer / name).is_file():
            shutil.copyfile(layout.tokenizer / name, folder / TOKENIZER / name)


def config_settings(config: AnyConfig) -> dict:
    """Return config.json's settings of a network, under FunASR's names."""
    if isinstance(config, SenseVoiceConfig):
        return sensevoice.settings(config)
    if isinstance(config, ParaformerConfig):
        return paraformer.settings(config)
    llm = asdict(config.llm)
    del llm["dropout"]
    settings = {
        "model_type": "fun_asr_nano",
        "input_size": config.encoder.input_size,
        "qwen_tokenizer_path": TOKENIZER,
        "frontend_conf": dict(FRONT_END),
        "audio_encoder_conf": encoder_settings(config.encoder),
        "audio_adaptor_conf": _adaptor(config.adaptor) | {"use_low_frame_rate": config.audio_tokens == "low"},
        "text_config": llm | {"model_type": "qwen3", "hidden_act": "silu"},
    }
    if config.ctc is not None:
        settings |= {
            "ctc_decoder": "Transformer",
            "ctc_decoder_conf": _adaptor(config.ctc.decoder),
            "ctc_vocab_size": config.ctc.vocab_size,
            "ctc_conf": {"blank_id": config.ctc.blank_id},
        }
    return settings


def _adaptor(config: AdaptorConfig) -> dict:
    settings = asdict(config)
    del settings["dropout"]
    return settings


def _arrays(name: str, value: Value) -> dict[str, mx.array]:
    if not isinstance(value, Packed):
        return {name: value}
    stem = name.removesuffix(".weight")
    return {name: value.weight, f"{stem}.scales": value.scales, f"{stem}.biases": value.biases}


def _survey(tensors: Iterator[tuple[str, Value]]) -> tuple[bytes, dict[str, tuple[int, int]], int]:
    """Return the safetensors header, the group size and bits of each quantized tensor, and the file's size."""
    header: dict[str, dict] = {"__metadata__": {"format": "mlx"}}
    packed, size = {}, 0
    for name, value in tensors:
        if isinstance(value, Packed):
            packed[name.removesuffix(".weight")] = value.group_size, value.bits
        for own_name, array in _arrays(name, value).items():
            offsets = [size, size + array.nbytes]
            dtype = _SAFETENSORS_NAMES[array.dtype]
            header[own_name] = {"dtype": dtype, "shape": [*array.shape], "data_offsets": offsets}
            size += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    return head, packed, len(head) + size


def _quantization_settings(packed: dict[str, tuple[int, int]]) -> dict:
    """Return what mlx-audio reads: a general group size and bits, then the tensors with others, by name.

    The smallest group size is the general one, since mlx-audio skips whatever that does not divide.
    """
    if not packed:
        return {}
    general = min(packed.values())
    others = {name: {"group_size": own[0], "bits": own[1]} for name, own in packed.items() if own != general}
    return {"quantization": {"group_size": general[0], "bits": general[1]} | others}
