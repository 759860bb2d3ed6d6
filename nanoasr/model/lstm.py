"""An LSTM with PyTorch's tensor names, gate order and padding: one or two directions, any number of layers."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .. import backend


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

    def _layer(self, layer: int, inputs: list[mx.array]) -> list[mx.array]:
        suffixes = [f"l{layer}{direction}" for direction in self._directions]
        # sigmoid(x) = (1 + tanh(x / 2)) / 2, so one tanh serves all four gates
        half = mx.repeat(mx.array([0.5, 0.5, 1.0, 0.5], inputs[0].dtype), self._hidden_size)
        biases = [half * (self[f"bias_ih_{suffix}"] + self[f"bias_hh_{suffix}"]) for suffix in suffixes]
        given = [(half[:, None] * self[f"weight_ih_{suffix}"]).T for suffix in suffixes]
        recurrent = [(half[:, None] * self[f"weight_hh_{suffix}"]).T for suffix in suffixes]
        inputs = [x.swapaxes(0, 1) for x in inputs]
        if backend.on_cpu:
            weights = [mx.concatenate(pair) for pair in zip(given, recurrent, strict=True)]
            return [_recur_on_cpu(*own) for own in zip(inputs, weights, biases, strict=True)]
        gates = [mx.addmm(bias, x, weight) for x, weight, bias in zip(inputs, given, biases, strict=True)]
        return list(_recur(mx.stack(gates, axis=1), mx.stack(recurrent)))


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


def _recur_on_cpu(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    """Run one direction with weights [D + H, 4 H] over inputs [T, B, D]. Returns the outputs [B, T, H].

    The elementwise part is NumPy's: MLX's on a CPU is not vectorized, and took longer than the products.
    """
    (steps, batch, _), hidden_size = x.shape, weight.shape[1] // 4
    outputs, cell = np.empty((steps, batch, hidden_size), np.float32), np.zeros((batch, hidden_size), np.float32)
    joined = np.zeros((batch, weight.shape[0]), np.float32)  # a step's input and the hidden state
    for step, given in enumerate(np.array(x)):
        joined[:, :-hidden_size] = given
        gates = np.array(mx.addmm(bias, mx.array(joined), weight))
        i, f, g, o = np.split(np.tanh(gates, out=gates), 4, axis=-1)
        cell = ((1 + f) * cell + (1 + i) * g) * 0.5
        outputs[step] = joined[:, -hidden_size:] = (1 + o) * np.tanh(cell) * 0.5
    return mx.array(outputs).swapaxes(0, 1)
