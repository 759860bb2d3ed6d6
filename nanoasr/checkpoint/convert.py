"""Convert a checkpoint in any layout to one folder in mlx-audio's layout, optionally quantized."""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import backend
from ..errors import CheckpointError
from .assemble import Value, assemble, split_fused
from .layouts import Layout, sensevoice
from .load import DTYPES, check_dtype, check_parts, load_tokenizer, read_source
from .quantize import Packed, Quantization, parse_quantization, quantized
from .writer import FILES, write_checkpoint


def convert(
    source: "str | Path | None",
    out_dir: "str | Path",
    quantize: "str | Quantization | None" = None,
    dtype: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> Path:
    """Write a checkpoint as one safetensors folder and return its path.

    `nanoasr.load` reads it; so does mlx-audio, if it is a Fun-ASR-Nano with nothing but the LLM quantized or a
    SenseVoice that is not quantized.

    source       what `nanoasr.load` takes: a folder in any layout, a hub id or a preset
    out_dir      a new or empty folder; it appears, complete, when everything is written
    quantize     as in `nanoasr.load`; the integers are stored, on a CPU too
    dtype        "float32" or "bfloat16" for what is not quantized; None keeps what is stored
    overwrite    replace the checkpoint in `out_dir`
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
    layout = read_source(source)
    try:
        target = out_dir.expanduser().resolve()  # where a link leads
        _recover(target)
        _check_target(target, overwrite)
        layout, _ = assemble(layout)
        check_parts(quantization, layout)
        load_tokenizer(layout)  # what would not load is not converted either
        partial = _beside(target, "partial")
        partial.mkdir(parents=True)
        try:
            write_checkpoint(
                layout, partial, lambda: _tensors(layout, quantization, dtype), on_progress or (lambda share: None)
            )
            _put_in_place(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(f"{out_dir}: cannot be written ({error.strerror or error})") from error
    return target


def _tensors(layout: Layout, quantization: Quantization | None, dtype: str | None) -> Iterator[tuple[str, Value]]:
    """Give what is to be stored, as mlx-audio names and shapes it, neither read nor computed yet."""
    for name, value in assemble(layout)[1]:
        value = quantized(name, value, quantization, DTYPES.get(dtype))
        if dtype:
            value = value.with_dtype(DTYPES[dtype]) if isinstance(value, Packed) else value.astype(DTYPES[dtype])
        for part, own in split_fused(name, value, layout).items():
            yield sensevoice.stored(part, own) if layout.family == "sensevoice" else (part, own)


# Putting the folder in place


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise CheckpointError(f"{target}: is a file; name a folder")
    found = sorted(path.name for path in target.iterdir())
    if found and not overwrite:
        raise CheckpointError(f"{target}: exists and is not empty; name another folder, or pass overwrite=True")
    others = [name for name in found if name not in FILES]
    if others:
        raise CheckpointError(
            f"{target}: holds more than a converted checkpoint ({', '.join(others[:5])}), which overwriting would "
            "delete; name another folder, or delete it yourself"
        )


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}-{os.getpid()}")


def _recover(target: Path) -> None:
    """Clean up after processes that were killed: delete unfinished folders, put a moved checkpoint back."""
    for kind in ("replaced", "partial"):
        stem = f".{target.name}.{kind}-"
        for path in sorted(target.parent.iterdir()) if target.parent.is_dir() else ():
            if path.name.startswith(stem) and not _is_running(path.name.removeprefix(stem)):
                if kind == "replaced" and not target.exists():
                    path.rename(target)
                else:
                    shutil.rmtree(path, ignore_errors=True)


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
    """Let `partial` take the place of `target`, so that a kill at any moment leaves one of the two there."""
    if not target.exists() or not any(target.iterdir()):
        partial.rename(target)
    elif not _exchange(partial, target):  # two renames; `_recover` mends what a kill between them leaves
        replaced = _beside(target, "replaced")
        target.rename(replaced)
        partial.rename(target)
        shutil.rmtree(replaced)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, where the system can; False where it cannot."""
    libc, names = ctypes.CDLL(None, use_errno=True), (os.fsencode(one), os.fsencode(other))
    try:
        if sys.platform == "darwin":
            return libc.renamex_np(*names, 2) == 0  # RENAME_SWAP
        return libc.renameat2(-100, names[0], -100, names[1], 2) == 0  # AT_FDCWD, RENAME_EXCHANGE
    except AttributeError:
        return False
