"""What each token was chosen from, small enough to send to a page: the likeliest ids, and a histogram of the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..checkpoint.load import Checkpoint
from ..families.nano import NanoInspection
from ..results.words import Token

_KEPT = 300
_BINS = 48
_ROWS = 16  # of logits in memory at once: each is as long as the vocabulary


@dataclass(frozen=True, eq=False)
class Choice:
    """The scores of one step.

    ids, logits   the likeliest, and those that a repetition penalty would change, highest first
    counts        [R] how many of the other ids have a score of about `levels` [R], highest first; a group weighs
                  counts * exp(levels) together
    """

    ids: np.ndarray
    logits: np.ndarray
    counts: np.ndarray
    levels: np.ndarray


def text_choices(
    checkpoint: Checkpoint, x: NanoInspection, tokens: Sequence[Token], window: int = 64
) -> tuple[Choice, ...]:
    """What the language model chose each token from, and at last the end of the text: `tokens` + 1 of them.

    `window` is how many of the last tokens a repetition penalty looks at. Work for the worker thread.
    """
    llm, ids = checkpoint.model.llm, [token.id for token in tokens]
    states = llm(x.embed(llm, ids)[None])[0, -len(ids) - 1 :]
    found: list[Choice] = []
    for start in range(0, len(states), _ROWS):
        rows = np.array(llm.logits(states[start : start + _ROWS]).astype(mx.float32))
        found += [choice(row, ids[max(step - window, 0) : step]) for step, row in enumerate(rows, start)]
    return tuple(found)


def choice(logits: np.ndarray, always: Sequence[int] = ()) -> Choice:
    """Summarize logits [V]; the ids in `always` are kept whatever their score."""
    order = np.argsort(-logits, kind="stable")
    kept = np.zeros(len(logits), bool)
    kept[order[:_KEPT]] = True
    kept[list(always)] = True
    ids, rest = order[kept[order]], logits[~kept].astype(np.float64)
    rest = rest[np.isfinite(rest)]
    if not len(rest):
        return Choice(ids, logits[ids], np.zeros(0, int), np.zeros(0))
    depth = (rest.max() - rest) / max(rest.max() - rest.min(), 1e-6)
    places = (_BINS * (1 - np.sqrt(depth))).astype(int).clip(0, _BINS - 1)  # finer where more weight is
    counts = np.bincount(places, minlength=_BINS)
    weights = np.bincount(places, np.exp(rest - rest.max()), _BINS)
    used = np.flatnonzero(counts)[::-1]
    return Choice(ids, logits[ids], counts[used], np.log(weights[used] / counts[used]) + rest.max())
