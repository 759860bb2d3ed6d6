"""How a text differs from what was said: word by word, and counted. Case and punctuation do not count."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_APOSTROPHES = "'’ʼ`´"
_UNSPACED = ("CJK UNIFIED", "CJK COMPAT", "HIRAGANA", "KATAKANA")  # scripts that put no spaces between words


@dataclass(frozen=True)
class Difference:
    """A stretch of words: the same in both, or what the reference has in place of what the text has."""

    kind: Literal["same", "changed", "missing", "added"]
    reference: str
    text: str


def normalize(text: str) -> str:
    """Text as error rates see it: lower-case words without punctuation; each Chinese or Japanese character a word."""
    kept = []
    for char in unicodedata.normalize("NFKC", text).lower():
        if char in _APOSTROPHES:
            continue
        if unicodedata.category(char)[0] not in "LMN":
            char = " "
        elif unicodedata.name(char, "").startswith(_UNSPACED):
            char = f" {char} "
        kept.append(char)
    return " ".join("".join(kept).split())


def word_diff(reference: str, text: str) -> tuple[Difference, ...]:
    """Where `text` differs from `reference`, word by word; case and punctuation do not count."""
    import jiwer

    (wanted, wanted_words), (heard, heard_words) = _shown_and_compared(reference), _shown_and_compared(text)
    if not wanted or not heard:
        missing = Difference("missing", " ".join(wanted), "") if wanted else None
        added = Difference("added", "", " ".join(heard)) if heard else None
        return tuple(part for part in (missing, added) if part)
    kinds = {"equal": "same", "substitute": "changed", "delete": "missing", "insert": "added"}
    [chunks] = jiwer.process_words(" ".join(wanted_words), " ".join(heard_words)).alignments
    return tuple(
        Difference(
            kinds[chunk.type],
            " ".join(wanted[chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in chunks
    )


def error_rates(pairs: Iterable[tuple[str | None, str]]) -> tuple[float | None, float | None]:
    """WER and CER of all together; None without a reference."""
    import jiwer

    known = [(wanted, normalize(text)) for reference, text in pairs if (wanted := normalize(reference or ""))]
    if not known:
        return None, None
    wanted, heard = (list(side) for side in zip(*known, strict=True))
    return jiwer.wer(wanted, heard), jiwer.cer(wanted, heard)


def _shown_and_compared(text: str) -> tuple[list[str], list[str]]:
    """The words as they stand, and as they are compared."""
    shown, compared = [], []
    for piece in text.split():
        words = normalize(piece).split()
        shown += [piece] if len(words) == 1 else words
        compared += words
    return shown, compared
