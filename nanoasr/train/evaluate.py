"""Word error rates on manifests, by the CTC branch and by the LLM, both greedy."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..decode.generate import generate
from ..decode.request import Request
from ..decode.sampling import Sampling
from ..model.ctc import collapse
from ..model.nano import Nano
from ..results.scoring import error_rates, normalize
from .batches import Batch, Data
from .network import Start
from .prompts import Prompts
from .step import features_of, on_device


@dataclass(frozen=True)
class Score:
    """Word error rates in percent; None without such a branch."""

    recordings: int
    words: int
    ctc: float | None
    text: float | None

    def __str__(self) -> str:
        known = [(name, rate) for name, rate in (("CTC", self.ctc), ("LLM", self.text)) if rate is not None]
        return ", ".join(f"{name} {rate:.1f} %" for name, rate in known) or "nothing to score"


@dataclass(frozen=True)
class Outputs:
    """The reference text of a recording and both branches' transcripts."""

    text: str
    ctc: str | None
    llm: str | None


def score(
    start: Start, data: Data, prompts: Prompts, pool: mx.array, use_llm: bool, most: int = 0
) -> tuple[Score, list[Outputs]]:
    """Transcribe `data` (at most `most` batches, spread over all lengths; 0 for all) and count word errors."""
    batches = data.plain()
    if most and len(batches) > most:
        batches = [batches[i * len(batches) // most] for i in range(most)]
    heard = []
    for bucket, items in batches:
        heard += transcribe(start, on_device(data.compose(bucket, items, prompts, None)), pool, use_llm)
    texts = [h.text for h in heard]
    ctc = word_error_rate(texts, [h.ctc for h in heard]) if heard and heard[0].ctc is not None else None
    llm = word_error_rate(texts, [h.llm for h in heard]) if use_llm else None
    return Score(len(heard), sum(len(normalize(text).split()) for text in texts), ctc, llm), heard


def transcribe(start: Start, batch: Batch, pool: mx.array, use_llm: bool) -> list[Outputs]:
    """Transcribe one batch greedily."""
    model, tokenizer = start.model, start.tokenizer
    features, lengths = features_of(pool, batch, start.cmvn)
    encoded = model.encode(features, lengths)
    ctc: list[str | None] = [None] * len(batch.texts)
    if model.config.ctc is not None and model.config.ctc.vocab_size == tokenizer.size + 1:
        best = np.array(mx.argmax(model.ctc_logits(encoded, lengths), axis=-1))
        paths = zip(best, np.array(lengths), strict=True)
        ctc = [tokenizer.decode(collapse(row[:n], model.config.ctc.blank_id)).strip() for row, n in paths]
    llm: list[str | None] = [None] * len(batch.texts)
    if use_llm:
        sampling = Sampling(max_tokens=min(4096, 2 * batch.text.shape[1] + 8))
        prompts = _prompts(model, batch, model.adapt(encoded, lengths))
        requests = [Request(prompt, sampling) for prompt in prompts]
        for index, result in generate(model, requests, tokenizer.end_ids, len(requests)):
            llm[index] = tokenizer.decode(result.ids).strip()
    return [Outputs(*row) for row in zip(batch.texts, ctc, llm, strict=True)]


def _prompts(model: Nano, batch: Batch, audio: mx.array) -> list[mx.array]:
    before, after = model.llm.embed(batch.prefix), model.llm.embed(batch.suffix)
    counts = np.array(mx.stack([batch.prefix_lengths, batch.audio_tokens, batch.suffix_lengths], axis=1)).tolist()
    return [
        mx.concatenate([before[i, :p], audio[i, :a].astype(before.dtype), after[i, :s]])
        for i, (p, a, s) in enumerate(counts)
    ]


def word_error_rate(texts: Sequence[str], heard: Sequence[str]) -> float:
    """Return the word error rate in percent, as `results.scoring` counts it; 0 where nothing was said."""
    rate, _ = error_rates(zip(texts, heard, strict=True))
    return 100.0 * (rate or 0.0)
