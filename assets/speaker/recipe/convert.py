"""Convert Resemblyzer's trained voice encoder to safetensors; neither torch nor the wheel's code is run.

    pip download --no-deps resemblyzer==0.1.4
    python assets/speaker/recipe/convert.py Resemblyzer-0.1.4-py3-none-any.whl assets/speaker

The checkpoint is in PyTorch's format of before 1.6: five pickles (magic number, protocol, system, tensors, storage
keys), then each storage as a 64-bit length and its values. The unpickler admits only the names that tensors need.
"""

import argparse
import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

MAGIC = 0x1950A86A20F9469CFC6C
MEMBER = "resemblyzer/pretrained.pt"
KINDS = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8"), "CudaFloatStorage": np.dtype("<f4")}


class Tensors(pickle.Unpickler):
    """Unpickle plain data, with a (storage key, offset, shape) triple for each contiguous tensor."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, *_: (storage, offset, shape)
        if module in ("torch", "torch.cuda") and name in KINDS:
            return KINDS[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not a tensor")

    def persistent_load(self, pid: tuple) -> tuple[str, np.dtype]:
        kind, dtype, key, *_ = pid
        assert kind == "storage"
        return key, dtype


def read_legacy(data: bytes) -> dict[str, np.ndarray]:
    """The tensors under "model_state"."""
    file = io.BytesIO(data)
    magic, _, _, saved, keys = (Tensors(file).load() for _ in range(5))
    assert magic == MAGIC, "not a PyTorch file of before 1.6"
    starts = {}
    dtypes: dict[str, np.dtype] = {}

    def note(node: object) -> None:
        if isinstance(node, dict):
            for value in node.values():
                note(value)
        elif isinstance(node, list):
            for value in node:
                note(value)
        elif isinstance(node, tuple) and len(node) == 3 and isinstance(node[0], tuple):
            dtypes[node[0][0]] = node[0][1]

    note(saved)
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        starts[key] = file.tell()
        file.seek(count * dtypes[key].itemsize, io.SEEK_CUR)
    tensors = {}
    for name, ((key, dtype), offset, shape) in saved["model_state"].items():
        values = np.frombuffer(data, dtype, int(np.prod(shape)), starts[key] + offset * dtype.itemsize)
        tensors[name] = values.reshape(shape)
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as archive:
        tensors = read_legacy(archive.read(MEMBER))
    kept = {name: value.astype(np.float16) for name, value in tensors.items() if name.startswith(("lstm.", "linear."))}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    save_file(kept, arguments.folder / "model.safetensors", metadata={"format": "pt"})
    print(f"{len(kept)} tensors, {sum(value.nbytes for value in kept.values()):,} bytes")


if __name__ == "__main__":
    main()
