"""Speak with espeak-ng and flite: fast, robotic voices that add variety.

espeak-ng is the shared library of the PyPI package `espeakng-loader`, called in this process (so use one process per core);
flite is the program of Debian's `flite` and `libflite1`, unpacked with `dpkg -x` into a folder.
"""

import ctypes
import math
import random
import subprocess
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

SAMPLE_RATE = 16000
ACCENTS = [
    "en-us",
    "en-us",
    "en-us",
    "en-gb",
    "en-gb",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-us-nyc",
    "en-029",
]
VARIANTS = """m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 Alex Alicia Andrea Andy Annie Denis Gene Lee Marco Mario Michael Mike Reed
adam anika belinda david ed edward gustave ian iven john klatt2 klatt4 linda max michel miguel pablo paul pedro quincy rob robert
shelby steph travis victor zac""".split()
FLITE_PITCH = {"slt": 170, "rms": 100, "kal16": 105, "awb": 0}  # mean pitch in Hz; 0: leave it

AUDIO_RETRIEVAL, RATE, PITCH, RANGE, WORD_GAP, UTF8 = 1, 1, 3, 4, 7, 1
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    def __init__(self, library: Path, data: Path):
        self.lib = ctypes.CDLL(str(library))
        self.rate = self.lib.espeak_Initialize(AUDIO_RETRIEVAL, 0, str(data.parent).encode(), 0)
        self.parts: list[np.ndarray] = []
        self.callback = Callback(self._receive)  # kept: the library holds on to it
        self.lib.espeak_SetSynthCallback(self.callback)

    def _receive(self, samples, count, _events):
        if count > 0 and samples:
            self.parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, rng: random.Random) -> tuple[str, np.ndarray]:
        voice = f"{rng.choice(ACCENTS)}+{rng.choice(VARIANTS)}"
        self.lib.espeak_SetVoiceByName(voice.encode())
        for parameter, value in ((RATE, rng.randint(120, 200)), (PITCH, rng.randint(25, 75)), (RANGE, rng.randint(20, 80)), (WORD_GAP, rng.choice([0, 0, 0, 1, 3]))):  # fmt: skip
            self.lib.espeak_SetParameter(parameter, value, 0)
        self.parts = []
        data = text.encode() + b"\0"
        self.lib.espeak_Synth(data, len(data), 0, 1, 0, UTF8, None, None)
        self.lib.espeak_Synchronize()
        return f"espeak {voice}", resampled(np.concatenate([*self.parts, np.zeros(1, np.int16)]), self.rate)


class Flite:
    def __init__(self, root: Path):
        self.program = root / "usr/bin/flite"
        library = next(root.glob("usr/lib/*/libflite.so.1"))
        self.environment = {"LD_LIBRARY_PATH": str(library.parent)}

    def speak(self, text: str, rng: random.Random) -> tuple[str, np.ndarray]:
        voice = rng.choice([*FLITE_PITCH])
        settings = ["--setf", f"duration_stretch={rng.uniform(0.85, 1.2):.2f}"]
        if FLITE_PITCH[voice]:
            settings += ["--setf", f"int_f0_target_mean={FLITE_PITCH[voice] * rng.uniform(0.8, 1.25):.0f}"]
        command = [str(self.program), "-voice", voice, *settings, "-t", text, "-o", "/dev/stdout"]
        wav = subprocess.run(command, env=self.environment, capture_output=True, timeout=60).stdout
        return f"flite {voice}", wav_samples(wav)


def wav_samples(wav: bytes) -> np.ndarray:
    """Read a mono 16-bit WAV stream, whose header may not have its length."""
    at = wav.find(b"data") + 8
    return resampled(
        np.frombuffer(wav[at : at + (len(wav) - at) // 2 * 2], "<i2"),
        int.from_bytes(wav[24:28], "little") or SAMPLE_RATE,
    )


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    audio = samples.astype(np.float32) / 32768
    common = math.gcd(rate, SAMPLE_RATE)
    return (
        audio if rate == SAMPLE_RATE else resample_poly(audio, SAMPLE_RATE // common, rate // common).astype(np.float32)
    )
