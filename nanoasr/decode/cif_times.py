"""When each token of a Paraformer was said, from CIF weights: FunASR's `ts_prediction_lfr6_standard`."""

import numpy as np

from ..model.cif import running_sums

_THRESHOLD = 1.0 - 1e-4
_SHIFT = -1.5  # steps by which tokens begin before their weights peak
_LONGEST = 12  # steps; what follows until the next token is silence
_END_SILENCE = 5  # steps after the last peak, from which on the last token ends halfway


def cif_times(alphas: np.ndarray, peaks: np.ndarray, count: int, step: float) -> list[tuple[float, float]]:
    """Weights [T] and running sums [T], `step` seconds apart -> (start, end) in seconds of each of `count` tokens.

    A token lasts from one peak to the next; where the peaks are not one more than the tokens, the weights are scaled
    so that they are. Fewer pairs come back where there are too few peaks.
    """
    fired = np.flatnonzero(peaks >= _THRESHOLD)
    if len(fired) != count + 1 and alphas.any():
        fired = np.flatnonzero(running_sums(alphas / (alphas.sum() / (count + 1)), _THRESHOLD) >= _THRESHOLD)
    if len(fired) < 2:
        return []
    starts, ends = fired[:-1] + _SHIFT, fired[1:] + _SHIFT
    cut = ends - starts > _LONGEST
    if not cut[-1]:
        silent = len(peaks) - ends[-1] > _END_SILENCE
        ends[-1] = (len(peaks) + ends[-1]) / 2 if silent else len(peaks)
    ends = np.where(cut, starts + _LONGEST, ends)
    times = np.maximum(np.stack([starts, ends], axis=1) * step, 0)[:count].round(4)
    return [(float(start), float(end)) for start, end in times]
