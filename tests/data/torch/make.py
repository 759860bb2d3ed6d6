"""Writes the .pt files beside this one, and expected.npz with what they hold; run with torch 2.13 installed.

The tests read them without torch. In expected.npz a tensor is FILE/NAME, bfloat16 as its uint16 bits.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
torch.manual_seed(0)


def every_dtype() -> dict:
    numbers = torch.arange(-3, 9).reshape(3, 4)
    integers = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    named = {str(dtype).removeprefix("torch."): numbers.to(dtype) for dtype in integers}
    return named | {str(dtype).removeprefix("torch."): (numbers / 7).to(dtype) for dtype in floats}


def views() -> dict:
    base = torch.randn(6, 8)
    return {
        "base": base,
        "rows": base[2:5],
        "one_row": base[3],
        "columns": base[:, 1:4],
        "transposed": base.T,
        "every_other": base[::2, ::3],
        "permuted": base.reshape(2, 3, 8).permute(2, 0, 1),
        "expanded": base[1:2].expand(4, 8),
        "bfloat16_transposed": base.to(torch.bfloat16).T,
        "scalar": torch.tensor(1.5),
        "empty": torch.empty(0, 5),
        "empty_rows": base[6:],
    }


def module_state() -> OrderedDict:
    """What nn.Module.state_dict() gives: an OrderedDict that carries _metadata."""
    module = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.LayerNorm(3), torch.nn.BatchNorm1d(3))
    return module.state_dict()


def tied() -> dict:
    table = torch.nn.Parameter(torch.randn(7, 4).to(torch.bfloat16))
    return {"embed_tokens.weight": table, "lm_head.weight": table, "detached": table.detach()}


def training_run() -> dict:
    """A checkpoint with everything that a trainer leaves in it."""
    model = torch.nn.DataParallel(torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    return {
        "epoch": 7,
        "step": 1 << 40,
        "loss": 0.25,
        "name": "köln",
        "best": None,
        "done": True,
        "saved_ckpts": {"ep1": 0.5, 2: (1, [2, 3], -4)},
        "train_loss_avg": torch.tensor(0.125),
        "optimizer": optimizer.state_dict(),
        "state_dict": model.state_dict(),
    }


def written() -> dict[str, tuple[object, dict, dict]]:
    """File -> what is saved, with which options, and the tensors that a reader should find."""
    state = module_state()
    run = training_run()
    parameters = torch.nn.ParameterDict({"weight": torch.randn(2, 3), "bias": torch.randn(3)})
    bare = {name.removeprefix("module."): value for name, value in run["state_dict"].items()}
    return {
        "every_dtype": (every_dtype(), {}, every_dtype()),
        "views": (v := views(), {}, v),
        "module_state": (state, {}, state),
        "module_state_protocol_4": (state, {"pickle_protocol": 4}, state),
        "tied": (t := tied(), {}, t),
        "parameters": (p := dict(parameters.items()), {}, p),
        "training_run": (run, {}, bare),
        "nested_model": ({"model": {"state_dict": state}, "config": {"dim": 3}}, {"pickle_protocol": 5}, state),
    }


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().contiguous()
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


if __name__ == "__main__":
    expected = {}
    for file, (saved, options, tensors) in written().items():
        torch.save(saved, HERE / f"{file}.pt", **options)
        expected |= {f"{file}/{name}": as_numpy(tensor) for name, tensor in tensors.items()}
    torch.save({"w": torch.ones(2)}, HERE / "before_1_6.pt", _use_new_zipfile_serialization=False)
    np.savez_compressed(HERE / "expected.npz", **expected)
