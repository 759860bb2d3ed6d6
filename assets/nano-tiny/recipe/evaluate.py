"""Measure a checkpoint and write the tables of its card.

    python evaluate.py STORED MANIFEST.jsonl… [--original FOLDER] [--sphinx PYTHON] [--most 40] [--card README.md]

STORED is the bundled folder, --original the one it was quantized from, which the other quantizations are made from.
For each manifest: word error rates of the LLM, the CTC branch and pocketsphinx (run by the Python that --sphinx names)
on the same samples, clean and in noise; word times where the manifest has the true ones; the effect of hotwords. --most
limits the recordings of each set in all tables but the first. The tables go to standard output, and into the card
between the lines `<!-- measured -->` and `<!-- end -->`.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

import nanoasr
from nanoasr.audio.files import load_audio
from nanoasr.model.ctc import collapse
from nanoasr.results.scoring import normalize
from nanoasr.train.evaluate import word_error_rate
from nanoasr.train.manifest import read_manifest

NOISE_DB = 10
KINDS = (None, "llm-8bit", "llm-4bit", "all-8bit", "all-4bit")


@dataclass(frozen=True)
class Recordings:
    """One set: samples, their texts, and true word times where known."""

    name: str
    samples: list[np.ndarray]
    texts: list[str]
    words: list[list | None]

    def first(self, most: int) -> "Recordings":
        return Recordings(self.name, self.samples[:most], self.texts[:most], self.words[:most])

    def noisy(self) -> "Recordings":
        """Add noise that falls by 3 dB per octave, at a fixed ratio to each recording."""
        rng = np.random.default_rng(0)

        def add(x: np.ndarray) -> np.ndarray:
            spectrum = np.fft.rfft(rng.normal(size=len(x)))
            noise = np.fft.irfft(spectrum / np.sqrt(1 + np.arange(len(spectrum))), len(x))
            noise *= np.sqrt(np.square(x).mean() / np.square(noise).mean()) * 10 ** (-NOISE_DB / 20)
            return np.clip(x + noise, -1, 1).astype(np.float32)

        return Recordings(f"{self.name}, noise {NOISE_DB} dB below", [add(x) for x in self.samples], self.texts, [])


def read(path: Path) -> Recordings:
    rows, samples = read_manifest(path), []
    for row in rows:
        if row.length is None:
            samples.append(load_audio(row.audio).samples)
        else:
            shard = np.load(row.audio, mmap_mode="r")
            samples.append(shard[row.offset : row.offset + row.length].astype(np.float32) / 32768)
    words = [json.loads(line).get("words") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return Recordings(path.stem, samples, [row.text for row in rows], words)


def by_llm(asr: nanoasr.Recognizer, recordings: Recordings) -> float:
    heard = asr.transcribe_batch(recordings.samples, batch_size=4, timestamps=False)
    return word_error_rate(recordings.texts, [t.text for t in heard])


def by_ctc(asr: nanoasr.Recognizer, recordings: Recordings) -> float:
    heard = []
    for samples in recordings.samples:
        logprobs = np.array(asr.inspect(samples).ctc_logprobs)
        heard.append(asr.model_family.ctc_tokens.decode(collapse(logprobs.argmax(axis=-1), logprobs.shape[1] - 1)))
    return word_error_rate(recordings.texts, heard)


def by_sphinx(python: str, recordings: Recordings) -> float:
    with tempfile.TemporaryDirectory() as folder:
        shard, place, rows = Path(folder, "set.npy"), 0, []
        for samples in recordings.samples:
            rows.append({"audio": f"{shard}#{place}:{len(samples)}"})
            place += len(samples)
        np.save(shard, np.concatenate([np.round(x * 32767).astype(np.int16) for x in recordings.samples]))
        manifest = Path(folder, "set.jsonl")
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        command = [python, str(Path(__file__).with_name("baseline.py")), str(manifest)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return word_error_rate(recordings.texts, [json.loads(line) for line in lines])


def accuracy(asr: nanoasr.Recognizer, sets: list[Recordings], sphinx: str | None, most: int) -> list[str]:
    lines = ["| set | recordings | words | LLM | CTC branch | pocketsphinx |", "|---|---|---|---|---|---|"]
    measured = [*sets, *(s.first(most).noisy() for s in sets)]
    with ThreadPoolExecutor() as beside:  # pocketsphinx takes much longer than all the rest
        others = [beside.submit(by_sphinx, sphinx, recordings) for recordings in measured if sphinx]
        ours = [f"{by_llm(asr, recordings):.1f} % | {by_ctc(asr, recordings):.1f} %" for recordings in measured]
    for i, (recordings, rates) in enumerate(zip(measured, ours, strict=True)):
        words = sum(len(normalize(text).split()) for text in recordings.texts)
        other = f"{others[i].result():.1f} %" if sphinx else "–"
        lines.append(f"| {recordings.name} | {len(recordings.texts)} | {words} | {rates} | {other} |")
    return lines


def times(asr: nanoasr.Recognizer, sets: list[Recordings]) -> list[str]:
    lines = ["| set | words | | median | 90 % | largest | within 150 ms |", "|---|---|---|---|---|---|---|"]
    for recordings in (s for s in sets if any(s.words)):
        pairs = []
        for samples, text, truth in zip(recordings.samples, recordings.texts, recordings.words, strict=True):
            t = asr.transcribe(samples)
            if truth and t.text == text:
                pairs += [(w.start - start, w.end - end) for w, (_, start, end) in zip(t.words, truth, strict=True)]
        for edge, errors in zip(("start", "end"), np.abs(np.array(pairs)).T, strict=True):
            known = [f"{1000 * x:.0f} ms" for x in (np.median(errors), np.quantile(errors, 0.9), errors.max())]
            share = f"{100 * np.mean(errors <= 0.15):.1f} %"
            lines.append(f"| {recordings.name} | {len(errors)} | {edge} | {' | '.join(known)} | {share} |")
    return lines


def quantized(original: str, sets: list[Recordings], most: int) -> list[str]:
    names = [recordings.name for recordings in sets]
    lines = [f"| stored | on disk | load | {' | '.join(names)} |", "|---|---|---|" + "---|" * len(names)]
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            path = nanoasr.convert(original, Path(folder, "checkpoint"), quantize=kind)
            asr, seconds = loaded(path)
            rates = [f"{by_llm(asr, recordings.first(most)):.1f} %" for recordings in sets]
            size = f"{megabytes(path):.1f} MB | {seconds:.2f} s"
        lines.append(f"| {kind or 'as trained'} | {size} | {' | '.join(rates)} |")
    return lines


def hotwords(asr: nanoasr.Recognizer, sets: list[Recordings], most: int) -> list[str]:
    """Try a missed word as a hotword, then three words that were not spoken."""
    lines = ["| set | words missed | heard as a hotword | WER without | with it | with three others |", "|---|---|---|---|---|---|"]  # fmt: skip
    rng = random.Random(0)
    for recordings in sets:
        vocabulary = sorted({w for text in recordings.texts for w in text.split() if len(w) > 3})
        said, plain, helped, misled, found = [], [], [], [], 0
        for samples, text in zip(recordings.samples[:most], recordings.texts[:most], strict=True):
            first = asr.transcribe(samples, timestamps=False).text
            missed = [word for word in text.split() if len(word) > 3 and word not in first.split()]
            others = [word for word in vocabulary if word not in text.split()]
            if missed and len(others) > 2:
                word = rng.choice(missed)
                helped.append(asr.transcribe(samples, hotwords=[word], timestamps=False).text)
                misled.append(asr.transcribe(samples, hotwords=rng.sample(others, 3), timestamps=False).text)
                said, plain, found = [*said, text], [*plain, first], found + (word in helped[-1].split())
        if said:
            rates = " | ".join(f"{word_error_rate(said, heard):.1f} %" for heard in (plain, helped, misled))
            lines.append(f"| {recordings.name} | {len(said)} | {found} | {rates} |")
    return lines


def speed(asr: nanoasr.Recognizer, load_seconds: float, sets: list[Recordings]) -> str:
    ten = np.concatenate([x for s in sets for x in s.samples[:10]])[: 10 * asr.sample_rate]
    seconds = [asr.transcribe(ten, on_token=lambda piece: None).timings.total for _ in range(6)][1:]
    info = asr.info()
    return (
        f"Loading takes {load_seconds:.2f} s, 10 s of audio {statistics.median(seconds):.2f} s with streamed tokens and "
        f"times of words ({info.device}, {date.today()}); {megabytes(Path(info.source)):.1f} MB on disk, "
        f"{sum(info.megabytes.values()):.0f} MB in memory ({info.precision})."
    )


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6


def loaded(path: str | Path) -> tuple[nanoasr.Recognizer, float]:
    """Load a recognizer three times; returns it and the median time."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        asr = nanoasr.load(path)
        seconds.append(time.perf_counter() - start)
    return asr, statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stored")
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--original", help="what it was quantized from")
    parser.add_argument("--sphinx", metavar="PYTHON", help="a Python that has pocketsphinx")
    parser.add_argument("--most", type=int, default=40)
    parser.add_argument("--card", type=Path)
    args = parser.parse_args()
    sets = [read(path) for path in args.manifests]
    asr, load_seconds = loaded(args.stored)

    in_short = speed(asr, load_seconds, sets)  # first, while nothing else is under way

    def titled(text: str, lines: list[str]) -> list[str]:
        print("\n".join([text, "", *lines, ""]), flush=True)
        return [text, "", *lines, ""]

    tables = titled("Word error rates, greedy, of the stored weights:", accuracy(asr, sets, args.sphinx, args.most))
    tables += titled(
        "Times of words, against the truth, in recordings that were read without an error:", times(asr, sets)
    )
    first = f"the first {args.most} recordings of each set"
    tables += titled(f"Hotwords, in {first}:", hotwords(asr, sets, args.most))
    if args.original:
        tables += titled(
            f"Word error rates by the LLM when quantized, in {first}:", quantized(args.original, sets, args.most)
        )
    tables += titled(in_short, [])[:-1]
    if args.card:
        before, _, rest = args.card.read_text(encoding="utf-8").partition("<!-- measured -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            sys.exit(f"{args.card}: has no lines <!-- measured --> and <!-- end --> to write between")
        text = before + "<!-- measured -->\n" + "\n".join(tables) + "<!-- end -->" + after
        args.card.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
