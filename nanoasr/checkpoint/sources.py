"""Find a checkpoint: the bundled one, a folder, or a repository on Hugging Face or ModelScope."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError, HubError
from ..resources import assets_folder
from . import modelscope
from .folder import cache_folder

# name: the repository on Hugging Face and the one on ModelScope, None where it is not known to have one
PRESETS: dict[str, tuple[str | None, str | None]] = {
    "nano": ("FunAudioLLM/Fun-ASR-Nano-2512", "FunAudioLLM/Fun-ASR-Nano-2512"),
    "nano-hf": ("FunAudioLLM/Fun-ASR-Nano-2512-hf", None),
    "nano-mlx": ("mlx-community/Fun-ASR-Nano-2512", None),
    "nano-fp16": ("mlx-community/Fun-ASR-Nano-2512-fp16", None),
    "nano-8bit": ("mlx-community/Fun-ASR-Nano-2512-8bit", None),
    "nano-4bit": ("mlx-community/Fun-ASR-Nano-2512-4bit", None),
    "mlt-nano": ("FunAudioLLM/Fun-ASR-MLT-Nano-2512", "FunAudioLLM/Fun-ASR-MLT-Nano-2512"),
    "mlt-nano-fp16": ("mlx-community/Fun-ASR-MLT-Nano-2512-fp16", None),
    "sensevoice": ("FunAudioLLM/SenseVoiceSmall", "iic/SenseVoiceSmall"),
    "paraformer": (
        "funasr/paraformer-zh",
        "iic/speech_seaco_paraformer_large_asr_nat-zh-cn-16k-common-vocab8404-pytorch",
    ),
    "paraformer-en": (None, "iic/speech_paraformer-large-vad-punc_asr_nat-en-16k-common-vocab10020"),
}
# The files a checkpoint is made of; examples, pictures and Qwen3's own weights stay on the hub.
NEEDED_FILES = (
    "config.json",
    "config.yaml",
    "configuration.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "model.pt",
    "campplus_cn_common.bin",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokens.json",
    "seg_dict",
    "*.bpe.model",
    "am.mvn",
    "multilingual.tiktoken",
    "Qwen3-0.6B/config.json",
    "Qwen3-0.6B/tokenizer.json",
    "Qwen3-0.6B/tokenizer_config.json",
)
BUNDLED = assets_folder() / "nano-tiny"
_HUBS = {"hf": "hf", "huggingface": "hf", "ms": "ms", "modelscope": "ms"}


@dataclass(frozen=True)
class Located:
    """The folder of a checkpoint, and the repository it was downloaded from, if it was."""

    folder: Path
    hub_id: str | None = None


def find_checkpoint(source: "str | Path | None" = None) -> Path:
    """Return the folder of a checkpoint, downloading it if need be; see `locate`."""
    return locate(source).folder


def locate(source: "str | Path | None" = None) -> Located:
    """Find a checkpoint, downloading it if need be.

    `source` is None or "bundled" for the checkpoint that ships, a folder, a preset's name, "owner/name" or
    "hf:owner/name" on Hugging Face, or "ms:owner/name" on ModelScope. "@revision" may follow the name of a
    repository. NANOASR_HUB=modelscope takes presets from ModelScope where it has them.

    Only the files that are needed are downloaded, with a progress bar, into a cache; interrupted downloads are
    resumed, and a cached checkpoint needs no network.
    """
    if source is None or (source == "bundled" and not os.path.isdir(source)):
        if not BUNDLED.is_dir():
            raise CheckpointError(
                "this copy of nanoasr has no bundled checkpoint (assets/nano-tiny): name a folder, a hub id, or a "
                f"preset ({', '.join(PRESETS)})"
            )
        return Located(BUNDLED)
    folder = os.path.expanduser(source)
    if os.path.isdir(folder):  # False for what cannot be a path at all, where Path.is_dir raises
        return Located(Path(folder))
    if os.path.isfile(folder):
        raise CheckpointError(f"{source}: name the checkpoint's folder, not a file in it")
    hub, name = _repository(str(source))
    name, _, revision = name.partition("@")
    if not re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name, re.ASCII) or ".." in revision:
        raise CheckpointError(f"{source!s:.200}: neither a folder, nor a hub id, nor a preset ({', '.join(PRESETS)})")
    if hub == "ms":
        return Located(modelscope.download(name, revision or "master", NEEDED_FILES), name)
    return Located(_download_from_hugging_face(name, revision or None), name)


def cached_bytes(hub: str, name: str) -> int:
    """Return how much of a repository on "hf" or "ms" is in the local cache."""
    if hub == "ms":
        root = cache_folder() / "modelscope" / name.replace("/", "--")
    else:
        from huggingface_hub.constants import HF_HUB_CACHE

        root = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    return sum(path.stat().st_size for path in (root / "blobs").glob("*") if path.is_file())


def _repository(source: str) -> tuple[str, str]:
    """Return the hub ("hf" or "ms") and the repository that a preset or a hub id stands for."""
    if source in PRESETS:
        wanted = os.environ.get("NANOASR_HUB") or "huggingface"
        if wanted not in _HUBS:
            raise CheckpointError(f"NANOASR_HUB={wanted!r}: use huggingface or modelscope")
        on = dict(zip(("hf", "ms"), PRESETS[source], strict=True))
        hub = _HUBS[wanted] if on[_HUBS[wanted]] else next(hub for hub, name in on.items() if name)
        return hub, on[hub]
    hub, colon, name = source.partition(":")
    return (hub, name) if colon and hub in ("hf", "ms") else ("hf", source)


def _download_from_hugging_face(name: str, revision: str | None) -> Path:
    import huggingface_hub  # only now: the import takes a third of a second
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    def fetch(offline: bool) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=list(NEEDED_FILES), local_files_only=offline
            )
        )

    try:
        return fetch(offline=False)
    except (RepositoryNotFoundError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise HubError(f"{name}: no such repository on Hugging Face, or it is private ({reason:.300})") from None
    except Exception as problem:
        try:
            return fetch(offline=True)
        except Exception:
            reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
            raise HubError(
                f"{name}: could not be downloaded from Hugging Face, and is not in the local cache ({reason:.300}). "
                "Check the network, set HF_ENDPOINT to a mirror, use ModelScope (ms:owner/name), or name a local folder"
            ) from None
