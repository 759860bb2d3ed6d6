"""Where checkpoints come from: the one that ships, a folder, or the Hugging Face hub."""

import os
import re
from pathlib import Path

from ..errors import CheckpointError, HubError
from ..resources import assets_folder

PRESETS = {
    "nano": "FunAudioLLM/Fun-ASR-Nano-2512",
    "nano-hf": "FunAudioLLM/Fun-ASR-Nano-2512-hf",
    "nano-mlx": "mlx-community/Fun-ASR-Nano-2512",
    "nano-fp16": "mlx-community/Fun-ASR-Nano-2512-fp16",
    "mlt-nano": "FunAudioLLM/Fun-ASR-MLT-Nano-2512",
    "mlt-nano-fp16": "mlx-community/Fun-ASR-MLT-Nano-2512-fp16",
}
# What a checkpoint is made of; examples, pictures and Qwen3's own weights stay on the hub.
_NEEDED = [
    "config.json",
    "config.yaml",
    "model*.safetensors",
    "model.safetensors.index.json",
    "model.pt",
    "tokenizer.json",
    "tokenizer_config.json",
    "am.mvn",
    "multilingual.tiktoken",
    "Qwen3-0.6B/config.json",
    "Qwen3-0.6B/tokenizer.json",
    "Qwen3-0.6B/tokenizer_config.json",
]
BUNDLED = assets_folder() / "nano-tiny"


def find_checkpoint(source: "str | Path | None" = None) -> Path:
    """The folder of a checkpoint: None or "bundled" for the one that ships, a folder, a preset's name or a hub id.

    A hub id may name a version, `owner/name@version`. Only the files needed are fetched, with a progress bar,
    into the hub's own cache; an interrupted download is taken up again, and a cached one needs no network.
    """
    if source is None or (source == "bundled" and not os.path.isdir(source)):
        if not BUNDLED.is_dir():
            raise CheckpointError(
                "this copy of nanoasr has no bundled checkpoint (assets/nano-tiny): name a folder, a hub id, or a "
                f"preset ({', '.join(PRESETS)})"
            )
        return BUNDLED
    folder = os.path.expanduser(source)
    if os.path.isdir(folder):  # False for what can be no path at all, where Path.is_dir raises
        return Path(folder)
    name, _, version = PRESETS.get(str(source), str(source)).partition("@")
    if os.path.isfile(folder):
        raise CheckpointError(f"{source}: name the checkpoint's folder, not a file in it")
    if not re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name):
        raise CheckpointError(f"{source}: neither a folder, nor a hub id, nor a preset ({', '.join(PRESETS)})")
    return _download(name, version or None)


def _download(name: str, version: str | None) -> Path:
    import huggingface_hub  # only now: it takes a third of a second to import
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    def fetch(offline: bool) -> Path:
        return Path(
            huggingface_hub.snapshot_download(name, revision=version, allow_patterns=_NEEDED, local_files_only=offline)
        )

    try:
        return fetch(offline=False)
    except (RepositoryNotFoundError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise HubError(f"{name}: no such repository on the hub, or it is private ({reason})") from None
    except Exception as problem:
        try:
            return fetch(offline=True)
        except Exception:
            reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
            raise HubError(
                f"{name}: could not be fetched from the hub, and is not in the local cache ({reason}). "
                "Check the network, set HF_ENDPOINT to a mirror, or name a local folder"
            ) from None
