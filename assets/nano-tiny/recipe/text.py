"""Write the lines that the bundled checkpoint is trained and evaluated on.

    python text.py OUT_FOLDER [--lines 120000] [--seed 1]

Writes train.jsonl, open.jsonl and demo.jsonl with one {"spoken", "text", "kind"} a line: what a synthesizer reads, the
words of the transcript, and the source of the line. Two thirds are natural text from Debian packages, fetched with
`apt-get download` and unpacked without root: the quoted examples and definitions of WordNet (`wordnet-base`, WordNet
licence), the Devil's Dictionary (`dict-devil`, public domain), the Jargon File (`dict-jargon`, public domain) and the
King James Bible (`bible-kjv-text`, public domain), and WordNet's words in random order, a few per line, so that rare
ones occur at all. The rest is generated: digits, numbers, dates, commands (demo_text.py).
"""

import argparse
import gzip
import json
import random
import re
import subprocess
from pathlib import Path

from demo_text import FIXED, cardinal, demo_line

PACKAGES = ["wordnet-base", "dict-devil", "dict-jargon", "bible-kjv", "bible-kjv-text"]
EVAL_LINES = 150
# Texts of the real evaluation recordings, excluded from training.
RESERVED = """in eighteen thirteen|ask not what your country|mister john dashwood had then leisure|cold hearted and rather selfish"""
SPOKEN_AS = {
    "Mr.": "Mister",
    "Mrs.": "Missus",
    "Dr.": "Doctor",
    "vs.": "versus",
    "etc.": "et cetera",
    "&": "and",
    "%": " percent",
}
# The same for normalized words of the games' lines, and their acronyms.
SAID_AS = {"mr": "mister", "mrs": "missus", "dr": "doctor", "vs": "versus", "id": "i d", "hq": "h q", "vhs": "v h s"}


def normalize(spoken: str) -> str | None:
    """Return lower-case words and apostrophes only; None if a reading is ambiguous (digits, acronyms, symbols)."""
    text = (
        spoken.replace("’", "'")
        .replace("‘", "'")
        .replace("—", " ")
        .replace("–", " ")
        .replace("-", " ")
        .replace("...", " ")
    )
    text = re.sub(r"[.,;:!?\"`()]", " ", text).lower()
    text = re.sub(r"(^|\s)'+|'+(?=\s|$)", " ", text)
    text = " ".join(text.split())
    return text if re.fullmatch(r"[a-z' ]+", text) else None


def with_numbers(line: str) -> str:
    """Write numbers below a thousand in words."""
    return re.sub(r"\b\d{1,3}\b(?![.,]\d)", lambda m: cardinal(int(m[0])), line)


def words_said(line: str) -> str | None:
    """Return the words of an actor's line, numbers and titles written out; None if a reading is ambiguous."""
    return " ".join(SAID_AS.get(word, word) for word in (normalize(with_numbers(line)) or "").split()) or None


def written_out(text: str) -> str:
    """Write titles, abbreviations and symbols as words."""
    for short, full in SPOKEN_AS.items():
        text = text.replace(short, full)
    return text


def readable(line: str) -> str | None:
    """Prepare a line of running text for a synthesizer; None if it is not usable."""
    line = written_out(line)
    line = re.sub(r"\s*\([^)]*\)", "", line).replace("`", "'").replace(" - ", ", ").replace("--", ", ")
    line = " ".join(with_numbers(line).split()).strip(" ;:,'\"")
    if re.search(r"[A-Z]{2}|\b[A-Za-z]\.|[\d/<>=_\[\]{}|@#$*+~^\\]|\b[b-hj-z]\b(?!')", line):
        return None
    return line if line and line.isascii() and normalize(line) else None


def download(folder: Path, packages: list[str]) -> None:
    """Download Debian packages and unpack each into a folder, without root."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if not (folder / package).exists():
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            deb = next(folder.glob(package + "_*.deb"))
            subprocess.run(["dpkg", "-x", deb.name, package], cwd=folder, check=True)


def wordnet(folder: Path) -> tuple[list[str], list[str]]:
    """Return quoted examples and definitions."""
    examples, definitions = [], []
    for part in ("noun", "verb", "adj", "adv"):
        for row in (folder / f"wordnet-base/usr/share/wordnet/data.{part}").read_text(encoding="utf-8").splitlines():
            if row.startswith("  ") or "|" not in row:
                continue
            gloss = row.split("|", 1)[1]
            examples += re.findall(r'"([^"]+)"', gloss)
            definitions += [re.sub(r'"[^"]*"', "", gloss).split(";")[0]]
    return examples, definitions


def vocabulary(folder: Path, rng: random.Random) -> list[str]:
    """Return lines of three to six unrelated words, with each of WordNet's words once."""
    words = set()
    for part in ("noun", "verb", "adj", "adv"):
        for row in (folder / f"wordnet-base/usr/share/wordnet/index.{part}").read_text(encoding="utf-8").splitlines():
            word = row.split(" ", 1)[0]
            if re.fullmatch(r"[a-z]{3,}", word):
                plural = part == "noun" and rng.random() < 0.3 and not re.search(r"([sxzy]|ch|sh)$", word)
                words.add(word + "s" if plural else word)
    shuffled = rng.sample(sorted(words), len(words))
    lines = []
    while shuffled:
        count = rng.randint(3, 6)
        lines.append(", ".join(shuffled[:count]))
        del shuffled[:count]
    return lines


def sentences(text: str, longest: int = 160) -> list[str]:
    """Split text into sentences, and long ones at commas and semicolons."""
    found = []
    for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split())):
        clause = ""
        for piece in re.split(r"(?<=[,;:])\s+", sentence):
            if clause and len(clause) + len(piece) > longest:
                found.append(clause)
                clause = ""
            clause = f"{clause} {piece}".strip()
        found.append(clause)
    return found


def dictionary(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as f:
        entries = re.split(r"\n(?=\S)", f.read())
    return [s for entry in entries for s in sentences(re.sub(r"[{}]", "", entry.partition("\n")[2]))]


def bible(folder: Path) -> list[str]:
    program = (folder / "bible-kjv/usr/bin/bible").resolve()
    verses = subprocess.run([program, "-f", "-p", (folder / "bible-kjv-text/usr/lib").resolve(), "gen1:1-rev22:21"], capture_output=True, text=True)  # fmt: skip
    return [s for row in verses.stdout.splitlines() for s in sentences(re.sub(r"^\S+\d+:\d+\s*", "", row), 120)]


def natural_lines(folder: Path, rng: random.Random) -> dict[str, list[str]]:
    download(folder, PACKAGES)
    examples, definitions = wordnet(folder)
    sources = {
        "example": examples,
        "definition": definitions,
        "devil": dictionary(folder / "dict-devil/usr/share/dictd/devil.dict.dz"),
        "jargon": dictionary(folder / "dict-jargon/usr/share/dictd/jargon.dict.dz"),
        "bible": bible(folder),
    }
    return unseen_lines(sources, set(), RESERVED, 2, rng)


def unseen_lines(
    sources: dict[str, list[str]], seen: set[str], reserved: str, fewest: int, rng: random.Random
) -> dict[str, list[str]]:
    """Return the readable lines of each kind, shuffled and without duplicates.

    They have at least `fewest` words, are not in `seen`, and do not match the pattern `reserved`.
    """
    seen, kept = set(seen), {}
    for kind, lines in sources.items():
        kept[kind] = []
        for line in filter(None, map(readable, lines)):
            key = normalize(line)
            if key not in seen and fewest <= len(key.split()) and len(key) <= 200 and not re.search(reserved, key):
                seen.add(key)
                kept[kind].append(line)
        rng.shuffle(kept[kind])
    return kept


def read(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--lines", type=int, default=120000)
    parser.add_argument("--demo-share", type=float, default=0.35)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--packages", type=Path, help="where the Debian packages are unpacked (default: OUT/packages)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random("split")  # the evaluation lines are the same for every seed
    kept = natural_lines(args.packages or args.out / "packages", rng)
    unseen = [s for s in kept["example"] if 5 <= len(s.split()) <= 18][:EVAL_LINES]
    evaluated = {normalize(s) for s in unseen}
    demo_eval: dict[str, str] = {}
    while len(demo_eval) < EVAL_LINES:
        spoken, text = demo_line(rng)
        if normalize(text) not in {*demo_eval, *FIXED} and len(text.split()) > 2:
            demo_eval[normalize(text)] = spoken
    evaluated |= set(demo_eval)
    write(args.out / "open.jsonl", [as_row(s, "open") for s in unseen])
    write(args.out / "demo.jsonl", [as_row(s, "demo", t) for t, s in demo_eval.items()])

    rng = random.Random(args.seed)
    demo_count = round(args.lines * args.demo_share)
    rows = []
    while len(rows) < demo_count:
        spoken, text = demo_line(rng)
        if normalize(text) not in evaluated:
            rows.append(as_row(spoken, "demo", text))
    kept["vocabulary"] = vocabulary(args.packages or args.out / "packages", rng)
    pool = [(s, kind) for kind, lines in kept.items() for s in lines if normalize(s) not in evaluated]
    weight = {"vocabulary": 2.0, "example": 5.0, "definition": 0.6, "devil": 1.5, "jargon": 0.6, "bible": 0.35}
    pool.sort(key=lambda item: rng.random() ** (1 / weight[item[1]]), reverse=True)  # a weighted draw without repeats
    pool = pool[: args.lines - demo_count]
    while pool:
        spoken, kind = pool.pop()
        while pool and len(spoken) < 60 and rng.random() < 0.12:  # several sentences in one breath
            spoken = spoken.rstrip(".;,") + ". " + _sentence(pool.pop()[0])
        rows.append(as_row(spoken, kind))
    rng.shuffle(rows)
    write(args.out / "train.jsonl", rows)
    print(
        {kind: sum(r["kind"] == kind for r in rows) for kind in {r["kind"] for r in rows}},
        {k: len(v) for k, v in kept.items()},
    )


def _sentence(line: str) -> str:
    return line[0].upper() + line[1:]


def as_row(spoken: str, kind: str, text: str | None = None) -> dict:
    spoken = _sentence(spoken) if kind != "definition" else spoken
    return {"spoken": spoken, "text": normalize(text or spoken), "kind": kind}


if __name__ == "__main__":
    main()
