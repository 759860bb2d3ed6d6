"""What the fused CUDA kernels, `blocks.cuh`, need on the host's side."""

import ctypes
import threading
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

THREADS = 256
_last = threading.local()  # the last kernel's output: two kernels at once would wait for each other's multiprocessors
_COUNTER = 1 << 12  # numbers, of which one is used: MLX keeps tiny arrays in the host's memory


@cache
def device() -> tuple[int, int, int]:
    """Return the GPU's compute capability, its multiprocessors and the bytes of memory that a block's threads share."""
    try:
        cuda, found = ctypes.CDLL("libcuda.so.1"), []
    except OSError:
        return 0, 0, 0  # so that no kernel fits
    cuda.cuInit(0)
    for attribute in (75, 16, 97):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, ...
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0)
        found.append(value.value)
    return tuple(found)


def stack(modules: Sequence[nn.Module]) -> mx.array:
    """Return the modules' weights as one array, of which the weights are parts from now on."""
    stacked = mx.stack([module.weight for module in modules])
    parts = [stacked[i] for i in range(len(modules))]
    mx.eval(stacked, parts)
    for module, part in zip(modules, parts, strict=True):
        module.weight = part
    return stacked


def find(layer: nn.Module, path: str) -> nn.Module:
    """Return the part of a layer at "self_attn.q_norm" and the like."""
    for name in path.split("."):
        layer = layer[name]
    return layer


def readable(layers: Iterable[nn.Module], linear: Sequence[str], others: Sequence[str]) -> bool:
    """Return True if the layers' parts are as kernels read them: plain products, and all weights in bfloat16."""
    parts = [find(layer, path) for layer in layers for path in linear]
    plain = all(type(part) is nn.Linear for part in parts)
    parts += [find(layer, path) for layer in layers for path in others]
    return plain and all(part.weight.dtype == mx.bfloat16 for part in parts)


def header(name: str) -> str:
    """Return the source that kernels of this name share."""
    return "\n".join(Path(__file__).with_name(f"{file}.cuh").read_text() for file in ("blocks", name))


class Origin:
    """Parts of layers and their arrays, to find out later whether they are still the same."""

    def __init__(self, layers: Iterable[nn.Module], paths: Sequence[str]):
        self._held = []
        for layer in layers:
            for path in paths:
                holder, _, name = path.rpartition(".")
                holder = find(layer, holder) if holder else layer
                part = holder[name]
                self._held.append((holder, name, part))
                self._held += [(part, key, value) for key, value in part.items() if isinstance(value, mx.array)]

    @property
    def unchanged(self) -> bool:
        """False once a layer has another part, or a part another array."""
        return all(holder.get(name) is held for holder, name, held in self._held)


class Kernel:
    """A kernel of one block on each multiprocessor, which go through a network together."""

    def __init__(self, name: str, inputs: Sequence[str], source: str, shared_memory: int):
        self._kernel = mx.fast.cuda_kernel(
            name=name,
            input_names=[*inputs, "arrived", "previous"],
            output_names=["out", "scratch"],
            source=source,
            header=header(name),
            shared_memory=shared_memory,
        )
        mx.clear_cache()  # MLX reuses memory that it shares with the host, where counting takes a hundred times as long
        self._arrived = mx.zeros(_COUNTER, dtype=mx.uint32)
        mx.eval(self._arrived)

    def __call__(
        self, inputs: Sequence[mx.array], template: dict[str, int], shape: tuple[int, ...], scratch: int
    ) -> mx.array:
        """Return the kernel's output of this shape; `scratch` counts the numbers it needs in between."""
        _, processors, _ = device()
        out, _ = self._kernel(
            inputs=[*inputs, self._arrived, getattr(_last, "out", inputs[0])],
            template=list(template.items()),
            grid=(THREADS * processors, 1, 1),
            threadgroup=(THREADS, 1, 1),
            output_shapes=[shape, (scratch,)],
            output_dtypes=[mx.bfloat16, mx.bfloat16],
        )
        _last.out = out
        return out
