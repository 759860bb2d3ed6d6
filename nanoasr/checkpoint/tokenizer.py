"""Text to ids and back, with a checkpoint's tokenizer.json."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ..errors import CheckpointError
from .tokenizer_file import read_tokenizer

Result = TypeVar("Result")


class Tokenizer:
    """The LLM's tokenizer, and the ids with a meaning for a recognizer."""

    def __init__(self, folder: Path):
        self.path = folder / "tokenizer.json"
        self._bpe = read_tokenizer(self.path)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; special tokens written in it become themselves."""
        return self._guarded(lambda: self._bpe.encode(text, add_special_tokens=False).ids)

    def encode_spans(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        """Return the ids of a text, each with the characters (first, last + 1) that it stands for."""
        encoding = self._guarded(lambda: self._bpe.encode(text, add_special_tokens=False))
        return list(zip(encoding.ids, encoding.offsets, strict=True))

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids without special tokens; an unfinished character shows as U+FFFD."""
        return self._guarded(lambda: self._bpe.decode(ids, skip_special_tokens=True))

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """The ids that end a transcript."""
        found = (self._bpe.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>"))
        ids = frozenset(i for i in found if i is not None)
        if not ids:
            raise CheckpointError(f"{self.path}: has neither <|im_end|> nor <|endoftext|>, so no transcript could end")
        return ids

    @cached_property
    def size(self) -> int:
        """How many ids there are: one more than the highest."""
        return 1 + max(self._bpe.get_vocab().values(), default=-1)

    def token(self, token_id: int) -> str:
        """Return one token as its vocabulary writes it: special tokens by name, bytes as stand-in characters."""
        return self._bpe.id_to_token(token_id) or f"<{token_id}>"

    def _guarded(self, work: Callable[[], Result]) -> Result:
        """Call the library; its panics are no Exception, and would end the thread they are raised on."""
        try:
            return work()
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            raise CheckpointError(f"{self.path}: the tokenizer failed ({error})") from None
