"""Make the reference values that the tests of the speaker networks compare with; not run by them.

    python tests/speakers/data/make.py RESEMBLYZER_WHEEL FUNASR_WHEEL    (both unpacked folders)

Needs torch, librosa, scipy, webrtcvad, kaldi-native-fbank and soundfile. Made with resemblyzer 0.1.4, funasr 1.4.16
and torch 2.13.0.
"""

import sys
import types
from pathlib import Path

import numpy as np
import scipy.ndimage
import soundfile
import torch

HERE = Path(__file__).parent
SAMPLES, RATE = soundfile.read(HERE.parents[2] / "assets/speech/kokoro-number.wav", dtype="float32")


def resemblyzer(folder: str) -> dict[str, np.ndarray]:
    """The mel energies and embeddings of windows of 1.6 s."""
    sys.path.insert(0, folder)
    moved = types.ModuleType("scipy.ndimage.morphology")  # where resemblyzer looks for it
    moved.binary_dilation = scipy.ndimage.binary_dilation
    sys.modules[moved.__name__] = moved
    from resemblyzer import VoiceEncoder, audio

    samples = audio.normalize_volume(SAMPLES, -30)
    mel = audio.wav_to_mel_spectrogram(samples)
    embedding, windows, slices = VoiceEncoder("cpu").embed_utterance(samples, return_partials=True)
    starts = np.array([part.start for part in slices])
    return {"mel": mel[:160], "ge2e_windows": windows, "ge2e_starts": starts, "ge2e_embedding": embedding}


def funasr(folder: str) -> dict[str, np.ndarray]:
    """A small random CAM++ in FunASR's checkpoint format, and what it makes of two recordings."""
    sys.path.insert(0, folder)
    register = types.ModuleType("funasr.register")
    register.tables = types.SimpleNamespace(register=lambda *_: lambda kind: kind)
    load_utils = types.ModuleType("funasr.utils.load_utils")
    load_utils.load_audio_text_image_video = None
    amp = types.ModuleType("funasr.utils.amp")
    amp.autocast = None
    nets_utils = types.ModuleType("funasr.models.transformer.utils.nets_utils")
    nets_utils.pad_list = lambda parts, pad_value: torch.nn.utils.rnn.pad_sequence(parts, True, pad_value)
    distutils = types.ModuleType("distutils.version")  # gone from Python 3.12
    distutils.LooseVersion = lambda version: 1
    for path in ("funasr", "funasr/models", "funasr/models/campplus", "funasr/utils", "funasr/models/transformer"):
        package = types.ModuleType(path.replace("/", "."))
        package.__path__ = [f"{folder}/{path}"]
        sys.modules[package.__name__] = package
    sys.modules["distutils.version"] = distutils
    for module in (register, load_utils, amp, nets_utils):
        sys.modules[module.__name__] = module
    from funasr.models.campplus.model import CAMPPlus
    from funasr.models.campplus.utils import extract_feature

    torch.manual_seed(7)
    network = CAMPPlus(embedding_size=16, growth_rate=4, bn_size=2, init_channels=16).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0, 0.2)
        elif isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d):
            module.weight.data = module.weight.data.to(torch.float16).float()  # so that halves store it exactly
    (HERE / "campplus").mkdir(exist_ok=True)
    torch.save(network.state_dict(), HERE / "campplus" / "campplus_cn_common.bin")
    recordings = [torch.from_numpy(SAMPLES[start : start + 3 * RATE]) for start in (0, RATE)]
    features = extract_feature(recordings)[0]
    with torch.no_grad():
        return {"campplus_features": features.numpy(), "campplus_embeddings": network(features).numpy()}


if __name__ == "__main__":
    load = torch.load
    torch.load = lambda *given, **options: load(*given, **{**options, "weights_only": False})
    np.savez_compressed(HERE / "expected.npz", **resemblyzer(sys.argv[1]), **funasr(sys.argv[2]))
