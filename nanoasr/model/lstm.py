"""An LSTM with PyTorch's tensor names, gate order and padding: one or two directions, any number of layers."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .. import backend

_HALF = (0.5, 0.5, 1.0, 0.5)  # sigmoid(x) = (1 + tanh(x / 2)) / 2, so one tanh serves all four gates


class LSTM(nn.Module):
    """Sequences [B, T, D] -> [B, T, H], or [B, T, 2 H] with both directions; padding does not reach the rest."""

    def __init__(self, input_size: int, hidden_size: int, layers: int = 1, bidirectional: bool = False):
        super().__init__()
        self._layers, self._hidden_size = layers, hidden_size
        self._directions = ("", "_reverse") if bidirectional else ("",)
        for layer in range(layers):
            columns = hidden_size * len(self._directions) if layer else input_size
            for direction in self._directions:
                suffix = f"l{layer}{direction}"
                self[f"weight_ih_{suffix}"] = mx.random.normal((4 * hidden_size, columns)) * columns**-0.5
                self[f"weight_hh_{suffix}"] = mx.random.normal((4 * hidden_size, hidden_size)) * hidden_size**-0.5
                self[f"bias_ih_{suffix}"] = self[f"bias_hh_{suffix}"] = mx.zeros(4 * hidden_size)

    def __call__(self, x: mx.array, lengths: mx.array | None = None) -> mx.array:
        """`lengths` [B]: the steps of each row where the batch is padded; outputs in the padding mean nothing."""
        steps = x.shape[1]
        backwards = None
        if len(self._directions) > 1:
            ends = mx.full((x.shape[0],), steps) if lengths is None else lengths
            step = mx.arange(steps)
            # each row's own steps in reverse, its padding where it is
            backwards = mx.where(step < ends[:, None], ends[:, None] - 1 - step, step)[..., None]
        for layer in range(self._layers):
            inputs = [x] if backwards is None else [x, mx.take_along_axis(x, backwards, axis=1)]
            outputs = self._layer(layer, inputs)
            if backwards is not None:
                outputs[1] = mx.take_along_axis(outputs[1], backwards, axis=1)
            x = mx.concatenate(outputs, axis=-1)
        return x

    def on_cpu(self, x: np.ndarray) -> np.ndarray:
        """Run one direction over x [B, T, D] in NumPy on the calling thread, with float32 weights -> [B, T, H]."""
        x = x.swapaxes(0, 1)
        for layer in range(self._layers):
            x = _recur_on_cpu(x, self._joined_weights(f"l{layer}"))
        return x.swapaxes(0, 1)

    def _layer(self, layer: int, inputs: list[mx.array]) -> list[mx.array]:
        suffixes = [f"l{layer}{direction}" for direction in self._directions]
        inputs = [x.swapaxes(0, 1) for x in inputs]
        if backend.on_cpu:
            weights = map(self._joined_weights, suffixes)
            runs = [_recur_on_cpu(np.array(x), own) for x, own in zip(inputs, weights, strict=True)]
            return [mx.array(outputs).swapaxes(0, 1) for outputs in runs]
        half = mx.repeat(mx.array(_HALF, inputs[0].dtype), self._hidden_size)
        biases = [half * (self[f"bias_ih_{suffix}"] + self[f"bias_hh_{suffix}"]) for suffix in suffixes]
        given = [(half[:, None] * self[f"weight_ih_{suffix}"]).T for suffix in suffixes]
        recurrent = [(half[:, None] * self[f"weight_hh_{suffix}"]).T for suffix in suffixes]
        gates = [mx.addmm(bias, x, weight) for x, weight, bias in zip(inputs, given, biases, strict=True)]
        return list(_recur(mx.stack(gates, axis=1), mx.stack(recurrent)))

    def _joined_weights(self, suffix: str) -> np.ndarray:
        """Weights [D + H + 1, 4 H] for a step's input, the hidden state and 1."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        given, recurrent, *biases = (np.array(self[f"{name}_{suffix}"].astype(mx.float32)) for name in names)
        joined = np.concatenate([given.T, recurrent.T, sum(biases)[None]])
        return joined * np.repeat(np.float32(_HALF), self._hidden_size)


def _recur(gates: mx.array, recurrent: mx.array) -> mx.array:
    """Inputs of the gates [T, ..., B, 4 H] and recurrent weights [..., H, 4 H] -> outputs [..., B, T, H]."""
    hidden = cell = mx.zeros((*gates.shape[1:-1], gates.shape[-1] // 4), gates.dtype)
    outputs = []
    for step in range(gates.shape[0]):
        hidden, cell = _cell(gates[step] + hidden @ recurrent, cell)
        outputs.append(hidden)
    return mx.stack(outputs, axis=-2)


@mx.compile
def _cell(gates: mx.array, cell: mx.array) -> tuple[mx.array, mx.array]:
    i, f, g, o = mx.split(mx.tanh(gates), 4, axis=-1)
    cell = ((1 + f) * cell + (1 + i) * g) * 0.5
    return (1 + o) * mx.tanh(cell) * 0.5, cell


def _recur_on_cpu(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Run one direction with joined weights [D + H + 1, 4 H] over inputs [T, B, D] -> outputs [T, B, H].

    NumPy works in place: MLX takes new memory at each step, and its elementwise part is not vectorized on a CPU.
    """
    (steps, batch, width), hidden_size = x.shape, weight.shape[1] // 4
    outputs, cell = np.empty((steps, batch, hidden_size), np.float32), np.zeros((batch, hidden_size), np.float32)
    joined = np.zeros((batch, len(weight)), np.float32)
    joined[:, -1] = 1
    gates = np.empty((batch, 4 * hidden_size), np.float32)
    i, f, g, o = np.split(gates, 4, axis=1)
    for given, hidden in zip(x, outputs, strict=True):
        joined[:, :width] = given
        np.tanh(np.matmul(joined, weight, out=gates), out=gates)
        # cell = ((1 + f) * cell + (1 + i) * g) / 2; hidden = (1 + o) * tanh(cell) / 2
        i += 1
        i *= g
        f += 1
        cell *= f
        cell += i
        cell *= 0.5
        np.tanh(cell, out=hidden)
        o += 1
        hidden *= o
        hidden *= 0.5
        joined[:, width:-1] = hidden
    return outputs
