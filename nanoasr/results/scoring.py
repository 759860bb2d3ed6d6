"""Compare a text with what was said: word by word, and as error rates. Case and punctuation do not count."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .words import UNSPACED, is_word_character, split_words

_APOSTROPHES = "'’ʼ`´"
_ADDED_SPACE = re.compile(f"(?<=[{UNSPACED}]) | (?=[{UNSPACED}])")


@dataclass(frozen=True)
class Difference:
    """Consecutive words that are the same in both texts, or differ in one way."""

    kind: Literal["same", "changed", "missing", "added"]
    reference: str
    text: str


def normalize(text: str) -> str:
    """Reduce text to what error rates compare: lower-case words (as `split_words` has them) without punctuation."""
    kept = [" "]
    text = "".join(char for char in text if char not in _APOSTROPHES and unicodedata.category(char) != "Cf")
    for char in unicodedata.normalize("NFKC", text).lower():
        belongs = is_word_character(char) and not (kept[-1] == " " and unicodedata.category(char)[0] == "M")
        kept.append(char if belongs else " ")
    return " ".join(word.text.strip() for word in split_words("".join(kept)))


def word_diff(reference: str, text: str) -> tuple[Difference, ...]:
    """Find where `text` differs from `reference`, word by word."""
    import jiwer

    (wanted, wanted_words), (heard, heard_words) = _displayed_and_compared(reference), _displayed_and_compared(text)
    if not wanted or not heard:
        missing = Difference("missing", _joined(wanted), "") if wanted else None
        added = Difference("added", "", _joined(heard)) if heard else None
        return tuple(part for part in (missing, added) if part)
    kinds = {"equal": "same", "substitute": "changed", "delete": "missing", "insert": "added"}
    [chunks] = jiwer.process_words(" ".join(wanted_words), " ".join(heard_words)).alignments
    return tuple(
        Difference(
            kinds[chunk.type],
            _joined(wanted[chunk.ref_start_idx : chunk.ref_end_idx]),
            _joined(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in chunks
    )


def error_rates(pairs: Iterable[tuple[str | None, str]]) -> tuple[float | None, float | None]:
    """Return the word and character error rates of all (reference, text) pairs together.

    A reference of None is unknown and left out; text for a reference without words counts as errors. Both rates are
    None where no reference has a word.
    """
    import jiwer

    known = [(normalize(reference), normalize(text)) for reference, text in pairs if reference is not None]
    spoken = [pair for pair in known if pair[0]]
    if not spoken:
        return None, None
    extra = [text for reference, text in known if not reference]

    words = jiwer.process_words(*map(list, zip(*spoken, strict=True)))
    inserted = sum(len(text.split()) for text in extra)
    letters = [tuple(map(_letters, pair)) for pair in spoken]
    characters = jiwer.process_characters(*map(list, zip(*letters, strict=True)))
    return _rate(words, inserted), _rate(characters, sum(len(_letters(text)) for text in extra))


def _rate(found: "jiwer.WordOutput | jiwer.CharacterOutput", inserted: int) -> float:  # noqa: F821
    errors = found.substitutions + found.deletions + found.insertions + inserted
    return errors / (found.hits + found.substitutions + found.deletions)


def _letters(normalized: str) -> str:
    """Drop the spaces that `normalize` put between the words of scripts written without."""
    return _ADDED_SPACE.sub("", normalized)


def _displayed_and_compared(text: str) -> tuple[list[str], list[str]]:
    """Return the words with their spaces and punctuation, and as they are compared."""
    displayed, compared = [], []
    for piece in split_words(text):
        words = normalize(piece.text).split()
        displayed += [piece.text] if len(words) == 1 else [f" {word}" for word in words]
        compared += words
    return displayed, compared


def _joined(words: list[str]) -> str:
    return "".join(words).strip()
