"""A peer: Resemblyzer's embeddings, clustered by spectralcluster as its examples do, on files that evaluate.py wrote.

    python peer.py FOLDER FOUND      (each FOLDER/NAME.wav -> FOUND/NAME.rttm)

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

import webrtcvad  # noqa: E402
from resemblyzer import VoiceEncoder, normalize_volume, sampling_rate  # noqa: E402
from spectralcluster import configs  # noqa: E402


def main() -> None:
    folder, found = Path(sys.argv[1]), Path(sys.argv[2])
    found.mkdir(parents=True, exist_ok=True)
    encoder, began, length = VoiceEncoder("cpu", verbose=False), time.process_time(), 0.0
    for path in sorted(folder.glob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float32")
        length += len(samples) / rate
        lines = [
            f"SPEAKER {path.stem} 1 {start:.3f} {end - start:.3f} <NA> <NA> {speaker} <NA> <NA>\n"
            for start, end, speaker in turns(encoder, samples)
        ]
        (found / f"{path.stem}.rttm").write_text("".join(lines), encoding="utf-8")
    print(f"{time.process_time() - began:.1f} s of processor time for {length:.0f} s")


def turns(encoder: VoiceEncoder, samples: np.ndarray) -> list[tuple[float, float, int]]:
    """Turns where WebRTC's detector hears speech, each instant labelled as the nearest window."""
    speech = speech_spans(samples)
    if not speech:
        return []
    samples = normalize_volume(samples, -30, increase_only=True)
    _, embeddings, slices = encoder.embed_utterance(samples, return_partials=True, rate=2.5)
    centres = np.array([(part.start + part.stop) / 2 / sampling_rate for part in slices])
    inside = np.array([any(start <= centre <= end for start, end in speech) for centre in centres])
    if not inside.any():
        inside[:] = True
    centres, embeddings = centres[inside], embeddings[inside]
    labels = configs.icassp2018_clusterer.predict(embeddings) if len(embeddings) > 1 else np.zeros(1, int)
    found: list[tuple[float, float, int]] = []
    for start, end in speech:
        for time_ in np.arange(start, end, 0.1):
            label = int(labels[np.abs(centres - time_ - 0.05).argmin()])
            if found and found[-1][2] == label and found[-1][1] >= time_ - 1e-6:
                found[-1] = (found[-1][0], min(time_ + 0.1, end), label)
            else:
                found.append((float(time_), float(min(time_ + 0.1, end)), label))
    return found


def speech_spans(samples: np.ndarray, pause: float = 0.6) -> list[tuple[float, float]]:
    """Stretches of speech, pauses shorter than `pause` included."""
    detector, size = webrtcvad.Vad(2), sampling_rate * 30 // 1000
    found: list[tuple[float, float]] = []
    for i in range(len(samples) // size):
        frame = (np.clip(samples[i * size : (i + 1) * size], -1, 1) * 32767).astype(np.int16)
        if detector.is_speech(frame.tobytes(), sampling_rate):
            start = i * 0.03
            if found and start - found[-1][1] < pause:
                start = found.pop()[0]
            found.append((start, (i + 1) * 0.03))
    return found


if __name__ == "__main__":
    main()
