"""How far two arrays are apart."""

import mlx.core as mx


def differs(a: mx.array, b: mx.array) -> float:
    """The largest difference, as a share of the largest value of `b`."""
    a, b = a.astype(mx.float32), b.astype(mx.float32)
    return (mx.abs(a - b).max() / mx.abs(b).max()).item()
