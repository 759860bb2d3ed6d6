"""The state of a training on disk: written whole or not at all, read back to the bit."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import backend  # noqa: F401 (before mlx: it brings the BLAS)
from ..errors import CheckpointError

import mlx.core as mx  # isort: skip


@dataclass(frozen=True)
class Place:
    """How far a training is: optimizer steps done, and the batch that comes next. Everything that is drawn at
    random is drawn from the seed and these, so there is nothing else to remember."""

    step: int = 0
    epoch: int = 0
    batch: int = 0


def save(path: Path, state: dict[str, mx.array], place: Place, shapes: dict[str, tuple]) -> None:
    """Write beside `path` and then move over it, so that a kill leaves the old file or the new one.

    `shapes` are the tensors that the state's vectors are made of.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"writing-{path.name}")  # MLX wants the ending to stay
    about = {"place": json.dumps(asdict(place)), "shapes": json.dumps(shapes)}
    mx.save_safetensors(str(beside), state, about)
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def load(path: Path, state: dict[str, mx.array], shapes: dict[str, tuple]) -> tuple[dict[str, mx.array], Place]:
    """The state saved at `path`, which must be of the same parts and tensors as `state`."""
    try:
        saved, about = mx.load(str(path), return_metadata=True)
        place, saved_shapes = Place(**json.loads(about["place"])), json.loads(about["shapes"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not the state of a training ({error}); delete it to start anew") from None
    if saved.keys() != state.keys() or saved_shapes != {name: list(shape) for name, shape in shapes.items()}:
        raise CheckpointError(
            f"{path}: was saved by a training of another network or of other parts of it; "
            "delete it to start anew, or choose another `out`"
        )
    return saved, place
