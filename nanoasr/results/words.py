"""Tokens, words, and the only rule for where a word begins.

A word is what stands between two spaces, with its punctuation. In scripts written without spaces (Chinese, Japanese,
Thai, Lao, Khmer, Burmese, Tibetan) it is one character with its marks and the punctuation after it. Live
transcription, alignment, subtitles and error rates all split text here.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that the model considered at one step."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Token:
    """One token that the model chose; times in seconds of the recording, None without an alignment.

    `text` is empty for a token that ends inside a character: the token that completes it has the character.
    `alternatives` are the most probable tokens of this step, on request only; a sampled token may not be among them.
    `confidence` comes from the alignment.
    """

    id: int
    text: str
    logprob: float
    start: float | None = None
    end: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its punctuation. Words that share a token share its times."""

    text: str
    start: float | None
    end: float | None
    confidence: float | None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A word with the space before it, and the tokens of its letters, marks and digits."""

    text: str
    tokens: tuple[Token, ...]

    @property
    def start(self) -> float | None:
        return next((token.start for token in self.tokens if token.start is not None), None)

    @property
    def end(self) -> float | None:
        return next((token.end for token in reversed(self.tokens) if token.end is not None), None)

    @property
    def confidence(self) -> float | None:
        known = [token.confidence for token in self.tokens if token.confidence is not None]
        return sum(known) / len(known) if known else None


def split_words(text: str, tokens: Sequence[Token] = ()) -> list[Piece]:
    """Split a text into words, which joined are `one_line(text)`; without tokens where those spell another text."""
    text = one_line(text)
    sources = _sources(text, tokens)
    pieces = []
    for start, stop in pairwise([*word_starts(text), len(text)]):
        known = [sources[i] for i in range(start, stop) if sources and is_word_character(text[i])]
        used = tokens[known[0].start : known[-1].stop] if known else ()
        pieces.append(Piece(text[start:stop], tuple(used)))
    return pieces


def word_starts(text: str) -> list[int]:
    """Return the index where each word of a text begins; the space before a word belongs to it.

    A word has a letter or a digit. Anything else belongs to the word before it, at the beginning to the one after.
    """
    starts: list[int] = []
    start, before, letter = 0, "", ""  # `letter`: the last letter or digit since `start`
    for i, char in enumerate(text):
        if i and _may_start(char, before, letter):
            if letter:
                starts.append(start)
            if starts:
                start, letter = i, ""
        if _is_letter(char):
            letter = char
        before = char
    if letter or (text and not starts):
        starts.append(start)
    return starts


def join_texts(texts: Iterable[str]) -> str:
    """Join consecutive texts with a space, but with none between Chinese or Japanese or at full-width punctuation."""
    joined: list[str] = []
    for text in filter(None, (text.strip() for text in texts)):
        if joined and not _joins_closely(joined[-1], text):
            joined.append(" ")
        joined.append(text)
    return "".join(joined)


def one_line(text: str) -> str:
    """Replace every run of white space, line ends and control characters by one space, and strip the text."""
    return _SPACE.sub(" ", text).strip()


def is_word_character(char: str) -> bool:
    """Tell letters, their marks and digits from punctuation, symbols and spaces."""
    return unicodedata.category(char)[0] in "LMN"


_CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
UNSPACED = (  # the letters of all scripts written without spaces, as a class of a regular expression
    _CJK + "\u0e01-\u0e4e"  # Thai
    "\u0e81-\u0ece\u0edc-\u0edf"  # Lao
    "\u0f00\u0f40-\u0fbc"  # Tibetan
    "\u1000-\u103f\u1050-\u108f\u109a-\u109f\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17d3\u17d7\u17dc\u17dd"  # Khmer
)
_IS_CJK, _IS_UNSPACED = re.compile(f"[{_CJK}]"), re.compile(f"[{UNSPACED}]")
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")  # no file format here can hold control characters
# Letters that never begin a word (small kana, iteration and length marks, vowels written after their consonant), and
# characters that the next one belongs to (vowels written before their consonant, signs that stack two consonants).
_FOLLOWS = frozenset("々〻ーゝゞヽヾぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶｧｨｩｪｫｬｭｮｯｰﾞﾟะาำๅๆฯະາຳຽໆៗ") | {
    chr(code) for code in range(0x31F0, 0x3200)
}
_LEADS = frozenset("เแโใไເແໂໃໄ\u1039\u17d2")


def _may_start(char: str, before: str, letter: str) -> bool:
    if char.isspace():
        return not before.isspace()
    category = unicodedata.category(char)
    if before in _LEADS or char in _FOLLOWS or category == "Cf" or (category[0] in "MPS" and not _opens(char)):
        return False
    if not letter:  # a full stop or comma after a space still belongs to the word before
        return _is_letter(char) and _is_wide_punctuation(before) and not _opens(before)
    return bool(
        _is_wide_punctuation(before)
        or _is_wide_punctuation(char)
        or _IS_UNSPACED.match(char)
        or _IS_UNSPACED.match(letter)
    )


def _sources(text: str, tokens: Sequence[Token]) -> list[range] | None:
    """Return the range of tokens that spell each character (its bytes may be in several); None if they do not."""
    spelled: list[tuple[str, range]] = []
    first = 0
    for i, token in enumerate(tokens):
        for char in token.text:
            if not _SPACE.match(char):
                spelled.append((char, range(first, i + 1)))
            first = i
        if token.text:
            first = i + 1
    if [char for char, _ in spelled] != [char for char in text if char != " "]:
        return None
    following = iter(spelled)
    return [range(0) if char == " " else next(following)[1] for char in text]


def _opens(char: str) -> bool:
    return unicodedata.category(char) in ("Ps", "Pi", "Sc")


def _is_letter(char: str) -> bool:
    return unicodedata.category(char)[0] in "LN"


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] == "P"


def _is_wide_punctuation(char: str) -> bool:
    return bool(char) and _is_punctuation(char) and unicodedata.east_asian_width(char) in "WFH"


def _joins_closely(left: str, right: str) -> bool:
    if _is_wide_punctuation(left[-1]) or _is_wide_punctuation(right[0]):
        return True
    last = next((c for c in reversed(left) if not _is_punctuation(c)), "")
    first = next((c for c in right if not _is_punctuation(c)), "")
    return bool(_IS_CJK.match(last) and _IS_CJK.match(first))
