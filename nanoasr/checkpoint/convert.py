"""A checkpoint in any layout -> one folder in mlx-audio's layout, quantized if wished."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import mlx.core as mx

from .. import backend
from ..audio.features import LFR_SHIFT, LFR_WINDOW, MEL_BINS, SAMPLE_RATE
from ..errors import CheckpointError
from ..model.config import AdaptorConfig, ModelConfig
from .layouts import Layout, read_layout
from .load import DTYPES, assemble, check_dtype, load_tokenizer, split_fused
from .quantize import Packed, Quantization, parse_quantization, quantized
from .sources import find_checkpoint

_TOKENIZER = "Qwen3-0.6B"
_WRITTEN = {"config.json", "model.safetensors", "am.mvn", "multilingual.tiktoken", _TOKENIZER}
_SAFETENSORS_NAMES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16", mx.uint32: "U32"}


def convert(
    source: "str | Path | None",
    out_dir: "str | Path",
    quantize: "str | Quantization | None" = None,
    dtype: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> Path:
    """Write a checkpoint as one safetensors folder, whose path comes back.

    `nanoasr.load` reads it, and so does mlx-audio as long as nothing but the LLM is quantized.

    source       what `nanoasr.load` takes: a folder in any layout, a hub id or a preset
    out_dir      a new or empty folder; it appears, whole, when all is written
    quantize     as in `nanoasr.load`; the integers are stored, on a CPU too
    dtype        "float32" or "bfloat16" for what is not quantized; None keeps what is stored
    overwrite    replace a checkpoint that `out_dir` holds
    on_progress  called with the share that is written, from 0 to 1
    """
    return backend.run(_convert, source, Path(out_dir), parse_quantization(quantize), dtype, overwrite, on_progress)


def _convert(
    source: "str | Path | None",
    out_dir: Path,
    quantization: Quantization | None,
    dtype: str | None,
    overwrite: bool,
    on_progress: Callable[[float], None] | None,
) -> Path:
    check_dtype(dtype)
    layout = read_layout(find_checkpoint(source))
    try:
        target = out_dir.expanduser().resolve()  # where a link leads
        _check_target(target, overwrite)
        layout, _ = assemble(layout)
        load_tokenizer(layout)  # what would not load is not converted either
        partial = _partial_folder(target)
        try:
            _write(layout, partial, quantization, dtype, on_progress or (lambda _: None))
            _put_in_place(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(f"{out_dir}: cannot be written ({error.strerror or error})") from error
    return target


def config_settings(config: ModelConfig) -> dict:
    """What config.json says of a network, in FunASR's words."""
    encoder, llm = asdict(config.encoder), asdict(config.llm)
    for part in (encoder, llm):
        del part["dropout"]
    settings = {
        "model_type": "fun_asr_nano",
        "input_size": encoder.pop("input_size"),
        "qwen_tokenizer_path": _TOKENIZER,
        "frontend_conf": {
            "fs": SAMPLE_RATE,
            "window": "hamming",
            "n_mels": MEL_BINS,
            "frame_length": 25,
            "frame_shift": 10,
            "lfr_m": LFR_WINDOW,
            "lfr_n": LFR_SHIFT,
        },
        "audio_encoder_conf": encoder | {"normalize_before": True, "sanm_shift": 0},
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


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise CheckpointError(f"{target}: is a file; name a folder")
    found = sorted(path.name for path in target.iterdir())
    if found and not overwrite:
        raise CheckpointError(f"{target}: exists and is not empty; name another folder, or pass overwrite=True")
    others = [name for name in found if name not in _WRITTEN]
    if others:
        raise CheckpointError(
            f"{target}: holds more than a converted checkpoint ({', '.join(others[:5])}), which overwriting would "
            "delete; name another folder, or delete it yourself"
        )


def _partial_folder(target: Path) -> Path:
    """A new folder beside `target`, to be renamed when it is complete; those of killed processes go."""
    stem = f".{target.name}.partial-"
    target.parent.mkdir(parents=True, exist_ok=True)
    for path in target.parent.iterdir():
        if path.name.startswith(stem) and not _is_running(path.name.removeprefix(stem)):
            shutil.rmtree(path, ignore_errors=True)
    partial = target.with_name(f"{stem}{os.getpid()}")
    partial.mkdir()
    return partial


def _is_running(process: str) -> bool:
    if not process.isdecimal() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _put_in_place(partial: Path, target: Path) -> None:
    if target.exists() and any(target.iterdir()):
        replaced = partial.with_name(f"{partial.name}-replaced")
        target.rename(replaced)
        partial.rename(target)
        shutil.rmtree(replaced)
    else:
        partial.rename(target)


def _write(
    layout: Layout,
    folder: Path,
    quantization: Quantization | None,
    dtype: str | None,
    on_progress: Callable[[float], None],
) -> None:
    # Two passes, so that no more than a few tensors are ever in memory: MLX knows the size of an array without
    # computing it, so the first costs next to nothing.
    header, packed, size = _survey(_pieces(layout, quantization, dtype))
    settings = config_settings(layout.config) | _quantization_settings(packed)
    settings |= {"languages": list(layout.languages)} if layout.languages else {}
    settings |= {"nanoasr_card": layout.card} if layout.card else {}
    if layout.cmvn:
        settings["frontend_conf"]["cmvn_file"] = "am.mvn"
        shutil.copyfile(layout.cmvn, folder / "am.mvn")
    (folder / "config.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / _TOKENIZER).mkdir()
    for path, place in (
        (layout.tokenizer / "tokenizer.json", folder / _TOKENIZER),
        (layout.tokenizer / "tokenizer_config.json", folder / _TOKENIZER),
        (layout.folder / "multilingual.tiktoken", folder),
    ):
        if path.is_file():
            shutil.copyfile(path, place / path.name)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header)
        for name, value in _pieces(layout, quantization, dtype):
            for array in _arrays(name, value).values():
                file.write(memoryview(mx.contiguous(array).view(mx.uint8)))
            on_progress(file.tell() / size)


def _pieces(
    layout: Layout, quantization: Quantization | None, dtype: str | None
) -> "Iterator[tuple[str, mx.array | Packed]]":
    """What is to be stored, under mlx-audio's names; as yet neither read nor computed."""
    for name, value in assemble(layout)[1]:
        value = quantized(name, value, quantization, DTYPES.get(dtype))
        if dtype:
            value = value.with_dtype(DTYPES[dtype]) if isinstance(value, Packed) else value.astype(DTYPES[dtype])
        yield from split_fused(name, value, layout).items()


def _arrays(name: str, value: "mx.array | Packed") -> dict[str, mx.array]:
    if not isinstance(value, Packed):
        return {name: value}
    stem = name.removesuffix(".weight")
    return {name: value.weight, f"{stem}.scales": value.scales, f"{stem}.biases": value.biases}


def _survey(pieces: "Iterator[tuple[str, mx.array | Packed]]") -> tuple[bytes, dict[str, tuple[int, int]], int]:
    """A safetensors file's header, the group size and bits of what is quantized in it, and how long it will be."""
    header: dict[str, dict] = {"__metadata__": {"format": "mlx"}}
    packed, size = {}, 0
    for name, value in pieces:
        if isinstance(value, Packed):
            packed[name.removesuffix(".weight")] = value.group_size, value.bits
        for own_name, array in _arrays(name, value).items():
            offsets = [size, size + array.nbytes]
            header[own_name] = {
                "dtype": _SAFETENSORS_NAMES[array.dtype],
                "shape": [*array.shape],
                "data_offsets": offsets,
            }
            size += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    return head, packed, len(head) + size


def _quantization_settings(packed: dict[str, tuple[int, int]]) -> dict:
    """What mlx-audio reads: group size and bits, then those that differ, by name.

    The smallest group size is the general one, since mlx-audio skips whatever that does not divide.
    """
    if not packed:
        return {}
    general = min(packed.values())
    others = {name: {"group_size": own[0], "bits": own[1]} for name, own in packed.items() if own != general}
    return {"quantization": {"group_size": general[0], "bits": general[1]} | others}
