"""An LSTM with PyTorch's tensor names, gate order and padding: one or two directions, any number of layers."""

import mlx.core as mx
import mlx.nn as nn

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
        # sigmoid(x) = (1 + tanh(x / 2)) / 2, so one tanh serves all four gates
        half = mx.repeat(mx.array([0.5, 0.5, 1.0, 0.5], inputs[0].dtype), self._hidden_size)
        gates, recurrent = [], []
        for suffix, x in zip((f"l{layer}{direction}" for direction in self._directions), inputs, strict=True):
            bias = half * (self[f"bias_ih_{suffix}"] + self[f"bias_hh_{suffix}"])
            gates.append(mx.addmm(bias, x.swapaxes(0, 1), (half[:, None] * self[f"weight_ih_{suffix}"]).T))
            recurrent.append(mx.contiguous((half[:, None] * self[f"weight_hh_{suffix}"]).T))
        if backend.on_cpu:  # one direction at a time, so that its weights stay in the processor's cache
            return [_recur(own, weight) for own, weight in zip(gates, recurrent, strict=True)]
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
    i, f, g, o = mx.split(_tanh(gates), 4, axis=-1)
    cell = ((1 + f) * cell + (1 + i) * g) * 0.5
    return (1 + o) * _tanh(cell) * 0.5, cell


# tanh as Eigen's quotient of polynomials, exact to 3e-7: odd powers from 1 over even powers from 0.
_ODD = (4.89352455891786e-3, 6.37261928875436e-4, 1.48572235717979e-5, 5.12229709037114e-8, -8.60467152213735e-11)
_ODD += (2.00018790482477e-13, -2.76076847742355e-16)
_EVEN = (4.89352518554385e-3, 2.26843463243900e-3, 1.18534705686654e-4, 1.19825839466702e-6)


def _tanh(x: mx.array) -> mx.array:
    if not backend.on_cpu:
        return mx.tanh(x)
    x = mx.clip(x, -7.9, 7.9)  # MLX's own takes 17 ns a number on a Linux CPU, three times what the products take
    square = x * x
    odd, even = _ODD[-1], _EVEN[-1]
    for factor in _ODD[-2::-1]:
        odd = odd * square + factor
    for factor in _EVEN[-2::-1]:
        even = even * square + factor
    return x * odd / even
