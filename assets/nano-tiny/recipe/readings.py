"""Assemble the real test sets: recordings with texts that public repositories carry in their tests.

    python readings.py SOURCES OUT

SOURCES holds shallow clones of the repositories that readings.tsv names first in its paths (this one is `nanoasr`); the
README of this folder lists them with their licences. OUT gets a shard and a manifest of each set, for evaluate.py:
readings-000.npy, readings-000.jsonl, … The text of a recording is that of its source ("source"), or was written with
Whisper base and corrected by the book that is read ("book"). Needs `av`. None of this is ever trained on.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from real import decode
from speech import SAMPLE_RATE, Shards

TABLE = Path(__file__).with_name("readings.tsv")
RAW = {"format": "s16le", "options": {"sample_rate": str(SAMPLE_RATE)}}


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))


def samples(sources: Path, row: dict[str, str]) -> np.ndarray:
    """Decode a recording, or the part that `seconds` names ("2.6-14.8")."""
    path = sources / row["file"]
    audio = decode(str(path), **(RAW if path.suffix == ".raw" else {}))
    start, _, end = row["seconds"].partition("-")
    return audio[slice(*(round(float(x) * SAMPLE_RATE) for x in (start, end)))] if end else audio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    sets: dict[str, Shards] = {}
    for row in rows():
        shards = sets.setdefault(row["set"], Shards(args.out, row["set"]))
        before = len(shards.rows)
        shards.add(samples(args.sources, row), row, row["set"], row["person"])
        if len(shards.rows) == before:
            raise ValueError(f"{row['file']}: silent, or longer than the 20 s that a shard takes")
    for name, shards in sets.items():
        words, people = sum(len(row["text"].split()) for row in shards.rows), {row["speaker"] for row in shards.rows}
        print(f"{name}: {len(shards.rows)} recordings, {words} words, {len(people)} people, {shards.seconds:.0f} s")
        shards.flush()


if __name__ == "__main__":
    main()
