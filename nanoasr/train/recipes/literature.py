"""Makes the lines of the seventh run: sentences of novels and quotations, with some of the lines before.

    python literature.py TEXT [--lines 170000] [--seed 7]

TEXT is the folder of text.py. Writes literature.jsonl there, in the form of its train.jsonl, and prose.jsonl: 350 unseen
sentences to measure with. New are five novels by Jane Austen (`r-cran-janeaustenr`; not "Sense and Sensibility", which
recordings that the checkpoint is measured on are read from) and the definitions and quotations of Webster's dictionary of
1913 (`dict-gcide`): both texts are in the public domain.
"""

import argparse
import gzip
import json
import random
import re
import struct
import zlib
from pathlib import Path

from demo_text import demo_line
from text import RESERVED, SPOKEN_AS, _row, download, normalize, readable, sentences, write

PACKAGES = ["r-cran-janeaustenr", "dict-gcide"]
NOVELS = ["EMMA", "MANSFIELD PARK", "NORTHANGER ABBEY", "Persuasion", "PRIDE AND PREJUDICE"]
EVALUATED = {"novel": 175, "quotation": 175}
SHARES = {"novel": 0.17, "quotation": 0.25, "meaning": 0.13, "known": 0.25, "demo": 0.2}
OLD_SPELLING = r"Chaucer|Spenser|Wyclif|Piers|Gower|Robert of|Rob\.|Old |Ancren|Langland|Gawain|Mandeville|Romaunt"


def novels(folder: Path) -> list[str]:
    """Sentences of the novels, which the package keeps as R's vectors of lines, each packed by zlib after its length."""
    packed = next((folder / "r-cran-janeaustenr").rglob("data/Rdata.rdb")).read_bytes()
    found, at = [], 0
    while at < len(packed):
        unpacker = zlib.decompressobj()
        vector = unpacker.decompress(packed[at + 4 :])
        at = len(packed) - len(unpacker.unused_data)
        lines, place = [], 31  # after R's header, the type of a vector of strings and its length
        while place < len(vector):
            length = max(0, struct.unpack_from(">i", vector, place + 4)[0])
            lines.append(vector[place + 8 : place + 8 + length].decode())
            place += 8 + length
        if lines[0] in NOVELS:
            for paragraph in "\n".join(lines[1:]).split("\n\n"):
                found += sentences(re.sub(r"[“”\"_]", "", written_out(paragraph)))
    return found


def written_out(text: str) -> str:
    """Titles in full, so that no sentence seems to end after a "Mr."."""
    for short, full in SPOKEN_AS.items():
        text = text.replace(short, full)
    return re.sub(r",?--", ", ", text)


def webster(folder: Path) -> tuple[list[str], list[str]]:
    """Quotations, and definitions."""
    quotations, meanings = [], []
    path = next((folder / "dict-gcide").rglob("gcide.dict.dz"))
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as f:
        paragraphs = f.read().split("\n\n")
    for paragraph in paragraphs:
        if "WordNet" in paragraph or re.search(r"Syn:|Cf\.|See ", paragraph):  # WordNet has the lines to measure with
            continue
        head, indent = paragraph[:1] != " ", len(paragraph) - len(paragraph.lstrip())
        paragraph = re.sub(r"\[[^\]]*\]|[{}]", "", paragraph)
        text = " ".join((paragraph.partition("\n")[2] if head else paragraph).split())
        text = re.sub(r"^(\d+\.|\(\w\))\s+", "", text).replace(" . . .", ",")
        said, _, author = re.sub(r"\s+--(?=[A-Z])", "\0", text).partition("\0")
        if not re.match(OLD_SPELLING, author):
            (quotations if author and indent >= 9 else meanings).extend(sentences(written_out(said)))
    return quotations, meanings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--lines", type=int, default=170000)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    packages = args.text / "packages"
    download(packages, PACKAGES)
    before = [json.loads(line) for line in (args.text / "train.jsonl").open(encoding="utf-8")]
    measured = [
        json.loads(s)["text"] for n in ("open", "demo") for s in (args.text / f"{n}.jsonl").open(encoding="utf-8")
    ]
    held_out = re.compile("|".join([RESERVED, *map(re.escape, measured)]))

    quotations, meanings = webster(packages)
    pools: dict[str, list[str]] = {}
    seen = {row["text"] for row in before}
    rng = random.Random("literature")  # the lines to measure with are the same for every seed
    for kind, lines in {"novel": novels(packages), "quotation": quotations, "meaning": meanings}.items():
        pools[kind] = []
        for line in filter(None, map(readable, lines)):
            key = normalize(line)
            if key not in seen and len(key.split()) >= 3 and len(key) <= 200 and not held_out.search(key):
                seen.add(key)
                pools[kind].append(line)
        rng.shuffle(pools[kind])
    prose = []
    for kind, count in EVALUATED.items():
        prose += [line for line in pools[kind] if 5 <= len(line.split()) <= 18][:count]
    unseen = set(prose)
    pools = {kind: [line for line in lines if line not in unseen] for kind, lines in pools.items()}
    write(args.text / "prose.jsonl", [_row(line, "prose") for line in prose])

    rng = random.Random(args.seed)
    rows = []
    for kind, lines in pools.items():
        rows += [_row(line, kind) for line in rng.sample(lines, min(len(lines), round(SHARES[kind] * args.lines)))]
    known = [row for row in before if row["kind"] != "demo"]
    rows += rng.sample(known, min(len(known), round(SHARES["known"] * args.lines)))
    demo = (demo_line(rng) for _ in range(round(SHARES["demo"] * args.lines)))
    rows += [_row(spoken, "demo", text) for spoken, text in demo if normalize(text) not in measured]
    rng.shuffle(rows)
    write(args.text / "literature.jsonl", rows)
    print({kind: sum(r["kind"] == kind for r in rows) for kind in {r["kind"] for r in rows}})
    print({kind: len(lines) for kind, lines in pools.items()})


if __name__ == "__main__":
    main()
