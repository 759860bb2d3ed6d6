"""The GE2E voice encoder (Resemblyzer's `VoiceEncoder`): three LSTM layers over mel energies, one vector a window."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .lstm import LSTM


class VoiceEncoder(nn.Module):
    """Mel energies [B, T, mel_bins] -> embeddings [B, embedding_size] of length 1."""

    def __init__(self, mel_bins: int = 40, hidden_size: int = 256, layers: int = 3, embedding_size: int = 256):
        super().__init__()
        self.lstm = LSTM(mel_bins, hidden_size, layers)
        self.linear = nn.Linear(hidden_size, embedding_size)

    def __call__(self, mel: mx.array) -> mx.array:
        x = mx.maximum(self.linear(self.lstm(mel)[:, -1]), 0)
        return x / mx.maximum(mx.linalg.norm(x, axis=-1, keepdims=True), 1e-8)

    def on_cpu(self, mel: np.ndarray) -> np.ndarray:
        """Compute the same in NumPy on the calling thread."""
        x = np.maximum(self.lstm.on_cpu(mel)[:, -1] @ np.array(self.linear.weight).T + np.array(self.linear.bias), 0)
        return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-8)
