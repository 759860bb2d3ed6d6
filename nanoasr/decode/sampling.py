"""How the next token is chosen from the model's scores: pure functions over logits [B, V], composed once."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

import mlx.core as mx

from ..errors import OptionError
from ..typed import check_fields

Chooser = Callable[[mx.array, mx.array, "mx.array | None"], mx.array]
_LIMITS = (
    ("temperature", Real, lambda x: 0 <= x <= 100, "a number from 0 to 100"),
    ("top_k", Integral, lambda x: x >= 0, "a whole number, 0 or more"),
    ("top_p", Real, lambda x: 0 < x <= 1, "a number above 0, at most 1"),
    ("min_p", Real, lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    ("repetition_penalty", Real, lambda x: 0 < x <= 100, "a number above 0, at most 100"),
    ("repetition_window", Integral, lambda x: x >= 1, "a whole number, 1 or more"),
    ("no_repeat_ngram", Integral, lambda x: x >= 0, "a whole number, 0 or more"),
    ("max_tokens", Integral, lambda x: 1 <= x <= 4096, "a whole number from 1 to 4096"),
    ("beams", Integral, lambda x: 1 <= x <= 16, "a whole number from 1 to 16"),
    ("length_penalty", Real, lambda x: -10 <= x <= 10, "a number from -10 to 10"),
    ("seed", (Integral, type(None)), lambda x: x is None or 0 <= x < 2**63, "None or a whole number, 0 or more"),
)


@dataclass(frozen=True)
class Sampling:
    """The knobs of decoding. The default is greedy: always the likeliest token.

    temperature         0 for greedy; above 0 draws at random, the flatter the higher
    top_k               draw from the k likeliest only (0: all)
    top_p               draw from the likeliest that together hold this probability (1: all)
    min_p               draw from those at least this share as likely as the likeliest (0: all)
    repetition_penalty  makes tokens of the last `repetition_window` less likely when above 1
    no_repeat_ngram     never write the same n tokens in a row twice (0: allowed)
    max_tokens          the most tokens for one segment
    seed                the same seed gives the same text; None draws anew each time
    beams               above 1 searches for the likeliest text with so many hypotheses (needs temperature 0); the
                        results are in `Segment.nbest`
    length_penalty      of beam search: hypotheses are ranked by log-probability / tokens ** length_penalty
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    repetition_window: int = 64
    no_repeat_ngram: int = 0
    max_tokens: int = 512
    seed: int | None = None
    beams: int = 1
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, _LIMITS)
        if self.beams > 1 and not self.greedy:
            raise OptionError(f"beams={self.beams}: beam search needs temperature=0")

    @property
    def greedy(self) -> bool:
        return self.temperature < 1e-6  # dividing by so little overflows, and would draw the likeliest anyway

    @property
    def looks_back(self) -> bool:
        """Whether a choice depends on what was chosen before."""
        return self.repetition_penalty != 1 or self.no_repeat_ngram > 0


def make_chooser(sampling: Sampling) -> Chooser:
    """Compose a function (logits [B, V], history [B, n], random keys [B, 2]) -> ids [B] of what is asked for."""
    filters: list[Callable[[mx.array], mx.array]] = []
    if sampling.top_k:
        filters.append(lambda logits: keep_top_k(logits, sampling.top_k))
    if sampling.top_p < 1:
        filters.append(lambda logits: keep_top_p(logits, sampling.top_p))
    if sampling.min_p:
        filters.append(lambda logits: keep_min_p(logits, sampling.min_p))

    @mx.compile
    def draw(logits: mx.array, keys: mx.array) -> mx.array:
        logits = logits / sampling.temperature
        for keep in filters:
            logits = keep(logits)
        noise = mx.vmap(lambda key: mx.random.gumbel(logits.shape[1:], key=key))(keys)
        return mx.argmax(logits + noise, axis=-1)

    def choose(logits: mx.array, history: mx.array, keys: mx.array | None) -> mx.array:
        logits = logits.astype(mx.float32)
        if history.shape[1]:
            if sampling.repetition_penalty != 1:
                recent = history[:, -sampling.repetition_window :]
                logits = penalize_repeats(logits, recent, sampling.repetition_penalty)
            if sampling.no_repeat_ngram:
                logits = forbid_ngrams(logits, history, sampling.no_repeat_ngram)
        return mx.argmax(logits, axis=-1) if sampling.greedy else draw(logits, keys)

    return choose


def keep_top_k(logits: mx.array, k: int) -> mx.array:
    """Only the k largest of each row (more where the k-th is tied) stay; the rest become -inf."""
    if k >= logits.shape[-1]:
        return logits
    least = mx.min(mx.topk(logits, k, axis=-1), axis=-1, keepdims=True)
    return mx.where(logits < least, -mx.inf, logits)


def keep_top_p(logits: mx.array, p: float) -> mx.array:
    """Keep the likeliest ids whose probabilities add up to p, the one that reaches p included."""
    order = mx.argsort(-logits, axis=-1)
    probabilities = mx.softmax(mx.take_along_axis(logits, order, axis=-1), axis=-1)
    before = mx.cumsum(probabilities, axis=-1) - probabilities  # what the likelier ones hold together
    drop = mx.put_along_axis(mx.zeros(logits.shape, dtype=mx.bool_), order, before >= p, axis=-1)
    return mx.where(drop, -mx.inf, logits)


def keep_min_p(logits: mx.array, p: float) -> mx.array:
    """Keep the ids at least p times as likely as the likeliest."""
    gap = logits - mx.max(logits, axis=-1, keepdims=True)
    return mx.where(mx.exp(gap) < p, -mx.inf, logits)


def penalize_repeats(logits: mx.array, recent: mx.array, penalty: float) -> mx.array:
    """Scores of the ids in `recent` [B, n] divided by the penalty where positive, multiplied where negative.

    An id of -1 is an empty place.
    """
    ids = mx.where(recent >= 0, recent, logits.shape[1])
    present = _marked(logits, ids)
    return mx.where(present, mx.where(logits > 0, logits / penalty, logits * penalty), logits)


def forbid_ngrams(logits: mx.array, history: mx.array, n: int) -> mx.array:
    """Set ids that would complete an n-gram already in `history` [B, m] to -inf; -1 pads the history."""
    length = history.shape[1]
    if length < n:
        return logits
    starts = mx.arange(length - n + 1)[:, None]
    past = history[:, starts + mx.arange(n)]  # every n-gram so far
    current = history[:, length - n + 1 :]
    seen = mx.all(past[:, :, :-1] == current[:, None], axis=-1) & mx.all(past >= 0, axis=-1)
    ids = mx.where(seen, past[:, :, -1], logits.shape[1])
    return mx.where(_marked(logits, ids), -mx.inf, logits)


def _marked(logits: mx.array, ids: mx.array) -> mx.array:
    """Make a mask shaped like `logits` that is set at `ids`; an id past the end sets nothing."""
    spread = mx.zeros((logits.shape[0], logits.shape[1] + 1), dtype=mx.bool_)
    return mx.put_along_axis(spread, ids, mx.array(True), axis=-1)[:, :-1]
