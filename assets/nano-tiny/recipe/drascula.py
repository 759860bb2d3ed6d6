"""Extract the actors' lines and their texts from the adventure game Drascula: The Vampire Strikes Back.

From Debian's `drascula`, the English version, which may be modified, and redistributed free of charge with its notices,
modified copies marked as such ((c) Alcachofa Soft S.L.). drascula.dat holds the texts, a table for each character and
language; a sound is 8 bits at 11025 Hz, named after its character and the number of its line: VB12.ALS.
"""

from collections.abc import Iterator
from pathlib import Path

from text import words_said

PACKAGE = "drascula"
SOUND = {"format": "u8", "options": {"sample_rate": "11025"}}
LANGUAGES, HERO_LINES = 6, 501
CHARACTERS = ["", "D", "B", "BJ", "E", "I", "L", "P", "T", "VB"]  # in the order of their tables; the hero has no name


def clips(folder: Path) -> Iterator[tuple[bytes, str, str]]:
    """Yield the sound, words and character of each spoken line."""
    data = next(folder.rglob("drascula.dat"))
    for character, lines in zip(CHARACTERS, _tables(data.read_bytes()), strict=True):
        for number, line in enumerate(lines):
            sound, words = data.with_name(f"{character}{number}.ALS"), words_said(line.lower())
            if sound.exists() and words:
                yield sound.read_bytes(), words, f"drascula {character}".strip()


def _tables(data: bytes) -> Iterator[list[str]]:
    """Yield the English lines of each character.

    A table starts with the number of lines, then come the size and the lines of each language, English first. The two bytes
    before a line are the distance to the next one.
    """
    at = data.find(bytes([LANGUAGES]) + HERO_LINES.to_bytes(2, "big")) + 1
    if not at:
        raise ValueError("drascula.dat is not as in Debian's package: the hero's lines were not found")

    def number(place: int) -> int:
        return int.from_bytes(data[place : place + 2], "big")

    for _ in CHARACTERS:
        count, line, found = number(at), at + 8, []
        for _ in range(count):
            found.append(data[line : data.index(b"\0", line)].decode("cp437"))
            line += number(line - 2)
        yield found
        at += 2
        for _ in range(LANGUAGES):
            at += 2 + number(at)
