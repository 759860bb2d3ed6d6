"""Adds Kokoro's phonemes to the lines of text.py.

    python phonemes.py LINES.jsonl OUT.jsonl [--seed 1]

Needs `phonemizer-fork` and `espeakng-loader`. A fifth of the lines get a British reading. espeak's phonemes are written
the way Kokoro was trained on English: one letter for a diphthong or an affricate, T for a flapped t.
"""

import argparse
import json
import random
from pathlib import Path

import espeakng_loader
from phonemizer.backend import EspeakBackend
from phonemizer.backend.espeak.wrapper import EspeakWrapper

EspeakWrapper.set_library(espeakng_loader.get_library_path())
EspeakWrapper.set_data_path(espeakng_loader.get_data_path())

SHARED = [("tʃ", "ʧ"), ("dʒ", "ʤ"), ("eɪ", "A"), ("aɪ", "I"), ("aʊ", "W"), ("ɔɪ", "Y"), ("ɐ", "ə"), ("r", "ɹ"), ("e", "A"), ("ʔ", "t")]  # fmt: skip
AMERICAN = [*SHARED, ("oʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɚ", "əɹ"), ("ɾ", "T"), ("əl", "ᵊl"), ("ː", ""), ("o", "ɔ")]
BRITISH = [("eə", "ɛː"), *SHARED, ("əʊ", "Q"), ("iə", "ɪə"), ("ɾ", "t"), ("əl", "ᵊl")]


def phonemize(lines: list[str], dialect: str) -> list[str]:
    backend = EspeakBackend(dialect, preserve_punctuation=True, with_stress=True)
    rules = AMERICAN if dialect == "en-us" else BRITISH
    out = []
    for phonemes in backend.phonemize(lines):
        for espeak, kokoro in rules:
            phonemes = phonemes.replace(espeak, kokoro)
        out.append(phonemes.strip())
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--british", type=float, default=0.2)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.lines.open(encoding="utf-8")]
    rng = random.Random(args.seed)
    dialects = ["en-gb" if rng.random() < args.british else "en-us" for _ in rows]
    for dialect in ("en-us", "en-gb"):
        chosen = [row for row, d in zip(rows, dialects, strict=True) if d == dialect]
        for row, phonemes in zip(chosen, phonemize([row["spoken"] for row in chosen], dialect) if chosen else [], strict=True):
            row["phonemes"] = phonemes
    with args.out.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
