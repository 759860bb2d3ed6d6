"""Word error rate of pocketsphinx, with the English model in its PyPI package, on evaluation manifests.

python baseline.py MANIFEST.jsonl…
"""

import json
import sys
from pathlib import Path

import numpy as np
import pocketsphinx


def samples(where: str) -> np.ndarray:
    path, _, span = where.partition("#")
    if not span:
        from real import decode

        return np.round(decode(path) * 32767).astype(np.int16)
    offset, length = map(int, span.split(":"))
    return np.load(path, mmap_mode="r")[offset : offset + length]


def errors(reference: list[str], heard: list[str]) -> int:
    row = list(range(len(heard) + 1))
    for i, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def main() -> None:
    decoder = pocketsphinx.Decoder(samprate=16000, loglevel="FATAL")
    pause = np.zeros(4800, np.int16)
    for manifest in map(Path, sys.argv[1:]):
        wrong = words = 0
        for row in map(json.loads, manifest.read_text(encoding="utf-8").splitlines()):
            decoder.start_utt()
            decoder.process_raw(np.concatenate([pause, samples(row["audio"]), pause]).tobytes(), full_utt=True)
            decoder.end_utt()
            heard = decoder.hyp().hypstr.replace("mr ", "mister ") if decoder.hyp() else ""
            wrong += errors(row["text"].split(), heard.split())
            words += len(row["text"].split())
        print(f"{manifest.stem}: {wrong / words:.1%} of {words} words")


if __name__ == "__main__":
    main()
