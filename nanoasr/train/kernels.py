"""Two parts of a training step that are many small operations, each as one kernel on an NVIDIA GPU.

A step's time goes into launching thousands of operations there, and `mx.compile` does not join them: inside a
gradient it leaves what it compiled as it was written. Of these two, CTC's recursion alone is a third of them.
"""

from ..model.kernels import cuda_kernel

import mlx.core as mx  # isort: skip

# A block takes a row through its frames; log probabilities below LEAST count as it.
_PATHS = """
const int frames = emissions_shape[1], states = emissions_shape[2];
const float* emission = emissions + size_t(blockIdx.x) * frames * states;
const bool* skips = may_skip + size_t(blockIdx.x) * states;
float* now = out + size_t(blockIdx.x) * frames * states;
for (int s = threadIdx.x; s < states; s += blockDim.x) now[s] = s < 2 ? emission[s] : LEAST;
for (int frame = 1; frame < frames; frame++) {
  __syncthreads();
  const float* before = now;
  now += states;
  emission += states;
  for (int s = threadIdx.x; s < states; s += blockDim.x) {
    const float stay = before[s], advance = s > 0 ? before[s - 1] : LEAST;
    const float skip = s > 1 && skips[s] ? before[s - 2] : LEAST;
    const float top = fmaxf(fmaxf(stay, advance), skip);
    const float sum = expf(stay - top) + expf(advance - top) + expf(skip - top);
    now[s] = fmaxf(top + logf(sum) + emission[s], LEAST);
  }
}
"""

# A thread makes one value.
_CORRELATED = """
const int frames = v_shape[1], channels = v_shape[2], taps = kernel_shape[0];
const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
if (i >= size_t(v_shape[0]) * frames * channels) return;
const int channel = i % channels, frame = i / channels % frames;
float sum = 0;
for (int tap = 0; tap < taps; tap++) {
  const int away = tap - taps / 2;
  if (frame + away >= 0 && frame + away < frames)
    sum += static_cast<float>(v[i + away * channels]) * static_cast<float>(kernel[tap * channels + channel]);
}
out[i] = static_cast<T>(sum);
"""


def forward_variables(emissions: mx.array, may_skip: mx.array, least: float) -> mx.array:
    """CTC's recursion over emissions [R, T, S] (float32) -> as many log probabilities, none below `least`."""
    rows, _, states = emissions.shape
    threads = min(1024, -(-states // 32) * 32)
    return cuda_kernel("paths", ("emissions", "may_skip"), _PATHS.replace("LEAST", f"{least:e}f"))(
        inputs=[emissions, may_skip],
        grid=(rows * threads, 1, 1),
        threadgroup=(threads, 1, 1),
        output_shapes=[emissions.shape],
        output_dtypes=[mx.float32],
    )[0]


def correlate(v: mx.array, kernel: mx.array) -> mx.array:
    """Each channel of v [B, T, C] correlated with its column of an odd kernel [K, C], zeros around it."""
    return cuda_kernel("correlated", ("v", "kernel"), _CORRELATED)(
        inputs=[v, kernel],
        template=[("T", v.dtype)],
        grid=(v.size, 1, 1),
        threadgroup=(256, 1, 1),
        output_shapes=[v.shape],
        output_dtypes=[v.dtype],
    )[0]
