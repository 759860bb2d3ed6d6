"""Train a small byte-level BPE tokenizer on the training texts, for models trained from scratch."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from ..decode.prompt import NANO_LANGUAGES, instruction

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def make_tokenizer(texts: Iterable[str], size: int, folder: str | Path) -> Path:
    """Train a vocabulary of `size`, write tokenizer.json into `folder`, and return the folder.

    The prompt's fixed phrases become one token each, so that prompts are short; bytes cover any other text. Digits are
    single tokens.
    """
    phrases = _prompt_phrases()
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(phrases),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    bpe.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return folder


def _prompt_phrases() -> list[str]:
    """Return the fixed parts of all prompts."""
    listing, closing = instruction(hotwords=["\0"]).removesuffix(instruction()).split("\0")
    no_itn = instruction(itn=False).removeprefix(instruction().removesuffix("：")).removesuffix("：")
    languages = [language.prompt for language in NANO_LANGUAGES]
    fixed = ["You are a helpful assistant.", "system\n", "user\n", "assistant\n"]
    return [*fixed, listing, closing, instruction().removesuffix("："), no_itn, "：", "成", *languages]
