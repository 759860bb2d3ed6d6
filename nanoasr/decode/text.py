"""Token ids -> text that people read: whole characters only, without what the model says to itself."""

import re

from ..checkpoint.tokenizer import Tokenizer
from ..results.words import one_line

# "/sil" may stand right after a word, or between Chinese characters, but "and/silver" has none.
_UNSPOKEN = re.compile(r"<think>.*?(?:</think>|\Z)|/sil(?![0-9A-Za-z\u00c0-\u024f])", re.DOTALL)
# what may yet turn out to be a marker when more text follows, or to be none
_UNDECIDED = tuple(part[:length] for part in ("<think", "/sil") for length in range(len(part), 0, -1))
_BROKEN = "\ufffd"


def clean(text: str) -> str:
    """Remove `<think>` blocks, `/sil` marks, control characters and spare white space from a transcript."""
    return one_line(_UNSPOKEN.sub(" ", text))


class TextStream:
    """Ids one by one -> the pieces of text that they add; pieces put together are the clean transcript.

    A character spread over several tokens appears with its last one, never as U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._pending: list[int] = []
        self._raw = ""
        self._shown = ""

    def token_text(self, token_id: int) -> str:
        """Add an id; the characters that it completes, as the model wrote them."""
        self._pending.append(token_id)
        text = self._tokenizer.decode(self._pending)
        if text.endswith(_BROKEN) and len(self._pending) < 8:
            return ""
        self._pending.clear()
        text = text.replace(_BROKEN, "")  # bytes that turned out to be no character
        self._raw += text
        return text

    def new_text(self) -> str:
        """Return what may be shown now and was not before; text that may turn out to be a marker is held back."""
        undecided = next((part for part in _UNDECIDED if self._raw.endswith(part)), "")
        return self._show(clean(self._raw.removesuffix(undecided)))

    def finish(self) -> str:
        """Return the rest, when no more ids come."""
        return self._show(clean(self._raw))

    @property
    def text(self) -> str:
        """The clean transcript so far."""
        return clean(self._raw)

    def _show(self, text: str) -> str:
        if not text.startswith(self._shown):
            return ""
        piece, self._shown = text[len(self._shown) :], text
        return piece
