"""Made-up conversations, with who spoke when, from recordings of single speakers."""

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanoasr.audio import SAMPLE_RATE, load_audio
from nanoasr.speakers import Turn

READINGS = {  # the two files of LibriVox are of one reader
    "kennedy": ("jfk.flac",),
    "librivox": ("librivox-0870.wav", "librivox-0890.wav"),
    "libri-1088": ("libri-1088-134315-0000.wav",),
}


@dataclass(frozen=True)
class Conversation:
    """A recording made of others, and its reference."""

    name: str
    samples: np.ndarray
    turns: list[Turn]

    @property
    def speakers(self) -> int:
        return len({turn.speaker for turn in self.turns})


class Voices:
    """The utterances of each voice in a folder of kokoro.zip, digits.zip and single readings."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.kokoro, self.digits = (zipfile.ZipFile(folder / name) for name in ("kokoro.zip", "digits.zip"))
        self.files: dict[str, list[str]] = {}
        for line in self.kokoro.read("manifest.jsonl").decode().splitlines():
            entry = json.loads(line)
            if (pure := re.match(r"1\.00 (\w+)", entry["voice"])) and entry["seconds"] > 1.5:
                self.files.setdefault(f"kokoro-{pure[1]}", []).append(entry["audio"])
        for name in self.digits.namelist():
            self.files.setdefault(f"digits-{name.split('_')[1]}", []).append(name)

    def names(self, kind: str) -> list[str]:
        """The voices of "kokoro", "digits" or "readings"."""
        return sorted(READINGS) if kind == "readings" else sorted(name for name in self.files if name.startswith(kind))

    def speech(self, voice: str, random: np.random.Generator) -> Iterator[np.ndarray]:
        """One stretch of speech after another, 2 to 8 s each, without silence around it; a reading only once."""
        if voice in READINGS:
            whole = np.concatenate([trimmed(load_audio(self.folder / name).samples) for name in READINGS[voice]])
            yield from (trimmed(part) for part in cut_at_pauses(whole))
            return
        files = self.files[voice]
        archive = self.kokoro if voice.startswith("kokoro") else self.digits
        while True:
            count = int(random.integers(4, 10)) if voice.startswith("digits") else int(random.integers(1, 4))
            chosen = random.choice(files, count, replace=False)
            parts = [trimmed(load_audio(archive.read(name)).samples) for name in chosen]
            yield join(parts, [float(gap) for gap in random.uniform(0.05, 0.25, count - 1)])


def make(voices: Voices, names: list[str], seconds: float, seed: int) -> Conversation:
    """A conversation of the named voices, about `seconds` long."""
    random = np.random.default_rng(seed)
    return converse({name: voices.speech(name, random) for name in names}, seconds, random)


def converse(speech: dict[str, Iterator[np.ndarray]], seconds: float, random: np.random.Generator) -> Conversation:
    """Turns 0.1 to 0.8 s apart, nobody twice in a row while others can speak, until the time is up or all is said."""
    names, speech = [*speech], dict(speech)
    parts, turns, position, last = [], [], 0, None
    order = [str(name) for name in random.permutation(names)]
    while position < seconds * SAMPLE_RATE and speech:
        name = order.pop(0) if order else str(random.choice([other for other in speech if other != last] or [*speech]))
        samples = next(speech[name], None)
        if samples is None:
            del speech[name]
            continue
        gap = round(float(random.uniform(0.1, 0.8)) * SAMPLE_RATE)
        parts += [np.zeros(gap, np.float32), 0.05 * samples / np.sqrt(np.mean(samples**2))]
        start = position + gap
        position = start + len(samples)
        turns.append(Turn(start / SAMPLE_RATE, position / SAMPLE_RATE, name))
        last = name
    noise = random.normal(0, 3e-4, position).astype(np.float32)
    samples = np.concatenate(parts) * 10 ** (random.uniform(-3, 3) / 20)
    return Conversation(f"{len(names)} voices: {', '.join(names)}", (samples + noise).astype(np.float32), turns)


def conversations(voices: Voices, seed: int) -> list[Conversation]:
    """Fifteen conversations of 60 s: five each of two, three and four voices."""
    random = np.random.default_rng(seed)
    found = []
    for count in (2, 3, 4):
        for kind in ("kokoro", "digits", "mixed", "mixed", "mixed"):
            if kind == "mixed":
                names = [name for k in ("kokoro", "digits", "readings") for name in voices.names(k)]
            else:
                names = voices.names(kind)
            chosen = [str(name) for name in random.choice(names, count, replace=False)]
            found.append(make(voices, chosen, 60, int(random.integers(1 << 30))))
    return found


def single_speakers(voices: Voices, seed: int) -> list[Conversation]:
    """Twenty recordings of one voice each: the five readings whole, and made-up monologues of 10 to 60 s."""
    random = np.random.default_rng(seed)
    found = []
    for name in ("jfk.flac", "librivox-0870.wav", "librivox-0890.wav", "libri-1088-134315-0000.wav", "LJ002-0020.wav"):
        audio = load_audio(voices.folder / name)
        found.append(Conversation(name, audio.samples, [Turn(0, audio.duration, name)]))
    names = 2 * voices.names("kokoro") + 2 * voices.names("digits")
    for name in names[: 20 - len(found)]:
        found.append(make(voices, [name], float(random.uniform(10, 60)), int(random.integers(1 << 30))))
    return found


def trimmed(samples: np.ndarray) -> np.ndarray:
    """Without what is 35 dB below the loudest at either end."""
    frames = samples[: len(samples) - len(samples) % 160].reshape(-1, 160)
    energy = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 10**-3.5)
    return samples[loud[0] * 160 : (loud[-1] + 1) * 160]


def join(parts: list[np.ndarray], gaps: list[float]) -> np.ndarray:
    pieces = [parts[0]]
    for part, gap in zip(parts[1:], gaps, strict=True):
        pieces += [np.zeros(round(gap * SAMPLE_RATE), np.float32), part]
    return np.concatenate(pieces)


def cut_at_pauses(samples: np.ndarray, least: float = 2.5, most: float = 6.0) -> list[np.ndarray]:
    """Pieces of `least` to `most` seconds, cut at the quietest places."""
    pieces = []
    while len(samples) > (least + most) * SAMPLE_RATE:
        first, last = round(least * SAMPLE_RATE), round(most * SAMPLE_RATE)
        energy = np.convolve(np.square(samples[first:last]), np.ones(1600), "same")
        place = first + int(energy.argmin())
        pieces.append(samples[:place])
        samples = samples[place:]
    return [*pieces, samples]
