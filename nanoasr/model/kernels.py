"""What surrounds a layer's attention, for a single token on an NVIDIA GPU: five kernels instead of twelve.

The weights of a 0.6 B decoder are read in a quarter of a millisecond there; a step takes ten times as long, because
hundreds of small operations wait for each other. So norms are computed by the products that need them (each block
does it anew, which costs less than waiting would), and gates and sums by the products they follow.
"""

from functools import cache

import mlx.core as mx
import mlx.nn as nn

from .. import backend

_WARPS = 8  # of a block; each computes one row of a product

# T, K (a row's length) and what else is written in capitals stands in the kernels' templates.
_SUM_OF_WARP = """
auto sum_of_warp = [](float x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffff, x, step);
  return x;
};
"""

# A warp reads a row in pieces of 16 bytes, all of them at once.
_ROWS = """
constexpr int V = 16 / sizeof(T), PIECES = K / (32 * V);
struct alignas(16) Piece { T at[V]; };
const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = blockIdx.x * WARPS + warp;
auto read = [&](Piece* pieces, int row) {
  const Piece* from = reinterpret_cast<const Piece*>(weight) + size_t(row) * (K / V);
  for (int p = 0; p < PIECES; p++) pieces[p] = from[p * 32 + lane];
};
auto product = [&](const Piece* pieces, const T* x) {
  float sum = 0;
  for (int p = 0; p < PIECES; p++) {
    const Piece at = reinterpret_cast<const Piece*>(x)[p * 32 + lane];
    for (int v = 0; v < V; v++) sum += static_cast<float>(pieces[p].at[v]) * static_cast<float>(at.at[v]);
  }
  return sum_of_warp(sum);
};
"""

# weight @ rms_norm(x); GATED: of its first half of rows silu, times the second half
_NORMED = """
Piece own[PIECES], gated[GATED ? PIECES : 1];
read(own, row);
if constexpr (GATED) read(gated, row + ROWS);

__shared__ alignas(16) T normed[K];
__shared__ float sums[WARPS];
float sum = 0;
for (int i = threadIdx.x; i < K; i += 32 * WARPS) sum += static_cast<float>(x[i]) * static_cast<float>(x[i]);
sum = sum_of_warp(sum);
if (lane == 0) sums[warp] = sum;
__syncthreads();
sum = 0;
for (int i = 0; i < WARPS; i++) sum += sums[i];
const float scale = rsqrtf(sum / K + EPS);
for (int i = threadIdx.x; i < K; i += 32 * WARPS)
  normed[i] = static_cast<T>(static_cast<float>(x[i]) * scale * static_cast<float>(norm[i]));
__syncthreads();

float y = product(own, normed);
if constexpr (GATED) y *= product(gated, normed) / (1 + expf(-y));
if (lane == 0) out[row] = static_cast<T>(y);
"""

# weight @ x + residual
_ADDED = """
Piece own[PIECES];
read(own, row);
const float y = product(own, x);
if (lane == 0) out[row] = static_cast<T>(static_cast<float>(residual[row]) + y);
"""

# rope(rms_norm(heads)) of queries and keys; values as they are. A warp does a head.
_ROTATED = """
const int lane = threadIdx.x, head = blockIdx.y;
const T *from = qkv + head * D, *norm = head < HEADS ? q_norm : k_norm;
T* to = out + head * D;
if (head >= HEADS + KV_HEADS) {
  for (int i = lane; i < D; i += 32) to[i] = from[i];
  return;
}
float sum = 0;
for (int i = lane; i < D; i += 32) sum += static_cast<float>(from[i]) * static_cast<float>(from[i]);
sum = sum_of_warp(sum);
const float scale = rsqrtf(sum / D + EPS);
for (int i = lane; i < D / 2; i += 32) {
  const int j = i + D / 2;
  const float a = static_cast<float>(from[i]) * scale * static_cast<float>(norm[i]);
  const float b = static_cast<float>(from[j]) * scale * static_cast<float>(norm[j]);
  const float angle = static_cast<float>(offset[0]) * exp2f(-log2f(THETA) * i / (D / 2));
  to[i] = static_cast<T>(a * cosf(angle) - b * sinf(angle));
  to[j] = static_cast<T>(a * sinf(angle) + b * cosf(angle));
}
"""


def fit(layer: nn.Module) -> bool:
    """Return True if these kernels can take a single token through such a layer on the device in use."""
    if not backend.on_cuda:
        return False
    attention, mlp = layer.self_attn, layer.mlp
    parts = attention.qkv_proj, attention.o_proj, mlp.gate_up_proj, mlp.down_proj
    return all(
        type(part) is nn.Linear
        and part.weight.shape[0] % (2 * _WARPS) == 0
        and part.weight.shape[1] * part.weight.itemsize % (32 * 16) == 0
        for part in parts
    )


def before_attention(
    layer: nn.Module, x: mx.array, qk_scale: mx.array, offset: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    """Do the same as `Layer.before_attention` for x [1, 1, hidden_size]."""
    attention = layer.self_attn
    qkv = _normed_product(x, layer.input_layernorm, attention.qkv_proj.weight)
    heads, kv_heads, dim = attention.heads, attention.kv_heads, attention.head_dim
    source = _SUM_OF_WARP + _ROTATED.replace("EPS", f"{attention.q_norm.eps}f").replace(
        "THETA", f"{float(attention.theta)}f"
    )
    qkv = cuda_kernel("rotated", ("qkv", "q_norm", "k_norm", "offset"), source)(
        inputs=[qkv, attention.q_norm.weight, attention.k_norm.weight, offset],
        template=[("T", x.dtype), ("HEADS", heads), ("KV_HEADS", kv_heads), ("D", dim)],
        grid=(32, heads + 2 * kv_heads, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[(1, heads + 2 * kv_heads, 1, dim)],
        output_dtypes=[x.dtype],
    )[0]
    return tuple(mx.split(qkv, [heads, heads + kv_heads], axis=1))


def after_attention(layer: nn.Module, x: mx.array, mixed: mx.array) -> mx.array:
    """Do the same as `Layer.after_attention` for x [1, 1, hidden_size]."""
    mlp = layer.mlp
    x = _added_product(mixed, layer.self_attn.o_proj.weight, x)
    gated = _normed_product(x, layer.post_attention_layernorm, mlp.gate_up_proj.weight, gated=True)
    return _added_product(gated, mlp.down_proj.weight, x)


def _normed_product(x: mx.array, norm: nn.RMSNorm, weight: mx.array, gated: bool = False) -> mx.array:
    rows, width = weight.shape[0] // (2 if gated else 1), weight.shape[1]
    source = _SUM_OF_WARP + _ROWS + _NORMED.replace("EPS", f"{norm.eps}f")
    kernel = cuda_kernel("normed", ("x", "norm", "weight"), source)
    template = [("T", x.dtype), ("K", width), ("ROWS", rows), ("GATED", gated), ("WARPS", _WARPS)]
    return _launch(kernel, [x, norm.weight, weight], template, rows)


def _added_product(x: mx.array, weight: mx.array, residual: mx.array) -> mx.array:
    kernel = cuda_kernel("added", ("x", "weight", "residual"), _SUM_OF_WARP + _ROWS + _ADDED)
    template = [("T", x.dtype), ("K", weight.shape[1]), ("WARPS", _WARPS)]
    return _launch(kernel, [x, weight, residual], template, weight.shape[0])


def _launch(kernel, inputs: list[mx.array], template: list[tuple], rows: int) -> mx.array:
    return kernel(
        inputs=inputs,
        template=template,
        grid=(rows * 32, 1, 1),
        threadgroup=(32 * _WARPS, 1, 1),
        output_shapes=[(1, 1, rows)],
        output_dtypes=[inputs[0].dtype],
    )[0]


@cache
def cuda_kernel(name: str, inputs: tuple[str, ...], source: str):
    """Make a kernel with one output, `out`, once; training's kernels are made by this too."""
    return mx.fast.cuda_kernel(name=name, input_names=inputs, output_names=["out"], source=source)
