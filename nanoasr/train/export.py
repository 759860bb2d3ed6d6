"""Write a trained network as a checkpoint folder, as `nanoasr.convert` writes it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

from ..checkpoint.assemble import split_fused
from ..checkpoint.layouts import Layout
from ..checkpoint.writer import write_checkpoint
from ..model.nano import Nano


def export(model: Nano, origin: Layout, folder: Path) -> Path:
    """Write a checkpoint with weights in bfloat16 into `folder` and return it.

    `origin` says where the tokenizer, the CTC branch's text units and the CMVN lie, and has the languages and card.
    """
    layout = replace(origin, config=model.config)

    def tensors() -> Iterator[tuple[str, mx.array]]:
        for fused, value in tree_flatten(model.parameters()):
            for name, part in split_fused(fused, value, layout).items():
                yield name, part.astype(mx.bfloat16)

    write_checkpoint(layout, folder, tensors)
    return folder
