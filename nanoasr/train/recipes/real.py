"""Gathers recordings of real people: training clips in one zip of Opus files, evaluation clips as shards.

    python real.py DIGITS.zip PACKAGES OUT

DIGITS.zip is the Free Spoken Digit Dataset (CC BY-SA 4.0, four of its speakers); `george` is kept for evaluation. From
Debian, fetched and unpacked into PACKAGES: `asterisk-core-sounds-en-g722` with its texts (CC BY-SA 3.0, Allison Smith).
Needs `av` and `soundfile`. OUT gets real.zip, for `speech.py unpack`, and digits-george.npy with its manifest: strings
of four to six digits joined at known times ("words" in the manifest).
"""

import argparse
import gzip
import io
import json
import random
import re
import zipfile
from pathlib import Path

import av
import numpy as np
import soundfile as sf
from demo_text import DIGITS, cardinal
from speech import SAMPLE_RATE, Shards, joined, trimmed
from text import download, normalize

EVALUATION_SPEAKER = "george"
PACKAGES = ["asterisk-core-sounds-en", "asterisk-core-sounds-en-g722"]


def decode(source, format: str | None = None) -> np.ndarray:
    with av.open(source, format=format) as container:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)] + resampler.resample(
            None
        )
        return np.concatenate([f.to_ndarray().ravel() for f in frames])


def asterisk(folder: Path):
    texts = folder / "asterisk-core-sounds-en/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
    root = folder / "asterisk-core-sounds-en-g722/usr/share/asterisk/sounds/en_US_f_Allison"
    for line in gzip.decompress(texts.read_bytes()).decode().splitlines():
        name, _, text = line.partition(":")
        path = root / f"{name}.g722"
        text = re.sub(r"\[[^]]*\]", "", text).replace("A.M.", "a m").replace("P.M.", "p m")
        text = re.sub(r"\b\d{1,3}\b", lambda m: cardinal(int(m[0])), text)
        if path.exists() and not re.search(r"[A-Z]{2}|/", text) and normalize(text):
            yield decode(str(path), "g722"), normalize(text), "allison"


def spoken_digits(archive: zipfile.ZipFile, wanted):
    for name in sorted(archive.namelist()):
        match = re.search(r"(\d)_([a-z]+)_\d+\.wav$", name)
        if match and wanted(match[2]):
            yield decode(io.BytesIO(archive.read(name))), DIGITS[int(match[1])], match[2]


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
    sources = [("prompts", asterisk(args.packages)), ("digits", trained_on)]
    with zipfile.ZipFile(args.out / "real.zip", "w") as archive:
        manifest = []
        for kind, clips in sources:
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

    held = [(trimmed(audio, 0.02), text) for audio, text, _ in spoken_digits(digits, lambda s: s == EVALUATION_SPEAKER)]
    rng, shards = random.Random("digits"), Shards(args.out, f"digits-{EVALUATION_SPEAKER}")
    for _ in range(100):
        audio, words = joined([rng.choice(held) for _ in range(rng.randint(4, 6))], rng)
        shards.add(audio, {"text": " ".join(w for w, _, _ in words)}, "digits", EVALUATION_SPEAKER, words)
    shards.flush()


if __name__ == "__main__":
    main()
