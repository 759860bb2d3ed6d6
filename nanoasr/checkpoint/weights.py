"""The tensors in a checkpoint's files: described at once, read one by one when they are asked for."""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError
from .folder import beside, one_file, read_json
from .torch_file import RawTensor, read_torch_file

_SAFETENSORS_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "U32": "uint32"}
_MAX_HEADER_BYTES = 4 << 20  # of a safetensors file; a real header has 130 bytes for each of 1,300 tensors
_MAX_SHARDS = 64


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file: its shape, its type by MLX's name where MLX has it, and a function that reads it."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], mx.array]


def read_tensors(folder: Path, pattern: str) -> dict[str, Tensor]:
    """Return the tensors of the folder's "*.pt" or "*.safetensors" by name, depthwise kernels as MLX lays them out."""
    found = _torch_tensors(one_file(folder, pattern)) if pattern == "*.pt" else _safetensors(folder)
    kernels = (".fsmn_block.", ".fsmn.", ".feedforward_sequential_memory.")
    return {name: _depthwise(t) if any(k in name for k in kernels) else t for name, t in found.items()}


def _depthwise(tensor: Tensor) -> Tensor:
    """Transpose a depthwise kernel from PyTorch's [C, 1, K] to MLX's [C, K, 1]."""
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
    """Release the pages of a mapped file, which count as this process's memory; they can be read again."""
    while isinstance(mapped, np.ndarray):
        mapped = mapped.base
    if isinstance(mapped, memoryview) and isinstance(mapped.obj, mmap.mmap):
        mapped.obj.madvise(mmap.MADV_DONTNEED)


def _safetensors(folder: Path) -> dict[str, Tensor]:
    """List the tensors of one or several files: `safetensors` checks each header, MLX reads values when asked."""
    found: dict[str, Tensor] = {}
    for path in _safetensors_files(folder):
        try:
            with path.open("rb") as file:
                header = int.from_bytes(file.read(8), "little")
            if header > _MAX_HEADER_BYTES:
                raise ValueError(f"its header claims {header:,} bytes")
            with safe_open(path, "np") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            arrays = mx.load(str(path))
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path}: damaged or incomplete, fetch it again ({error!s:.500})") from None
        for name, part in slices.items():
            dtype = _SAFETENSORS_DTYPES.get(part.get_dtype(), part.get_dtype())
            found[name] = Tensor(tuple(part.get_shape()), dtype, lambda arrays=arrays, name=name: arrays.pop(name))
    return found


def _safetensors_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [one_file(folder, "*.safetensors")]
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(f"{index}: has no weight_map, the list of files; fetch it again")
    names = sorted({str(name) for name in shards.values()})
    if len(names) > _MAX_SHARDS:
        raise CheckpointError(f"{index}: lists {len(names)} files; at most {_MAX_SHARDS} are supported")
    return [beside(folder, name) for name in names]
