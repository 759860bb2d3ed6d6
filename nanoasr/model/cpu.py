"""What Linux CPUs compute otherwise, since MLX takes one scalar at a time in exp and convolutions there."""

import mlx.core as mx

_MAGIC = 12582912.0  # 1.5 * 2**23: added to a float32 and taken away, it rounds to whole numbers
_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # together ln 2; the first has few bits, so products are exact
_LOWEST = -87.0


def attend(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: mx.array | None = None) -> mx.array:
    """Attention of q [B, H, N, D] over k and v [B, H, T, D], as `mx.fast.scaled_dot_product_attention`."""
    scores = (q * scale) @ k.swapaxes(-1, -2)
    if mask is not None:
        scores = mx.where(mask, scores, _LOWEST * 1e4)
    weights = exp(scores - scores.max(axis=-1, keepdims=True))
    return (weights @ v) / weights.sum(axis=-1, keepdims=True)


def depthwise(x: mx.array, weight: mx.array) -> mx.array:
    """Convolve each channel of x [B, T, C] with its weights [C, taps], an odd number; zeros beyond the ends."""
    frames, taps = x.shape[1], weight.shape[1]
    padded = mx.pad(x, [(0, 0), (taps // 2, taps // 2), (0, 0)])
    rows = mx.contiguous(weight.T)
    return sum(padded[:, i : i + frames] * rows[i] for i in range(taps))


def swiglu(gate_up: mx.array) -> mx.array:
    """Return silu(gate) * up of the two halves of the last axis."""
    gate, up = mx.split(gate_up, 2, axis=-1)
    return _gated(gate, up, exp(-mx.abs(gate)))


@mx.compile
def _gated(gate: mx.array, up: mx.array, decay: mx.array) -> mx.array:
    return gate * up * mx.where(gate >= 0, 1.0, decay) / (1 + decay)


@mx.custom_function
def exp(x: mx.array) -> mx.array:
    """Return exp(x) for float32 x <= 0, in operations that compilers vectorize; the least result is exp(-87)."""
    x = mx.maximum(x, _LOWEST)
    power, series = _split(x)
    return _scaled(power.view(mx.int32), series)


@exp.vjp
def _exp_vjp(x: mx.array, cotangent: mx.array, result: mx.array) -> mx.array:
    return cotangent * result


@mx.compile
def _split(x: mx.array) -> tuple[mx.array, mx.array]:
    power = x * _LOG2E + _MAGIC
    n = power - _MAGIC
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    series = 1.9875691500e-4
    for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        series = series * r + coefficient
    return power, series * (r * r) + r + 1


def _scaled(power: mx.array, series: mx.array) -> mx.array:
    return mx.left_shift(power + 127, 23).view(mx.float32) * series
