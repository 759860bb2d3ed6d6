"""Continuous integrate-and-fire (CIF): how Paraformer decides how many tokens there are, and where.

Every encoded frame gets a weight from 0 to 1. The weights are summed over time, and each time the sum passes a whole
number a token fires: its embedding is the sum of the frames since the last one, times their weights. A frame at
which one fires is split between two tokens.
"""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .config import PredictorConfig


class Predictor(nn.Module):
    """Encoded frames -> weights (`CifPredictorV2`, and the first half of `CifPredictorV3`)."""

    def __init__(self, config: PredictorConfig):
        super().__init__()
        self.config = config
        taps = config.l_order + config.r_order + 1
        self.cif_conv1d = nn.Conv1d(config.idim, config.idim, taps)
        self.cif_output = nn.Linear(config.idim, 1)

    def __call__(self, encoded: mx.array, lengths: mx.array | None = None) -> mx.array:
        """Compute float32 weights [B, T + 1] from encoded frames [B, T, D]; a tail step follows each row's frames.

        Frames beyond `lengths` must be zero, since the convolution sees them.
        """
        batch, frames, _ = encoded.shape
        config = self.config
        lengths = mx.full((batch,), frames) if lengths is None else lengths
        x = mx.pad(encoded, [(0, 0), (config.l_order, config.r_order), (0, 0)])
        x = self.cif_output(mx.maximum(self.cif_conv1d(x), 0)).squeeze(-1)
        alphas = cif_weights(x, config.smooth_factor, config.noise_threshold)
        alphas = mx.pad(mx.where(mx.arange(frames) < lengths[:, None], alphas, 0), [(0, 0), (0, 1)])
        return mx.where(mx.arange(frames + 1) == lengths[:, None], config.tail_threshold, alphas)


def cif_weights(x: mx.array, smooth_factor: float, noise_threshold: float) -> mx.array:
    """Scores -> weights: relu(sigmoid(x) * smooth_factor - noise_threshold), in float32."""
    return mx.maximum(mx.sigmoid(x.astype(mx.float32)) * smooth_factor - noise_threshold, 0)


@dataclass(frozen=True)
class Firing:
    """Where the tokens of a batch fire.

    counts   [B], tokens of each row
    peaks    [B, T], the running sum at each frame before a fired token is taken off: 1 or more where one fires
    shares   [B, N, T], the share of each frame in each token; zero for tokens beyond `counts`
    """

    counts: np.ndarray
    peaks: np.ndarray
    shares: np.ndarray


def fire(alphas: np.ndarray) -> Firing:
    """Integrate weights [B, T] and fire at whole numbers; float64 sums, as an error would add or lose a token."""
    total = np.cumsum(alphas, axis=1, dtype=np.float64)
    rounded = total.astype(
        np.float32
    )  # FunASR rounds here: without it, weights that sum to a whole number may not fire
    counts = np.floor(rounded[:, -1]).astype(np.int64)
    token = np.arange(counts.max(initial=0))[:, None]
    before = total - alphas
    overlap = np.minimum(total[:, None], token + 1) - np.maximum(before[:, None], token)
    shares = np.maximum(overlap, 0) * (token < counts[:, None, None])
    return Firing(counts, running_sums(alphas, 1.0).astype(np.float32), shares.astype(np.float32))


def running_sums(alphas: np.ndarray, threshold: float) -> np.ndarray:
    """Sum weights [B, T] up, less `threshold` after each frame at which it is reached."""
    total = np.cumsum(alphas, axis=-1, dtype=np.float64)
    fired = np.floor(total.astype(np.float32) / np.float32(threshold))
    before = np.concatenate([np.zeros_like(fired[..., :1]), fired[..., :-1]], axis=-1)
    return total - threshold * before
