"""Speaker networks as checkpoints store them, and the embeddings of windows of speech."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from safetensors import SafetensorError, safe_open

from .. import backend
from ..audio import SAMPLE_RATE
from ..checkpoint.sources import find_checkpoint
from ..checkpoint.torch_file import read_torch_file
from ..errors import CheckpointError
from ..model.campplus import CAMPPlus, CAMPPlusConfig
from ..model.speaker import VoiceEncoder
from ..resources import assets_folder
from .frontend import kaldi_filterbank, mel_energies, mel_energies_on_cpu

BATCH = 256  # windows embedded together: a GPU takes as long for one, a CPU a fifth longer for two halves
_LOUDNESS = 10 ** (-30 / 20)  # root mean square that GE2E's windows are brought to, as in training


@dataclass(frozen=True, eq=False)
class SpeakerModel:
    """A network that gives windows of one voice similar embeddings; times in samples."""

    name: str  # "ge2e" or "campplus"
    network: nn.Module
    front_end: Callable[[mx.array], mx.array]
    window: int
    step: int
    on_cpu: Callable[[np.ndarray], np.ndarray] | None = None  # windows -> embeddings, on the calling thread

    def embed(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows of samples [N, window] -> [N, D]; any thread may call it."""
        batches = [windows[i : i + BATCH] for i in range(0, len(windows), BATCH)]
        if backend.on_cpu and self.on_cpu:
            with backend.numpy_on_one_thread():
                return np.concatenate([self.on_cpu(batch) for batch in batches])
        return np.concatenate([backend.run(self._embed, batch) for batch in batches])

    def _embed(self, windows: np.ndarray) -> np.ndarray:
        return np.array(self.network(self.front_end(mx.array(windows))).astype(mx.float32))


def load_speaker_model(source: str | Path | None = None) -> SpeakerModel:
    """Load a speaker network: None for the bundled GE2E voice encoder, or FunASR's CAM++ from a folder or a hub, such
    as "ms:iic/speech_campplus_sv_zh-cn_16k-common"."""
    return _load(str(assets_folder() / "speaker" if source is None else find_checkpoint(source)))


def cut_windows(samples: np.ndarray, window: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut speech into windows `step` samples apart -> (windows, their centres in samples).

    The last one ends where the speech ends. Speech shorter than a window is repeated until it fills one.
    """
    if len(samples) <= window:
        return np.resize(samples, (1, window)).astype(np.float32), np.array([len(samples) / 2])
    starts = [*range(0, len(samples) - window + 1, step)]
    if len(samples) - window - starts[-1] > step // 4:
        starts.append(len(samples) - window)
    windows = np.stack([samples[start : start + window] for start in starts])
    return windows.astype(np.float32, copy=False), np.array(starts) + window / 2


@functools.lru_cache(2)
def _load(folder: str) -> SpeakerModel:
    path = Path(folder).expanduser()
    if (path / "model.safetensors").is_file():
        tensors = _read_safetensors(path / "model.safetensors")
        front_end, window, step = _ge2e_features, round(1.6 * SAMPLE_RATE), round(0.8 * SAMPLE_RATE)
        network = backend.run(_fill, VoiceEncoder, tensors, path)

        def on_cpu(windows: np.ndarray) -> np.ndarray:
            return network.on_cpu(_ge2e_features_on_cpu(windows))

        return SpeakerModel("ge2e", network, front_end, window, step, on_cpu)
    files = sorted(path.glob("campplus*.bin")) or sorted(path.glob("model.pt"))
    if not files:
        raise CheckpointError(
            f"{path}: no speaker model (model.safetensors of GE2E, or campplus_cn_common.bin of FunASR's CAM++)"
        )
    tensors = {name: tensor.data for name, tensor in read_torch_file(files[0]).items()}
    try:
        config = CAMPPlusConfig.of({name: value.shape for name, value in tensors.items()})
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{files[0]}: its tensors are not those of CAM++ ({error})") from None
    network = backend.run(_fill, lambda: CAMPPlus(config), tensors, path, CAMPPlus.parameters_from)
    return SpeakerModel("campplus", network, kaldi_filterbank, round(1.5 * SAMPLE_RATE), round(0.75 * SAMPLE_RATE))


def _fill(
    make: Callable[[], nn.Module],
    tensors: dict[str, np.ndarray],
    path: Path,
    rename: Callable[[dict[str, mx.array]], dict[str, mx.array]] = dict,
) -> nn.Module:
    """Build the network and give it the tensors as float32; CheckpointError lists those that do not fit."""
    network = make()
    given = rename({name: mx.array(value) for name, value in tensors.items()})
    wanted = {name: array.shape for name, array in tree_flatten(network.parameters())}
    wrong = sorted(name for name in wanted.keys() & given.keys() if given[name].shape != wanted[name])
    lists = (
        ("missing", sorted(wanted.keys() - given.keys())),
        ("unknown", sorted(given.keys() - wanted.keys())),
        ("misshapen", wrong),
    )
    if any(names for _, names in lists):
        found = "; ".join(f"{len(names)} {kind}: {', '.join(names[:5])}" for kind, names in lists if names)
        raise CheckpointError(f"{path}: its tensors do not fit the speaker network. {found}")
    network.load_weights([(name, value.astype(mx.float32)) for name, value in given.items()])
    network.eval()
    mx.eval(network.parameters())
    return network


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None


def _ge2e_features(windows: mx.array) -> mx.array:
    level = mx.sqrt(mx.square(windows).mean(axis=-1, keepdims=True))
    # 161 frames of a padded window; training had 160 in 1.6 s
    return mel_energies(windows * (_LOUDNESS / mx.maximum(level, 1e-6)))[:, :-1]


def _ge2e_features_on_cpu(windows: np.ndarray) -> np.ndarray:
    level = np.sqrt(np.square(windows).mean(axis=-1, keepdims=True))
    return mel_energies_on_cpu(windows * (_LOUDNESS / np.maximum(level, 1e-6)))[:, :-1]
