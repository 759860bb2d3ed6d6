"""An LSTM with PyTorch's tensor names, gate order and padding: one or two directions, any number of layers."""

import mlx.core as mx
import mlx.nn as nn


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
        """Both directions advance together, one batched product a step."""
        suffixes = [f"l{layer}{direction}" for direction in self._directions]
        gates = mx.stack(
            [
                mx.addmm(self[f"bias_ih_{s}"] + self[f"bias_hh_{s}"], x, self[f"weight_ih_{s}"].T)
                for s, x in zip(suffixes, inputs, strict=True)
            ]
        )
        recurrent = mx.stack([self[f"weight_hh_{s}"].T for s in suffixes])
        hidden = cell = mx.zeros((len(inputs), inputs[0].shape[0], self._hidden_size), gates.dtype)
        outputs = []
        for step in range(gates.shape[2]):
            i, f, g, o = mx.split(gates[:, :, step] + hidden @ recurrent, 4, axis=-1)
            cell = mx.sigmoid(f) * cell + mx.sigmoid(i) * mx.tanh(g)
            hidden = mx.sigmoid(o) * mx.tanh(cell)
            outputs.append(hidden)
        return list(mx.stack(outputs, axis=2))
