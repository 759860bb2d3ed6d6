"""Extract the actors' lines and their texts from the adventure game Flight of the Amazon Queen.

From Debian's `flight-of-the-amazon-queen`, the English talkie edition, which may be modified, and redistributed free of
charge with its notices, modified copies marked as such ((c) John Passfield and Steven Stamatiadis). Everything is in one
file, queen.1c: a table of named parts, then the parts. The dialogues (*.DOG), the scenes (*.CUT) and Joe's descriptions
(QUEEN2.JAS) are spoken; a sound is an 11025 Hz MP3 named after the position of its line, as <dialogue><line><J|P><part>.SB.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from text import words_said

PACKAGE = "flight-of-the-amazon-queen"
SOUND = {"format": "mp3"}
MP3 = 1
HEADER = 20  # bytes before the data of dialogues, scenes and QUEEN.JAS; the offsets in them count from after it
VERBS = 12  # of the player's commands
RESPONSES = 40  # to commands that fail; in the numbers of Joe's sounds they come before his descriptions of things
PEOPLE = (-3, -4)  # what stands for the picture of an object that is somebody
# Growls, laughter, mumbling behind a mask, cries of apes and parrots, a cipher.
NOT_WORDS = re.compile(
    r"(.)\1\1|\b(?!hmm)[bcdfghj-np-tv-xz]{3,}\b|\w*(ung[ahu]|ungh|wang|hvx|q[uw]?awk|aark|aroo)"
    r"|\b(oo[pkt]s?|eep|ha ha|har|nya|woof|glub|ack|bleep|budda)\b"
)
Line = tuple[str, str, str]  # sound, text, speaker


def clips(folder: Path) -> Iterator[tuple[bytes, str, str]]:
    """Yield the sound, words and speaker of each spoken line with an unambiguous reading, once.

    The names of three sounds fit two lines each; the sound belongs to the first.
    """
    said = set()
    parts = _parts(next(folder.rglob("queen.1c")).read_bytes())
    for name, line, voice in _lines(parts):
        sound, words = parts.pop(f"{name}.SB", None), _words(line)
        if sound and words and (words, voice) not in said:
            said.add((words, voice))
            yield sound, words, voice


def _parts(data: bytes) -> dict[str, bytes]:
    magic, compression, count = struct.unpack_from(">4s8xBH", data)
    if magic != b"QTBL" or compression != MP3:
        raise ValueError("queen.1c is not the talkie edition with MP3 speech that Debian's package has")
    table = struct.iter_unpack(">12sxII", data[15 : 15 + count * 21])
    return {name.rstrip(b"\0").decode("ascii"): data[start : start + size] for name, start, size in table}


def _lines(parts: dict[str, bytes]) -> Iterator[Line]:
    """Yield each part of each sentence; not every sound exists."""
    things, names = _things(parts)
    spoken = [*_descriptions(parts)]
    for name in sorted(parts):
        stem, _, kind = name.partition(".")
        if kind == "DOG":
            spoken += _dialogue(parts[name][HEADER:], stem.rstrip("0123456789").lower())
        elif kind == "CUT":
            spoken += _scene(parts[name][HEADER:], stem, things, names)
    for prefix, sentence, voice in spoken:
        # A star and two characters say how the part before them is acted; *XY is followed by a place, (123,456).
        for k, part in enumerate(re.split(r"\*(?:XY.{11}|..)", sentence)):
            yield f"{prefix}{k + 1:x}".replace(" ", "0").upper(), part, voice


def _things(parts: dict[str, bytes]) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the (name, picture) of each object, and the names; names of initially hidden objects are negative."""
    data = parts["QUEEN.JAS"][HEADER:]
    _, names, objects, descriptions = struct.unpack_from(">4H", data)
    rows = struct.iter_unpack(">h12xh", data[8 : 8 + 16 * objects])
    return [(0, 0), *((abs(name), picture) for name, picture in rows)], _texts(parts)[descriptions:][:names]


def _texts(parts: dict[str, bytes]) -> list[str]:
    return parts["QUEEN2.JAS"].decode("latin-1").splitlines()


def _descriptions(parts: dict[str, bytes]) -> Iterator[Line]:
    rooms, names, _, descriptions = struct.unpack_from(">4H", parts["QUEEN.JAS"], HEADER)
    texts, responses = _texts(parts), descriptions + names + rooms + VERBS
    said = texts[responses : responses + RESPONSES] + texts[:descriptions]
    yield from ((f"JOE{k:04d}", text, "joe") for k, text in enumerate(said, 1))


def _string(data: bytes, at: int, align: int = 2) -> tuple[str, int]:
    """Return the text at an offset and the offset after it."""
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("latin-1"), end + (-end % align if data[at] else 0)


def _dialogue(data: bytes, person: str) -> Iterator[Line]:
    levels, key, joes, persons = struct.unpack_from(">h2x3h", data)
    person_at, _, again_at = struct.unpack_from(">3H", data, 22)
    joe_at = 32 + abs(levels) * 96
    for who, voice, at, count in (("J", "joe", joe_at, joes), ("P", person, person_at, persons)):
        for _ in range(count):
            (number,) = struct.unpack_from(">2xH", data, at)
            text, at = _string(data, at + 4, 4)
            yield (f"{key:2d}{number:4x}" if number else f"{key:2d}SSSS") + who, text, voice
    text, at = _string(data, again_at)
    yield f"{key:2d}XXXXP", text, person
    yield f"{key:2d}XXXXJ", _string(data, at)[0], "joe"


def _scene(data: bytes, stem: str, things: list[tuple[int, int]], names: list[str]) -> Iterator[Line]:
    count, _, _, text_at = struct.unpack_from(">2x2h2H", data)
    _, text_at = _string(data, text_at)
    at = 12
    for k in range(1, abs(count) + 1):
        row = struct.unpack_from(">17h", data, at)
        who, animated, moving, copied = row[0], row[4], row[5], row[12] > 0
        at += 36 + 2 * struct.unpack_from(">h", data, at + 34)[0]
        somebody = not animated and (who in (0, -1) or (who > 0 and things[who][1] in PEOPLE))
        if moving and not somebody and not copied and who > -2:  # frames of 20 bytes to an end mark
            while struct.unpack_from(">h", data, at)[0] != -2:
                at += 20
            at += 2
        name = "Queen" if not somebody else "Joe" if who <= 0 else names[things[who][0] - 1]
        text, text_at = _string(data, text_at)
        # The names of things have no capital: who speaks in the place of one is not known. Joe King is Joe.
        yield f"{stem:_<5}{k:02d}", text, name.lower().removesuffix(" king") if name.istitle() else "queen"


def _words(line: str) -> str | None:
    if re.search(r"\d[.,:]\d|\d'|\([YN]/", line):
        return None
    words = words_said(re.sub(r"m{3,}", "mm", line.replace("^_", ""), flags=re.I))
    return words if words and not NOT_WORDS.search(words) else None
