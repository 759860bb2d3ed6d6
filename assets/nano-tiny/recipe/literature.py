"""Write the lines of the seventh run: sentences of novels and quotations, and some of the earlier lines.

    python literature.py TEXT [--lines 170000] [--seed 7]

TEXT is the folder of text.py. Writes literature.jsonl there, in the format of its train.jsonl, and prose.jsonl: 350 unseen
sentences for evaluation. The sources are five novels by Jane Austen (`r-cran-janeaustenr`; not "Sense and Sensibility",
which the evaluation recordings are read from) and the definitions and quotations of Webster's dictionary of 1913
(`dict-gcide`), both in the public domain.
"""

import argparse
import gzip
import random
import re
import struct
import zlib
from pathlib import Path

from demo_text import demo_line
from text import RESERVED, as_row, download, normalize, read, sentences, unseen_lines, write, written_out

PACKAGES = ["r-cran-janeaustenr", "dict-gcide"]
NOVELS = ["EMMA", "MANSFIELD PARK", "NORTHANGER ABBEY", "Persuasion", "PRIDE AND PREJUDICE"]
EVALUATED = {"novel": 175, "quotation": 175}
SHARES = {"novel": 0.17, "quotation": 0.25, "meaning": 0.13, "known": 0.25, "demo": 0.2}
OLD_SPELLING = r"Chaucer|Spenser|Wyclif|Piers|Gower|Robert of|Rob\.|Old |Ancren|Langland|Gawain|Mandeville|Romaunt"


def novels(folder: Path) -> list[str]:
    """Return sentences of the novels, stored as zlib-packed R vectors of lines, each after its length."""
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
                found += sentences(re.sub(r"[“”\"_]", "", in_full(paragraph)))
    return found


def in_full(text: str) -> str:
    """Write titles out, so that no sentence seems to end after "Mr.", and dashes as commas."""
    return re.sub(r",?--", ", ", written_out(text))


def webster(folder: Path) -> tuple[list[str], list[str]]:
    """Return quotations and definitions."""
    quotations, meanings = [], []
    path = next((folder / "dict-gcide").rglob("gcide.dict.dz"))
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as f:
        paragraphs = f.read().split("\n\n")
    for paragraph in paragraphs:
        if "WordNet" in paragraph or re.search(r"Syn:|Cf\.|See ", paragraph):  # the evaluation lines are from WordNet
            continue
        head, indent = paragraph[:1] != " ", len(paragraph) - len(paragraph.lstrip())
        paragraph = re.sub(r"\[[^\]]*\]|[{}]", "", paragraph)
        text = " ".join((paragraph.partition("\n")[2] if head else paragraph).split())
        text = re.sub(r"^(\d+\.|\(\w\))\s+", "", text).replace(" . . .", ",")
        said, _, author = re.sub(r"\s+--(?=[A-Z])", "\0", text).partition("\0")
        if not re.match(OLD_SPELLING, author):
            (quotations if author and indent >= 9 else meanings).extend(sentences(in_full(said)))
    return quotations, meanings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--lines", type=int, default=170000)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    packages = args.text / "packages"
    download(packages, PACKAGES)
    before = read(args.text / "train.jsonl")
    measured = {row["text"] for name in ("open", "demo") for row in read(args.text / f"{name}.jsonl")}
    held_out = "|".join([RESERVED, *map(re.escape, sorted(measured))])

    quotations, meanings = webster(packages)
    pools = unseen_lines(
        {"novel": novels(packages), "quotation": quotations, "meaning": meanings},
        {row["text"] for row in before},
        held_out,
        3,
        random.Random("literature"),  # evaluation lines do not depend on the seed
    )
    prose = []
    for kind, count in EVALUATED.items():
        prose += [line for line in pools[kind] if 5 <= len(line.split()) <= 18][:count]
    unseen = set(prose)
    pools = {kind: [line for line in lines if line not in unseen] for kind, lines in pools.items()}
    write(args.text / "prose.jsonl", [as_row(line, "prose") for line in prose])

    rng = random.Random(args.seed)
    rows = []
    for kind, lines in pools.items():
        rows += [as_row(line, kind) for line in rng.sample(lines, min(len(lines), round(SHARES[kind] * args.lines)))]
    known = [row for row in before if row["kind"] != "demo"]
    rows += rng.sample(known, min(len(known), round(SHARES["known"] * args.lines)))
    demo = (demo_line(rng) for _ in range(round(SHARES["demo"] * args.lines)))
    rows += [as_row(spoken, "demo", text) for spoken, text in demo if normalize(text) not in measured]
    rng.shuffle(rows)
    write(args.text / "literature.jsonl", rows)
    print({kind: sum(r["kind"] == kind for r in rows) for kind in {r["kind"] for r in rows}})
    print({kind: len(lines) for kind, lines in pools.items()})


if __name__ == "__main__":
    main()
