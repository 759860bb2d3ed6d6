"""Collect recordings of real people: training clips as two zips of Opus files, evaluation clips as shards.

    python real.py DIGITS.zip PACKAGES OUT

DIGITS.zip is the Free Spoken Digit Dataset (CC BY-SA 4.0, four of its speakers); `george` is held out. From
Debian, downloaded and unpacked into PACKAGES: `asterisk-core-sounds-en-g722` with its texts (CC BY-SA 3.0, Allison Smith),
and two adventure games with actors (sky.py, queen.py). Needs `av` and `soundfile`. OUT gets real.zip (prompts, digits) and
actors.zip, for `speech.py unpack`, and digits-george.npy with its manifest: strings of four to six digits joined at known
times ("words" in the manifest).
"""

import argparse
import gzip
import io
import json
import random
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import queen
import sky
import soundfile as sf
from demo_text import DIGITS
from speech import SAMPLE_RATE, Shards, add_string, trimmed
from text import download, normalize, with_numbers

EVALUATION_SPEAKER = "george"
EVALUATION_STRINGS = 500  # the error rates of single hundreds lie between 7 and 12 % where that of many is 9
GAMES = [sky, queen]
PACKAGES = ["asterisk-core-sounds-en", "asterisk-core-sounds-en-g722", *(game.PACKAGE for game in GAMES)]
Clip = tuple[np.ndarray, str, str]  # samples, words, voice


def decode(source, **how) -> np.ndarray:
    with av.open(source, **how) as container:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
        return np.concatenate([f.to_ndarray().ravel() for f in frames + resampler.resample(None)])


def asterisk(folder: Path) -> Iterator[Clip]:
    texts = folder / "asterisk-core-sounds-en/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
    root = folder / "asterisk-core-sounds-en-g722/usr/share/asterisk/sounds/en_US_f_Allison"
    for line in gzip.decompress(texts.read_bytes()).decode().splitlines():
        name, _, text = line.partition(":")
        path = root / f"{name}.g722"
        text = re.sub(r"\[[^]]*\]", "", text).replace("A.M.", "a m").replace("P.M.", "p m")
        words = normalize(with_numbers(text))
        if path.exists() and not re.search(r"[A-Z]{2}|/", text) and words:
            yield decode(str(path), format="g722"), words, "allison"


def actors(folder: Path, games: list) -> Iterator[Clip]:
    """Yield the lines of the games whose length fits their text; in others something else is said."""
    for game in games:
        for sound, words, voice in game.clips(folder / game.PACKAGE):
            audio = decode(io.BytesIO(sound), **game.SOUND)
            heard = trimmed(audio, 0)
            seconds = 0 if heard is None else len(heard) / SAMPLE_RATE
            if 6 * (seconds - 0.25) <= len(words) <= 30 * seconds:
                yield audio, words, voice


def spoken_digits(archive: zipfile.ZipFile, wanted) -> Iterator[Clip]:
    for name in sorted(archive.namelist()):
        match = re.search(r"(\d)_([a-z]+)_\d+\.wav$", name)
        if match and wanted(match[2]):
            yield decode(io.BytesIO(archive.read(name))), DIGITS[int(match[1])], match[2]


def pack(path: Path, sources: dict[str, Iterable[Clip]]) -> None:
    """Write the clips of each kind and their manifest into a zip."""
    manifest = []
    with zipfile.ZipFile(path, "w") as archive:
        for kind, clips in sources.items():
            seconds = 0.0
            for audio, text, voice in clips:
                clip = trimmed(audio)
                if clip is None:
                    continue
                opus = io.BytesIO()
                sf.write(opus, clip, SAMPLE_RATE, format="OGG", subtype="OPUS")
                manifest.append({"audio": f"{len(manifest):05d}.opus", "text": text, "kind": kind, "voice": voice})
                archive.writestr(manifest[-1]["audio"], opus.getvalue())
                seconds += len(clip) / SAMPLE_RATE
            print(kind, round(seconds / 60, 1), "minutes")
        archive.writestr("manifest.jsonl", "".join(json.dumps(row) + "\n" for row in manifest))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("digits", type=Path)
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    download(args.packages, PACKAGES)
    digits = zipfile.ZipFile(args.digits)
    trained_on = spoken_digits(digits, lambda speaker: speaker != EVALUATION_SPEAKER)
    pack(args.out / "real.zip", {"prompts": asterisk(args.packages), "digits": trained_on})
    pack(args.out / "actors.zip", {"actors": actors(args.packages, GAMES)})

    held = [(trimmed(audio, 0.02), text) for audio, text, _ in spoken_digits(digits, lambda s: s == EVALUATION_SPEAKER)]
    rng, shards = random.Random("digits"), Shards(args.out, f"digits-{EVALUATION_SPEAKER}")
    for _ in range(EVALUATION_STRINGS):
        add_string(shards, [rng.choice(held) for _ in range(rng.randint(4, 6))], EVALUATION_SPEAKER, rng)
    shards.flush()


if __name__ == "__main__":
    main()
