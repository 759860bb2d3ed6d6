"""A peer: Resemblyzer's embeddings, clustered by spectralcluster, on the files and spans of speech of evaluate.py.

    python peer.py FOLDER FOUND      (each FOLDER/NAME.wav and NAME.speech -> FOUND/NAME.rttm)

Needs resemblyzer, spectralcluster, torch, librosa, soundfile and webrtcvad; nothing of nanoasr.
"""

import sys
import time
import types
from pathlib import Path

import numpy as np
import scipy.ndimage
import soundfile
import torch

moved = types.ModuleType("scipy.ndimage.morphology")  # where resemblyzer 0.1.4 looks for it
moved.binary_dilation = scipy.ndimage.binary_dilation
sys.modules[moved.__name__] = moved
load = torch.load
torch.load = lambda *given, **options: load(*given, **{**options, "weights_only": False})

from resemblyzer import VoiceEncoder, normalize_volume, sampling_rate  # noqa: E402
from spectralcluster import FallbackOptions, SpectralClusterer, configs  # noqa: E402

# as configs.icassp2018_clusterer, which never finds a single speaker, but from one speaker up
CLUSTERER = SpectralClusterer(
    min_clusters=1,
    max_clusters=10,
    refinement_options=configs.icassp2018_refinement_options,
    fallback_options=FallbackOptions(spectral_min_embeddings=8),
    custom_dist="cosine",
)


def main() -> None:
    folder, found = Path(sys.argv[1]), Path(sys.argv[2])
    found.mkdir(parents=True, exist_ok=True)
    encoder, began, length = VoiceEncoder("cpu", verbose=False), time.process_time(), 0.0
    for path in sorted(folder.glob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float32")
        length += len(samples) / rate
        speech = np.loadtxt(path.with_suffix(".speech"), ndmin=2).reshape(-1, 2)
        lines = [
            f"SPEAKER {path.stem} 1 {start:.3f} {end - start:.3f} <NA> <NA> {speaker} <NA> <NA>\n"
            for start, end, speaker in turns(encoder, samples, speech)
        ]
        (found / f"{path.stem}.rttm").write_text("".join(lines), encoding="utf-8")
    print(f"{time.process_time() - began:.1f} s of processor time for {length:.0f} s")


def turns(encoder: VoiceEncoder, samples: np.ndarray, speech: np.ndarray) -> list[tuple[float, float, int]]:
    """Turns in the spans of speech, each instant labelled as the nearest window."""
    if not len(speech):
        return []
    samples = normalize_volume(samples, -30, increase_only=True)
    _, embeddings, slices = encoder.embed_utterance(samples, return_partials=True, rate=2.5)
    centres = np.array([(part.start + part.stop) / 2 / sampling_rate for part in slices])
    inside = np.array([any(start <= centre <= end for start, end in speech) for centre in centres])
    if not inside.any():
        inside[:] = True
    centres, embeddings = centres[inside], embeddings[inside]
    labels = CLUSTERER.predict(embeddings) if len(embeddings) > 1 else np.zeros(1, int)
    found: list[tuple[float, float, int]] = []
    for start, end in speech:
        for time_ in np.arange(start, end, 0.1):
            label = int(labels[np.abs(centres - time_ - 0.05).argmin()])
            if found and found[-1][2] == label and found[-1][1] >= time_ - 1e-6:
                found[-1] = (found[-1][0], min(time_ + 0.1, end), label)
            else:
                found.append((float(time_), float(min(time_ + 0.1, end)), label))
    return found


if __name__ == "__main__":
    main()
