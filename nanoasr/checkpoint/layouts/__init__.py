"""The layouts in which checkpoints are published, each read by a module of its own into one `Layout`.

A module has `recognize(folder, configs) -> Layout | None`: a `Layout` if the config files are its own, None if they
are another layout's. To support a further layout, write such a module and list it here.
"""

from pathlib import Path

from ...errors import CheckpointError
from ..checks import check_relations, check_sizes
from . import funasr, mlx_audio_plus, paraformer, sensevoice, transformers
from .layout import Configs, Layout, read_configs
from .transformers import official_name

__all__ = ["Configs", "Layout", "official_name", "read_layout"]

_LAYOUTS = (funasr, transformers, mlx_audio_plus, sensevoice, paraformer)


def read_layout(folder: Path) -> Layout:
    """Read what a checkpoint folder holds from its config files; CheckpointError says what is missing or unknown."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    try:
        configs = read_configs(folder)
        layout = next(filter(None, (module.recognize(folder, configs) for module in _LAYOUTS)), None)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{folder}: its config is not laid out as expected ({reason})") from error
    if layout is None:
        raise CheckpointError(
            f"{folder}: not a Fun-ASR-Nano, SenseVoice or Paraformer checkpoint. Expected config.yaml with model.pt "
            "(official), or config.json with model.safetensors (transformers, mlx-audio, mlx-audio-plus)"
        )
    check_sizes(layout.config, folder)
    check_relations(layout.config, folder)
    return layout
