"""A trained network -> a checkpoint folder in mlx-audio's layout, as `nanoasr.convert` writes it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from ..checkpoint.convert import config_settings
from ..checkpoint.layouts import Layout
from ..checkpoint.load import split_fused
from ..model.nano import Nano

import mlx.core as mx  # isort: skip
from mlx.utils import tree_flatten  # isort: skip


def export(model: Nano, origin: Layout, folder: Path) -> Path:
    """Write config.json, model.safetensors (bfloat16) and the tokenizer into `folder`, which comes back.

    `origin` says where the tokenizer and the CMVN lie, which languages are known, and what the card says.
    """
    layout = replace(origin, name="mlx-audio", folder=folder, config=model.config)
    settings = config_settings(model.config)
    settings |= {"languages": list(layout.languages)} if layout.languages else {}
    settings |= {"nanoasr_card": layout.card} if layout.card else {}
    tokenizer = folder / settings["qwen_tokenizer_path"]
    tokenizer.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (origin.tokenizer / name).is_file():
            shutil.copyfile(origin.tokenizer / name, tokenizer / name)
    if origin.cmvn:
        settings["frontend_conf"]["cmvn_file"] = "am.mvn"
        shutil.copyfile(origin.cmvn, folder / "am.mvn")
    tensors = {
        name: part.astype(mx.bfloat16)
        for fused, value in tree_flatten(model.parameters())
        for name, part in split_fused(fused, value, layout).items()
    }
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, {"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder
