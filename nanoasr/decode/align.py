"""When each piece of a text was said, by the CTC branch's probabilities of its units in every frame."""

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..checkpoint.ctc_tokens import Piece
from ..results.words import word_starts
from .boundaries import word_edges

FRAME_SECONDS = 0.06
# LFR frame i is centred on filterbank frame 6 i, and that on the middle of its 25 ms
_CENTRE = 0.0125


@dataclass(frozen=True)
class Aligned:
    """The frames of one unit, `end` not included, and how sure of it the model was: its best frame's probability."""

    start: int
    end: int
    confidence: float


def align(logprobs: np.ndarray, targets: Sequence[int], blank: int) -> list[Aligned] | None:
    """Find the likeliest frames of every target in log-probabilities [T, V]; None where they do not fit."""
    return align_columns(logprobs[:, [blank, *targets]], targets)


def align_columns(logprobs: np.ndarray, targets: Sequence[int]) -> list[Aligned] | None:
    """`align` for log-probabilities [T, 1 + len(targets)] of blank and of each target."""
    frames, count = len(logprobs), len(targets)
    if not count:
        return []
    if count > frames:
        return None
    states = np.zeros(2 * count + 1, int)  # columns: blank, the first target, blank, the second, …
    states[1::2] = np.arange(count) + 1
    emissions = logprobs[:, states].astype(np.float64)
    skip = np.full(len(states), -np.inf)  # 0 where the blank before a target may be left out
    skip[3::2][np.diff(targets) != 0] = 0
    scores = np.full((frames, 2 + len(states)), -np.inf)  # two impossible states before the first
    scores[0, 2:4] = emissions[0, :2]
    best = np.empty(len(states))
    for before, after, emission in zip(scores, scores[1:, 2:], emissions[1:], strict=False):
        np.add(before[:-2], skip, out=best)
        np.maximum(best, before[1:-1], out=best)
        np.maximum(best, before[2:], out=best)
        np.add(best, emission, out=after)
    state = len(states) - 1 if scores[-1, -1] >= scores[-1, -2] else len(states) - 2
    if not np.isfinite(scores[-1, 2 + state]):
        return None
    path = np.empty(frames, int)
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        skipped, stepped, stayed = scores[frame - 1, state : state + 3].tolist()
        skipped += skip[state]
        if stayed < max(stepped, skipped):
            state -= 1 if stepped >= skipped else 2
    units = np.arange(count) * 2 + 1
    starts, ends = np.searchsorted(path, units), np.searchsorted(path, units, side="right")
    found = []
    for unit, start, end in zip(units, starts.tolist(), ends.tolist(), strict=True):
        found.append(Aligned(start, end, float(np.exp(emissions[start:end, unit].max()))))
    return found


def token_times(
    token_texts: Sequence[str],
    text: str,
    pieces: Sequence[Piece],
    logprobs: np.ndarray,
    samples: np.ndarray,
    offset: float = 0.0,
) -> list[tuple[float, float, float] | None]:
    """Find (start, end, confidence) of each token, in seconds from `offset`; None for tokens without text.

    `text` is what the tokens spell, up to white space and marks that were taken out of it, and `pieces` the CTC
    branch's units of it; `logprobs` [T, 1 + len(pieces)] are those of blank and of each piece. Word boundaries are
    looked for in `samples`.
    """
    nothing: list[tuple[float, float, float] | None] = [None] * len(token_texts)
    aligned = align_columns(logprobs, [piece.id for piece in pieces])
    if not aligned:
        return nothing
    owners = _owners(token_texts, text)
    if owners is None:
        return nothing
    times = _piece_times(text, pieces, aligned, samples)
    spans: dict[int, list[int]] = {}
    for i, piece in enumerate(pieces):
        for token in {owners[char] for char in range(piece.start, piece.end)} - {None}:
            spans.setdefault(token, []).append(i)
    return [
        (
            offset + times[spans[token][0]][0],
            offset + times[spans[token][-1]][1],
            min(aligned[i].confidence for i in spans[token]),
        )
        if token in spans
        else None
        for token in range(len(token_texts))
    ]


def _piece_times(
    text: str, pieces: Sequence[Piece], aligned: Sequence[Aligned], samples: np.ndarray
) -> list[tuple[float, float]]:
    """Start and end of every piece: words have theirs from the sound, pieces share the word that they are of."""
    starts = word_starts(text)
    words = [bisect_left(starts, piece.end) for piece in pieces]  # the word that each ends in
    groups = [list(group) for _, group in itertools.groupby(range(len(pieces)), words.__getitem__)]
    centres = [(unit.start + unit.end - 1) / 2 * FRAME_SECONDS + _CENTRE for unit in aligned]
    recognized = [(centres[group[0]], centres[group[-1]]) for group in groups]
    letters = [len(text[pieces[group[0]].start : pieces[group[-1]].end].strip()) for group in groups]
    times = []
    for group, (start, end) in zip(groups, word_edges(samples, recognized, letters), strict=True):
        cuts = [start, *(centres[i] - FRAME_SECONDS / 2 for i in group[1:]), end]
        if any(later <= earlier for earlier, later in itertools.pairwise(cuts)):  # recognized early or late: by length
            lengths = [0, *(pieces[i].end - pieces[i].start for i in group)]
            cuts = [start + (end - start) * share for share in np.cumsum(lengths) / max(1, sum(lengths))]
        times += [(float(a), float(b)) for a, b in itertools.pairwise(cuts)]
    return times


def _owners(token_texts: Sequence[str], text: str) -> list[int | None] | None:
    """Find which token wrote each character of `text` (None: white space); None if they did not write it."""
    written = [(char, token) for token, piece in enumerate(token_texts) for char in piece if not char.isspace()]
    owners: list[int | None] = []
    place = 0
    for char in text:
        if char.isspace():
            owners.append(None)
            continue
        while place < len(written) and written[place][0] != char:  # part of a mark that was taken out
            place += 1
        if place == len(written):
            return None
        owners.append(written[place][1])
        place += 1
    return owners
