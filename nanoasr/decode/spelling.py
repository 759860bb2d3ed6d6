"""The tokens of a Paraformer -> text, with the spaces of FunASR's `sentence_postprocess`.

English words have a space between them, Chinese characters none, and "@@" joins a token to the next one. Letters
that stand alone, one after the other, are an abbreviation: "a i" is written "AI".
"""

from collections.abc import Sequence

UNWRITTEN = frozenset({"<blank>", "<s>", "</s>", "<unk>", "<OOV>"})
_JOIN = "@@"


def spell(tokens: Sequence[str]) -> list[str]:
    """Return the text that each token adds, with a leading space where needed; unwritten tokens add nothing."""
    texts = [""] * len(tokens)
    letters = {i for i, token in enumerate(tokens) if len(token) == 1 and token.isascii() and token.isalpha()}
    begun: list[int] = []  # tokens that wait for the rest of their word
    space, before = False, None  # whether a space is due, and the last token written
    for i, token in enumerate(tokens):
        if token in UNWRITTEN:
            continue
        if token.endswith(_JOIN):
            begun.append(i)
            continue
        if _is_chinese(token) or not _is_english(token):
            texts[i], space = token, space and not _is_chinese(token)
        else:
            abbreviated = not begun and i in letters and before in letters and space
            word = [*begun, i]
            if begun and word != list(range(begun[0], i + 1)):  # a character interrupted it: written where it ends
                texts[i] = "".join(tokens[j].removesuffix(_JOIN) for j in word)
                word = [i]
            else:
                for j in word:
                    texts[j] = tokens[j].removesuffix(_JOIN)
            if abbreviated:
                texts[before], texts[i] = texts[before].upper(), texts[i].upper()
            elif space:
                texts[word[0]] = " " + texts[word[0]]
            begun, space = [], True
        before = i
    return texts


def _is_chinese(token: str) -> bool:
    """Return True for a token that is written without spaces; FunASR counts figures, too."""
    return all("\u4e00" <= char <= "\u9fff" or char in "0123456789@" for char in token)


def _is_english(token: str) -> bool:
    return all(char.isalpha() or char == "'" for char in token)
