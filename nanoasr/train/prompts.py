"""Prompts for training, of every kind that recognition uses, and the target texts."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..checkpoint.tokenizer import Tokenizer
from ..decode.prompt import Prompt, build_prompt, find_language
from .manifest import Utterance

_WIDTH = 32  # prompts are padded to multiples of this, for few batch shapes


@dataclass(frozen=True)
class PromptConfig:
    """The share of prompts that name the language, and of batches whose prompts list hotwords.

    There are up to `most` hotwords. In a `present` share of the prompts one is spoken; the others are from other texts.
    """

    language: float = 0.3
    hotwords: float = 0.2
    most: int = 5
    present: float = 0.7


@dataclass(frozen=True)
class PromptBatch:
    """Token ids of a batch: the prompts around the audio, and the texts with their end token."""

    prompts: list[Prompt]
    texts: list[list[int]]

    def padded(self, unit: int) -> dict[str, np.ndarray]:
        """Return arrays for a Batch, padded in steps (of `unit` ids for texts), for few batch shapes."""
        prefixes, suffixes = [p.prefix for p in self.prompts], [p.suffix for p in self.prompts]
        return {
            "prefix": _pad(prefixes, -(-max(map(len, prefixes)) // _WIDTH) * _WIDTH),
            "prefix_lengths": _lengths(prefixes),
            "suffix": _pad(suffixes, max(map(len, suffixes))),
            "suffix_lengths": _lengths(suffixes),
            "text": _pad(self.texts, -(-max(map(len, self.texts)) // unit) * unit),
            "text_lengths": _lengths(self.texts),
        }


class Prompts:
    """Builds prompts for batches: plain ones for evaluation, random ones (from a seed) for training."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: PromptConfig,
        audio_tokens: Callable[[int], int],
        utterances: list[Utterance],
    ):
        self.tokenizer, self.config, self.audio_tokens = tokenizer, config, audio_tokens
        self.end = tokenizer.encode("<|im_end|>")
        self._encode = lru_cache(maxsize=100_000)(tokenizer.encode)
        self._plain = lru_cache(maxsize=256)(build_prompt)
        words = Counter(word for u in utterances for word in set(_words(u.text)))
        self._rare = sorted(word for word, count in words.items() if count <= max(3, len(utterances) // 500))
        self._rare_set = frozenset(self._rare)

    def build(
        self, utterances: list[Utterance | None], texts: tuple[str, ...], numbers: list[int], seed: int | None
    ) -> PromptBatch:
        """Build the prompts and targets of a batch; None among the utterances is silence."""
        made = []
        listing = seed is not None and np.random.default_rng([seed, *numbers]).random() < self.config.hotwords
        for utterance, text, number in zip(utterances, texts, numbers, strict=True):
            itn = utterance is None or utterance.itn
            if seed is None:
                hotwords = utterance.hotwords if utterance else ()
                made.append(self._build(None, itn, hotwords))
                continue
            rng = np.random.default_rng([seed, number])
            named = utterance is not None and rng.random() < self.config.language
            hotwords = self._list(text, rng) if listing else ()
            made.append(self._build(utterance.language if named else None, itn, hotwords))
        return PromptBatch(made, [self._encode(text) + self.end for text in texts])

    def _build(self, language: str | None, itn: bool, hotwords: tuple[str, ...]) -> Prompt:
        build = build_prompt if hotwords else self._plain
        return build(self.tokenizer, find_language(language), hotwords, itn)

    def _list(self, text: str, rng: np.random.Generator) -> tuple[str, ...]:
        """Draw hotwords: perhaps one rare word of the text, and words of other texts."""
        spoken = [word for word in _words(text) if word in self._rare_set]
        count = int(rng.integers(1, self.config.most + 1))
        chosen = []
        if spoken and rng.random() < self.config.present:
            chosen.append(spoken[int(rng.integers(len(spoken)))])
        if self._rare:
            others = rng.integers(len(self._rare), size=count - len(chosen))
            chosen += [word for i in others if (word := self._rare[int(i)]) not in spoken]
        return tuple(chosen[int(i)] for i in rng.permutation(len(chosen)))


def _words(text: str) -> list[str]:
    return [word for raw in text.split() if len(word := raw.strip(".,;:!?\"'()")) > 3]


def _lengths(rows: list[Sequence[int]]) -> np.ndarray:
    return np.array([len(row) for row in rows], dtype=np.int32)


def _pad(rows: list[Sequence[int]], width: int) -> np.ndarray:
    padded = np.zeros((len(rows), width), dtype=np.int32)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return padded
