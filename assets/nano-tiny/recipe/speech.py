"""Synthesize the lines of text.py into int16 shards: Kokoro on a GPU, espeak-ng and flite on CPU cores.

    python speech.py kokoro LINES OUT --packages FOLDER [--part 0/1] [--minutes 8] [--seed 1] [--compile]
    python speech.py robots LINES OUT --programs FOLDER [--workers 12] [--hours 30] [--minutes 8] [--seed 1]
    python speech.py digits OUT --programs FOLDER [--workers 12] [--voices 500] [--seed 1]
    python speech.py unpack ZIP... OUT [--seed 1]
    python speech.py report OUT

LINES holds {"spoken", "text", "phonemes", "kind"} a line, used at most once in an order that the seed determines. OUT gets
shards of 16 kHz samples, `<name>.npy`, each with a manifest `<name>.jsonl` of {"audio": "<name>.npy#offset:length", "text",
"seconds", "kind", "speaker"}. Shards are written whole, so an interrupted run leaves usable ones.
"""

import argparse
import io
import itertools
import json
import multiprocessing
import random
import time
import zipfile
from pathlib import Path

import numpy as np
from demo_text import DIGITS
from text import read

SAMPLE_RATE = 16000
SHARD_SECONDS = 1800
LONGEST = 20.0
DIGIT_SPEEDS = 0.78, 0.88, 1.0, 1.14, 1.3


class Shards:
    """Collects utterances and writes a shard for every half hour."""

    def __init__(self, out: Path, name: str):
        self.out, self.name, self.count = out, name, 0
        self.audio: list[np.ndarray] = []
        self.rows: list[dict] = []
        self.position = 0
        self.seconds = 0.0
        out.mkdir(parents=True, exist_ok=True)

    def add(self, audio: np.ndarray, row: dict, kind: str, speaker: str, words: list | None = None) -> None:
        """Add an utterance, trimmed unless `words` gives (word, start, end) in seconds, which trimming would shift."""
        audio = audio if words else trimmed(audio)
        if audio is None or len(audio) > LONGEST * SAMPLE_RATE:
            return
        where = f"{self.out.resolve()}/{self.name}-{self.count:03d}.npy#{self.position}:{len(audio)}"
        seconds = round(len(audio) / SAMPLE_RATE, 3)
        manifest = {"audio": where, "text": row["text"], "seconds": seconds, "kind": kind, "speaker": speaker}
        self.rows.append(manifest | ({"words": words} if words else {}))
        self.audio.append(audio)
        self.position += len(audio)
        self.seconds += seconds
        if self.position > SHARD_SECONDS * SAMPLE_RATE:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            stem = self.out / f"{self.name}-{self.count:03d}"
            np.save(stem.with_suffix(".npy"), np.concatenate(self.audio))
            stem.with_suffix(".jsonl").write_text("".join(json.dumps(r) + "\n" for r in self.rows), encoding="utf-8")
            self.count, self.audio, self.rows, self.position = self.count + 1, [], [], 0


def trimmed(audio: np.ndarray, margin: float = 0.15) -> np.ndarray | None:
    """Return int16 with at most `margin` seconds of silence at either end; None without usable sound."""
    audio, edge = np.asarray(audio, np.float32), int(margin * SAMPLE_RATE)
    audio = audio / 32768 if np.abs(audio).max(initial=0) > 8 else audio
    peak = float(np.abs(audio).max(initial=0.0))
    if not np.isfinite(peak) or peak < 0.01:
        return None
    loud = np.flatnonzero(np.abs(audio) > 0.02 * peak)
    audio = audio[max(0, loud[0] - edge) : loud[-1] + edge]
    return np.round(audio * (min(1.0, 0.99 / peak) * 32767)).astype(np.int16) if len(audio) > 1600 else None


def played(audio: np.ndarray, speed: float) -> np.ndarray:
    """Resample an int16 recording to play faster or slower, which changes its pitch too."""
    at = np.arange(0, len(audio) - 1, speed)
    return np.round(np.interp(at, np.arange(len(audio)), audio)).astype(np.int16)


def begun_late(audio: np.ndarray, rng: random.Random) -> np.ndarray:
    """Remove up to 180 ms from the start, from two of three recordings.

    Recordings of single words cut by loudness lose soft starts: a "three" without its "thr".
    """
    lost = max(0.0, rng.uniform(-0.09, 0.18)) * SAMPLE_RATE
    return audio[int(min(lost, 0.5 * len(audio))) :]


def joined(clips: list[tuple[np.ndarray, str]], rng: random.Random) -> tuple[np.ndarray, list]:
    """Join clips with short pauses; returns the samples and (word, start, end) of each in seconds."""
    parts, words, at = [np.zeros(rng.randint(1600, 4800), np.int16)], [], 0
    for audio, text in clips:
        at = sum(map(len, parts))
        words.append((text, round(at / SAMPLE_RATE, 3), round((at + len(audio)) / SAMPLE_RATE, 3)))
        parts += [audio, np.zeros(rng.randint(800, 4800), np.int16)]
    return np.concatenate(parts), words


def add_string(shards: Shards, clips: list[tuple[np.ndarray, str]], speaker: str, rng: random.Random) -> None:
    """Add one speaker's digits, (samples, word) each, as one recording."""
    audio, words = joined(clips, rng)
    shards.add(audio, {"text": " ".join(word for word, _, _ in words)}, "digits", speaker, words)


def read_lines(path: Path, seed: int) -> list[dict]:
    rows = read(path)
    random.Random(seed).shuffle(rows)
    return rows


def kokoro(args) -> None:
    import torch
    from kokoro import EVALUATION_VOICE, Kokoro, Voices, mix_voices, read_weights

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    part, parts = map(int, args.part.split("/"))
    rng = random.Random(f"{args.seed} {part}")
    torch.manual_seed(args.seed * 1000 + part)
    rows = read_lines(args.lines, args.seed)[part::parts]
    torch.set_num_threads(2)
    voices = Voices(args.packages)
    weights = read_weights(sorted(args.packages.rglob("part.bin")))
    model = Kokoro(weights, args.device, args.compile)
    shards = Shards(args.out, f"{args.name}-{args.seed}-{part}")
    start = said = time.time()
    for first in range(0, len(rows), 512):
        chosen = rows[first : first + 512]
        mixes = [{EVALUATION_VOICE: 1.0} if args.evaluation else mix_voices(voices.training, rng) for _ in chosen]
        speeds = [1.0 if args.evaluation else rng.uniform(0.8, 1.25) for _ in chosen]
        lines = [voices.line(r["phonemes"], m, s) for r, m, s in zip(chosen, mixes, speeds, strict=True)]
        order = sorted(range(len(lines)), key=lambda i: len(lines[i].tokens))
        prepared = [None] * len(lines)
        for k in range(0, len(order), 64):
            for i, spoken in zip(
                order[k : k + 64], model.durations([lines[i] for i in order[k : k + 64]]), strict=True
            ):
                prepared[i] = spoken
        for batch in batches(prepared, args.frames):
            for i, audio in zip(batch, model.speak([prepared[i] for i in batch]), strict=True):
                shards.add(audio, chosen[i], chosen[i]["kind"] if args.evaluation else args.name, json.dumps(mixes[i]))
            if time.time() - said > 15:
                said = time.time()
                print(
                    f"part {part}: {shards.seconds / 3600:.2f} h at {shards.seconds / (said - start):.0f} x real time",
                    flush=True,
                )
            if time.time() - start > args.minutes * 60:
                break
        if time.time() - start > args.minutes * 60:
            break
    shards.flush()
    print(f"part {part}: done, {shards.seconds / 3600:.2f} h in {(time.time() - start) / 60:.1f} min", flush=True)


def batches(prepared, frames: int):
    """Yield indices of lines of similar length, for padded batches of about `frames` frames of 25 ms."""
    order = sorted(range(len(prepared)), key=lambda i: -len(prepared[i].text))
    while order:
        size = max(1, frames // len(prepared[order[0]].text))
        yield order[:size]
        order = order[size:]


def robots(args) -> None:
    rows = read_lines(args.lines, args.seed)
    shards, start, said = Shards(args.out, f"robots-{args.seed}"), time.time(), time.time()
    jobs = [(row, f"{args.seed} {k}") for k, row in enumerate(rows)]
    with _robot_pool(args) as pool:
        # In blocks, each finished before the next: terminating a pool with pending work may hang.
        for first in range(0, len(jobs), 1024):
            for row, name, audio in pool.imap_unordered(_speak, jobs[first : first + 1024], chunksize=16):
                shards.add(audio, row, name.split()[0], name)
            if time.time() - said > 15:
                said = time.time()
                print(
                    f"robots: {shards.seconds / 3600:.2f} h at {shards.seconds / (said - start):.0f} x real time",
                    flush=True,
                )
            if time.time() - start > args.minutes * 60 or shards.seconds > args.hours * 3600:
                break
    shards.flush()
    print(f"robots: done, {shards.seconds / 3600:.2f} h in {(time.time() - start) / 60:.1f} min", flush=True)


def digits(args) -> None:
    """Make strings of single digits, like those of `unpack`, in many synthetic voices."""
    rng, shards = random.Random(args.seed), Shards(args.out, f"digits-{args.seed}")
    jobs = [({"spoken": word}, f"{args.seed} digits {k}") for k in range(args.voices) for word in DIGITS]
    with _robot_pool(args) as pool:
        spoken = pool.map(_speak, jobs, chunksize=len(DIGITS))
    for first in range(0, len(spoken), len(DIGITS)):
        same = spoken[first : first + len(DIGITS)]
        clips = [(trimmed(audio, 0.03), row["spoken"]) for row, _, audio in same]
        add_strings(shards, 8, [clip for clip in clips if clip[0] is not None], same[0][1], rng)
    shards.flush()


def _robot_pool(args):
    return multiprocessing.get_context("spawn").Pool(args.workers, _start_robots, (args.programs,))


def _start_robots(programs: Path) -> None:
    global ESPEAK, FLITE
    from robots import Espeak, Flite

    ESPEAK = Espeak(next(programs.rglob("libespeak-ng.so")), next(programs.rglob("espeak-ng-data")))
    FLITE = Flite(programs)


def _speak(job: tuple[dict, str]) -> tuple[dict, str, np.ndarray]:
    row, seed = job
    rng = random.Random(seed)
    name, audio = (ESPEAK if rng.random() < 0.7 else FLITE).speak(row["spoken"], rng)
    return row, name, audio


def unpack(args) -> None:
    """Add every clip of real.py's zips, and digits of each speaker joined to strings at several speeds.

    Three speakers are few, and a faster voice is like that of another speaker. Shards are named after their zip.
    """
    import soundfile as sf

    for path in args.archives:
        rng, shards, singles = random.Random(args.seed), Shards(args.out, f"{path.stem}-{args.seed}"), {}
        with zipfile.ZipFile(path) as archive:
            for row in map(json.loads, archive.read("manifest.jsonl").decode().splitlines()):
                audio = sf.read(io.BytesIO(archive.read(row["audio"])), dtype="float32")[0]
                shards.add(audio, row, row["kind"], row["voice"])
                if row["kind"] == "digits":
                    singles.setdefault(row["voice"], []).append((trimmed(audio, 0.03), row["text"]))
        for voice, speed in itertools.product(singles, DIGIT_SPEEDS):
            clips = [(played(audio, speed), text) for audio, text in singles[voice]]
            add_strings(shards, 400, clips, f"{voice} {speed}", rng)
        shards.flush()


def add_strings(shards: Shards, count: int, clips: list, speaker: str, rng: random.Random) -> None:
    """Add `count` training strings of two to nine digits, some with cut-off starts."""
    for _ in range(count if clips else 0):
        chosen = rng.choices(clips, k=rng.randint(2, 9))
        add_string(shards, [(begun_late(audio, rng), word) for audio, word in chosen], speaker, rng)


def report(args) -> None:
    """Write a manifest for each kind of speech to OUT/manifests, and print the hours of each."""
    hours: dict[str, float] = {}
    lines: dict[str, list[str]] = {}
    for path in sorted(args.out.glob("*.jsonl")):
        for line in path.open(encoding="utf-8"):
            row = json.loads(line)
            hours[row["kind"]] = hours.get(row["kind"], 0) + row["seconds"] / 3600
            lines.setdefault("robots" if row["kind"] in ("espeak", "flite") else row["kind"], []).append(line)
    manifests = args.out / "manifests"
    manifests.mkdir(exist_ok=True)
    for name, rows in lines.items():
        (manifests / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    print({kind: round(h, 2) for kind, h in sorted(hours.items())}, f"hours; manifests: {manifests}/*.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = parser.add_subparsers(dest="job", required=True)
    for name in ("kokoro", "robots"):
        job = jobs.add_parser(name)
        job.add_argument("lines", type=Path)
        job.add_argument("out", type=Path)
        job.add_argument("--minutes", type=float, default=8)
        job.add_argument("--seed", type=int, default=1)
        if name == "kokoro":
            job.add_argument("--packages", type=Path, required=True)
            job.add_argument("--part", default="0/1")
            job.add_argument("--device", default="cuda")
            job.add_argument(
                "--frames",
                type=int,
                default=6400,
                help="frames of 25 ms per batch: more is faster and needs more memory",
            )
            job.add_argument("--compile", action="store_true", help="fuse the vocoder's norms with torch.compile")
            job.add_argument("--evaluation", action="store_true", help="the held-out voice, at its own speed")
            job.add_argument("--name", default="kokoro")
        else:
            job.add_argument("--programs", type=Path, required=True)
            job.add_argument("--workers", type=int, default=12)
            job.add_argument("--hours", type=float, default=30)
    job = jobs.add_parser("digits")
    job.add_argument("out", type=Path)
    job.add_argument("--programs", type=Path, required=True)
    job.add_argument("--workers", type=int, default=12)
    job.add_argument("--voices", type=int, default=500)
    job.add_argument("--seed", type=int, default=1)
    job = jobs.add_parser("unpack")
    job.add_argument("archives", type=Path, nargs="+")
    job.add_argument("out", type=Path)
    job.add_argument("--seed", type=int, default=1)
    jobs.add_parser("report").add_argument("out", type=Path)
    args = parser.parse_args()
    {"kokoro": kokoro, "robots": robots, "digits": digits, "unpack": unpack, "report": report}[args.job](args)


if __name__ == "__main__":
    main()
