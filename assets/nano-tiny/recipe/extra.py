"""Collect the actors' lines of a third game: OUT/extra.zip, for `speech.py unpack`.

    python extra.py PACKAGES OUT --whisper PYTHON

Debian's `drascula` is downloaded and unpacked into PACKAGES. The texts are those of the game (drascula.py), but its actors
sometimes say something else: a line is kept where its length fits its text, as in real.py, and where Whisper base, run by
PYTHON (baseline.py), hears nearly the same letters.
"""

import argparse
from difflib import SequenceMatcher
from pathlib import Path

import drascula
from baseline import transcripts
from real import actors, pack
from text import download, normalize

ALIKE = 0.75  # of the text and what was heard; accents cost Whisper some letters


def alike(text: str, heard: str) -> bool:
    return SequenceMatcher(None, text, normalize(heard) or "", False).ratio() >= ALIKE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--whisper", metavar="PYTHON", required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    download(args.packages, [drascula.PACKAGE])
    clips = list(actors(args.packages, [drascula]))
    heard = transcripts(args.whisper, "whisper", [audio for audio, _, _ in clips])
    pack(args.out / "extra.zip", {"actors": (c for c, h in zip(clips, heard, strict=True) if alike(c[1], h))})


if __name__ == "__main__":
    main()
