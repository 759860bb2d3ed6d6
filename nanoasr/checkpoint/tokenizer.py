"""Text <-> ids, by the checkpoint's own tokenizer.json."""

from functools import cached_property
from pathlib import Path

import tokenizers

from ..errors import CheckpointError


class Tokenizer:
    """The LLM's tokenizer, and the ids that mean something to a recognizer."""

    def __init__(self, folder: Path):
        self.path = folder / "tokenizer.json"
        try:
            self._bpe = tokenizers.Tokenizer.from_file(str(self.path))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"{self.path}: not a tokenizer ({error})") from None

    def encode(self, text: str) -> list[int]:
        """Ids of a text; special tokens written in it become themselves."""
        return self._bpe.encode(text, add_special_tokens=False).ids

    def encode_spans(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        """Ids of a text, each with the characters (first, last + 1) that it stands for."""
        encoding = self._bpe.encode(text, add_special_tokens=False)
        return list(zip(encoding.ids, encoding.offsets, strict=True))

    def decode(self, ids: list[int]) -> str:
        """The text of some ids, special tokens left out; an unfinished character shows as U+FFFD."""
        return self._bpe.decode(ids, skip_special_tokens=True)

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """The ids that end a transcript."""
        found = (self._bpe.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>"))
        ids = frozenset(i for i in found if i is not None)
        if not ids:
            raise CheckpointError(f"{self.path}: has neither <|im_end|> nor <|endoftext|>, so nothing could end")
        return ids

    @cached_property
    def size(self) -> int:
        """How many ids there are: one more than the highest."""
        return 1 + max(self._bpe.get_vocab().values(), default=-1)

    def token(self, token_id: int) -> str:
        """One token as its vocabulary writes it: special tokens by name, bytes as stand-in characters."""
        return self._bpe.id_to_token(token_id) or f"<{token_id}>"
