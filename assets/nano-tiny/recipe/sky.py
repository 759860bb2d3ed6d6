"""Extract the actors' lines and their texts from the adventure game Beneath a Steel Sky.

From Debian's `beneath-a-steel-sky` 0.0372, the CD version, which may be modified, and redistributed free of charge with
its notices, modified copies marked as such ((c) Revolution Software Ltd). sky.dnr lists the numbered files in sky.dsk. A
text's number gives the number of its sound: 8 bits at 11025 Hz, packed with RNC. There are two English texts, British and
American.
"""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from text import words_said

PACKAGE = "beneath-a-steel-sky"
SOUND = {"format": "u8", "options": {"sample_rate": "11025"}}
HEADER = 22  # bytes before the samples of a sound
FIRST_TEXT, FIRST_SOUND = 60600, 50000
SECTION_STARTS = [0, 600, 1100, 2430, 3380, 4530, 5080]  # of the sounds; a section of the game has one file of texts
ALIKE = 0.93  # of the British and the American text of a line: one of them was spoken, and nothing tells which
# The code of the texts, as a tree in preorder: "|" is an inner node, "~" a letter that English does without.
TREE = (
    "||| |ea|||os|tn||.ir|||||\0Eu|mA|||lI|dR||NST|||||Ohc|Dg|||LC|pU||!yM|||||PvH|?b|||'f,|GB|||||VkF|qw|||K-W|J*"
    '||||zY|j+|||Q~)||Z~<|||||~~~|~:|||~]#||xX~|||||~`2||0~1|||/(=|~^||||39|~4|||}8\\|"~||||&~|56||~~|~~||||~7~||~~|$@'
    "||||[~_|>~|||~%\t||~~|{|~!"
)


def clips(folder: Path) -> Iterator[tuple[bytes, str, str]]:
    """Yield the sound, words and voice of each spoken line with an unambiguous text; all actors count as one voice."""
    disk = _Disk(next(folder.rglob("sky.dsk")).parent)
    for section, start in enumerate(SECTION_STARTS):
        british, american = (_texts(disk.read(FIRST_TEXT + section + 8 * language)) for language in (0, 3))
        for number, (text, other) in enumerate(zip(american, british, strict=False)):
            sound, words, others = disk.read(FIRST_SOUND + start + number), _spoken(text), _spoken(other)
            if sound and words and others and SequenceMatcher(None, words, others, False).ratio() >= ALIKE:
                yield _unpacked(sound[HEADER:]), words, "sky"


def _spoken(text: str) -> str | None:
    """Return the spoken words of a line; None if they are ambiguous."""
    if re.search(r"[\[\](){}<>*~]", text):
        return None
    return words_said(text.replace("D' ", "D'").replace("d' ", "d'"))


def _texts(section: bytes) -> list[str]:
    """Return every text of a section. They start at multiples of two bits, given by the sizes before them."""
    letters = _letters_of(iter(TREE))
    sizes_at, texts_at = (int.from_bytes(section[k : k + 2], "little") for k in (0, 2))
    blocks = [0, *np.cumsum(np.frombuffer(section[4:sizes_at], "<u2"))]
    bits = "".join(f"{byte:08b}" for byte in section[texts_at:])
    found = []
    for number in range(texts_at - sizes_at + 1):
        block = sizes_at + (number & ~31)
        sizes = ((size & 127) << 3 if size & 128 else size for size in section[block : sizes_at + number])
        at, text, code = 2 * (int(blocks[number >> 5]) + sum(sizes)), "", ""
        while not text.endswith("\0") and at < len(bits):
            code, at = code + bits[at], at + 1
            if code in letters:
                text, code = text + letters[code], ""
        found.append(text.rstrip("\0"))
    return found


def _letters_of(tree: Iterator[str], code: str = "") -> dict[str, str]:
    """Return the letter of each code, a string of 0 and 1."""
    letter = next(tree)
    return _letters_of(tree, code + "0") | _letters_of(tree, code + "1") if letter == "|" else {code: letter}


def _unpacked(packed: bytes) -> bytes:
    """Unpack RNC, method 1: runs of literal bytes, each followed by a copy of earlier output."""
    if packed[:4] != b"RNC\1":
        raise ValueError("sky.dsk is not as in Debian's package: a sound is not packed with RNC, method 1")
    size, out, bits = int.from_bytes(packed[4:8], "big"), bytearray(), _Bits(packed, 18)
    bits.number(2)
    while len(out) < size:
        literals, distances, lengths = bits.table(), bits.table(), bits.table()
        for left in range(bits.number(16) - 1, -1, -1):
            run = bits.coded(literals)
            out += packed[bits.at : bits.at + run]
            bits.at += run
            if left:
                distance, length = bits.coded(distances) + 1, bits.coded(lengths) + 2
                start = len(out) - distance
                copy = out[start : start + length]
                out += (copy * (length // len(copy) + 1))[:length]
    return bytes(out)


class _Bits:
    """Reads bits of 16-bit words, lowest first. A word is read with its first bit; bytes may lie between words."""

    def __init__(self, data: bytes, at: int):
        self.data, self.at, self.word, self.left = data, at, 0, 0

    def number(self, count: int) -> int:
        value = got = 0
        while got < count:
            if not self.left:
                if self.at >= len(self.data):
                    raise ValueError("sky.dsk is damaged: a sound ends too early")
                self.word, self.left = int.from_bytes(self.data[self.at : self.at + 2], "little"), 16
                self.at += 2
            some = min(self.left, count - got)
            value |= (self.word & ((1 << some) - 1)) << got
            self.word, self.left, got = self.word >> some, self.left - some, got + some
        return value

    def table(self) -> dict[tuple[int, int], int]:
        """Read a canonical Huffman code: {(length, code): value}."""
        lengths = [self.number(4) for _ in range(self.number(5))]
        table, code = {}, 0
        for length in range(1, 16):
            for value in (v for v, n in enumerate(lengths) if n == length):
                table[length, code >> (15 - length)] = value
                code += 1 << (15 - length)
        return table

    def coded(self, table: dict[tuple[int, int], int]) -> int:
        code = 0
        for length in range(1, 16):
            code = code << 1 | self.number(1)
            if (length, code) in table:
                value = table[length, code]
                return value if value < 2 else 1 << (value - 1) | self.number(value - 1)
        raise ValueError("sky.dsk is damaged: no such code")


class _Disk:
    """The numbered files in sky.dsk, listed in sky.dnr."""

    def __init__(self, folder: Path):
        self.data = (folder / "sky.dsk").read_bytes()
        self.places = {}
        entries = np.frombuffer((folder / "sky.dnr").read_bytes(), np.uint8, offset=4).reshape(-1, 8).astype(int)
        for low, high, *place in entries:
            start, size = (place[k] | place[k + 1] << 8 | place[k + 2] << 16 for k in (0, 3))
            start = (start & 0x7FFFFF) * (16 if start >> 23 else 1)
            self.places[int(low | high << 8)] = start, size & 0x3FFFFF

    def read(self, number: int) -> bytes | None:
        start, size = self.places.get(number, (0, 0))
        return self.data[start : start + size] if size else None
