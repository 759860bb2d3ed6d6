"""The state of a training run on disk, written atomically and restored exactly."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import mlx.core as mx

from ..errors import CheckpointError


@dataclass(frozen=True)
class Place:
    """A position in a training run: optimizer steps done, and the next batch. All randomness derives from the seed and
    these, so nothing else needs to be saved."""

    step: int = 0
    epoch: int = 0
    batch: int = 0


def save(path: Path, state: dict[str, mx.array], place: Place, shapes: dict[str, tuple]) -> None:
    """Write a temporary file and rename it to `path`, so that a kill leaves the old file or the new one.

    `shapes` are those of the tensors in the state's vectors.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"writing-{path.name}")  # MLX needs the suffix
    about = {"place": json.dumps(asdict(place)), "shapes": json.dumps(shapes)}
    mx.save_safetensors(str(beside), state, about)
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def load(path: Path, state: dict[str, mx.array], shapes: dict[str, tuple]) -> tuple[dict[str, mx.array], Place]:
    """Load a saved state, which must have the same parts and tensors as `state`."""
    try:
        saved, about = mx.load(str(path), return_metadata=True)
        place, saved_shapes = Place(**json.loads(about["place"])), json.loads(about["shapes"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not the state of a training run ({error}); delete it to start over") from None
    if saved.keys() != state.keys() or saved_shapes != {name: list(shape) for name, shape in shapes.items()}:
        raise CheckpointError(
            f"{path}: was saved by a training run of another network or other parts of it; "
            "delete it to start over, or choose another `out`"
        )
    return saved, place
