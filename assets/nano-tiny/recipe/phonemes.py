"""Add Kokoro's phonemes to the lines of text.py.

    python phonemes.py LINES.jsonl OUT.jsonl [--seed 1] [--plain]

Needs `phonemizer-fork` and `espeakng-loader`. Three pronunciations are mixed for variety (--plain: only the first):
American as espeak writes it, American in the notation that Kokoro was trained on (one letter for a diphthong or an
affricate, T for a flapped t), and British.
"""

import argparse
import json
import random
from pathlib import Path

import espeakng_loader
from phonemizer.backend import EspeakBackend
from phonemizer.backend.espeak.wrapper import EspeakWrapper
from text import read

EspeakWrapper.set_library(espeakng_loader.get_library_path())
EspeakWrapper.set_data_path(espeakng_loader.get_data_path())

KOKORO = [("tʃ", "ʧ"), ("dʒ", "ʤ"), ("eɪ", "A"), ("aɪ", "I"), ("aʊ", "W"), ("ɔɪ", "Y"), ("ɐ", "ə"), ("r", "ɹ"), ("e", "A"), ("ʔ", "t"),
          ("oʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɚ", "əɹ"), ("ɾ", "T"), ("əl", "ᵊl"), ("ː", ""), ("o", "ɔ")]  # fmt: skip
PART = 2000  # lines at a time: the time that phonemizer takes grows with their square
READINGS = {"american": ("en-us", []), "kokoro": ("en-us", KOKORO), "british": ("en-gb", [])}


def phonemize(lines: list[str], reading: str) -> list[str]:
    dialect, rules = READINGS[reading]
    backend = EspeakBackend(dialect, preserve_punctuation=True, with_stress=True)
    parts = (lines[k : k + PART] for k in range(0, len(lines), PART))
    spelled = [phonemes for part in parts for phonemes in backend.phonemize(part)]
    for espeak, kokoro in rules:
        spelled = [phonemes.replace(espeak, kokoro) for phonemes in spelled]
    return [phonemes.strip() for phonemes in spelled]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    rows = read(args.lines)
    rng = random.Random(args.seed)
    readings = ["american" if args.plain else rng.choices([*READINGS], [55, 25, 20])[0] for _ in rows]
    for reading in set(readings):
        chosen = [row for row, r in zip(rows, readings, strict=True) if r == reading]
        for row, phonemes in zip(chosen, phonemize([row["spoken"] for row in chosen], reading), strict=True):
            row["phonemes"] = phonemes
    with args.out.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
