"""The decoder's cache: keys and values of each layer, whose rows come and go."""

from collections.abc import Sequence

import mlx.core as mx

from .config import LLMConfig


class Cache:
    """What the decoder remembers of a batch: keys and values of each layer, and how many steps are filled.

    Rows of unequal length stand flush right: `padding` counts the empty steps on each row's left.
    """

    def __init__(self, config: LLMConfig, padding: mx.array | None = None):
        self.layers = [KV() for _ in range(config.num_hidden_layers)]
        self.length = 0
        self.padding = padding

    def rope_offset(self) -> int | mx.array:
        """Return the position of the next step, counted in each row from its own start."""
        return self.length if self.padding is None else self.length - self.padding

    def mask(self, steps: int) -> mx.array | str | None:
        """Return the attention mask of the next `steps` positions."""
        if self.padding is None:
            return "causal" if steps > 1 else None
        seen = mx.arange(self.length + steps)
        query = mx.arange(self.length, self.length + steps)[:, None]
        padding = self.padding[:, None, None]
        # padding looks at padding: a query that may look at nothing would turn into NaN, and spread
        return ((seen <= query) & ((seen >= padding) | (query < padding)))[:, None]

    def drop_last(self, counts: Sequence[int]) -> None:
        """Forget the last `counts[i]` steps of each row; rows that forget more than others move right."""
        least = min(counts)
        self.length -= least
        if max(counts) == least:
            return
        shift = mx.array([count - least for count in counts])
        index = mx.maximum(mx.arange(self.length) - shift[:, None], 0)[:, None, :, None]
        for layer in self.layers:
            layer.keys = mx.take_along_axis(layer.keys[:, :, : self.length], index, axis=2)
            layer.values = mx.take_along_axis(layer.values[:, :, : self.length], index, axis=2)
        self.padding = shift if self.padding is None else self.padding + shift

    def state(self) -> list[mx.array]:
        """Its arrays, for mx.eval."""
        return [array for layer in self.layers for array in (layer.keys, layer.values) if array is not None]

    def keep_rows(self, rows: list[int]) -> None:
        """Keep only these rows of the batch, in this order, and drop steps that are now padding in all."""
        index = mx.array(rows)
        drop = 0
        if self.padding is not None:
            self.padding = self.padding[index]
            drop = int(self.padding.min().item())
            self.padding = self.padding - drop
        for layer in self.layers:
            layer.keys = layer.keys[index, :, drop:]
            layer.values = layer.values[index, :, drop:]
        self.length -= drop

    def join(self, other: "Cache") -> None:
        """Add the rows of `other`, below these; the shorter of the two is padded on its left."""
        length = max(self.length, other.length)
        paddings = []
        for cache in (self, other):
            rows = cache.layers[0].keys.shape[0]
            padding = mx.zeros(rows, dtype=mx.int32) if cache.padding is None else cache.padding
            paddings.append(padding + (length - cache.length))
        for layer, more in zip(self.layers, other.layers, strict=True):
            for name in ("keys", "values"):
                ours, theirs = getattr(layer, name), getattr(more, name)
                joined = _stack(ours[:, :, : self.length], theirs[:, :, : other.length], length)
                setattr(layer, name, joined)
        self.length = length
        self.padding = mx.concatenate(paddings)


def _stack(a: mx.array, b: mx.array, length: int) -> mx.array:
    a, b = (mx.pad(x, [(0, 0), (0, 0), (length - x.shape[2], 0), (0, 0)]) for x in (a, b))
    return mx.concatenate([a, b])


class KV:
    """One layer's keys and values, in buffers that grow by `GROWTH` steps so that most steps copy nothing."""

    GROWTH = 256

    def __init__(self) -> None:
        self.keys: mx.array | None = None
        self.values: mx.array | None = None

    def append(self, k: mx.array, v: mx.array, length: int) -> tuple[mx.array, mx.array]:
        """Write `k` and `v` after the first `length` steps; all up to them come back."""
        steps = k.shape[2]
        end = length + steps
        if length == 0 and steps > 1:
            self.keys, self.values = k, v  # a prompt: room is made when the first step asks for it
            return k, v
        if self.keys is None or end > self.keys.shape[2]:
            room = [(0, 0), (0, 0), (0, -(-steps // self.GROWTH) * self.GROWTH), (0, 0)]
            if self.keys is None:
                self.keys, self.values = mx.zeros_like(k[:, :, :0]), mx.zeros_like(v[:, :, :0])
            self.keys = mx.pad(self.keys[:, :, :length], room)
            self.values = mx.pad(self.values[:, :, :length], room)
        self.keys[:, :, length:end] = k
        self.values[:, :, length:end] = v
        return self.keys[:, :, :end], self.values[:, :, :end]
