"""Transcribe with pocketsphinx and the English model in its PyPI package; evaluate.py runs this.

    python baseline.py MANIFEST.jsonl

MANIFEST names parts of shards ("x.npy#offset:length"), as speech.py writes them. Prints one JSON string a line.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pocketsphinx


def main() -> None:
    decoder = pocketsphinx.Decoder(samprate=16000, loglevel="FATAL")
    pause = np.zeros(4800, np.int16)  # without silence around it, it misses the first word
    for row in map(json.loads, Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()):
        path, _, span = row["audio"].partition("#")
        offset, length = map(int, span.split(":"))
        samples = np.load(path, mmap_mode="r")[offset : offset + length]
        decoder.start_utt()
        decoder.process_raw(np.concatenate([pause, samples, pause]).tobytes(), full_utt=True)
        decoder.end_utt()
        print(json.dumps(decoder.hyp().hypstr.replace("mr ", "mister ") if decoder.hyp() else ""))


if __name__ == "__main__":
    main()
