"""The second CIF of `BiCifParaformer`: weights at three times the frame rate, for times of tokens only."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .cif import Predictor, cif_weights, running_sums
from .config import PredictorConfig, UpsampledConfig
from .lstm import LSTM

_THRESHOLD = 1.0 - 1e-4  # FunASR's, so that rounding does not lose the last token


class BiPredictor(Predictor):
    """`CifPredictorV3`: the weights of `Predictor`, and upsampled ones."""

    def __init__(self, config: PredictorConfig, upsampled: UpsampledConfig):
        super().__init__(config)
        self.upsampled = upsampled
        size = upsampled.idim
        self.upsample_cnn = nn.ConvTranspose1d(size, size, upsampled.upsample_times, upsampled.upsample_times)
        self.blstm = LSTM(size, size, bidirectional=True)
        self.cif_output2 = nn.Linear(2 * size, 1)

    def upsampled_weights(self, encoded: mx.array, lengths: mx.array | None = None) -> mx.array:
        """Compute float32 weights [B, 3 T] from encoded frames [B, T, D]."""
        batch, frames, size = encoded.shape
        times = self.upsampled.upsample_times
        # a transposed convolution whose kernels do not overlap is one product
        weight = self.upsample_cnn.weight  # [out, times, in]
        x = encoded @ weight.transpose(2, 1, 0).reshape(size, -1)
        x = x.reshape(batch, frames * times, size) + self.upsample_cnn.bias
        steps = None if lengths is None else lengths * times
        x = self.cif_output2(self.blstm(x, steps)).squeeze(-1)
        alphas = cif_weights(x, self.upsampled.smooth_factor2, self.upsampled.noise_threshold2)
        return alphas if steps is None else mx.where(mx.arange(frames * times) < steps[:, None], alphas, 0)


def scale_and_integrate(up_alphas: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale weights [B, 3 T] so that each row sums to its number of tokens -> (weights, running sums)."""
    total = np.maximum(up_alphas.sum(axis=1, dtype=np.float32), np.finfo(np.float32).tiny)
    scaled = up_alphas * (counts.astype(np.float32) / total)[:, None]
    return scaled, running_sums(scaled, _THRESHOLD).astype(np.float32)
