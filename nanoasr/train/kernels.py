"""Two parts of a training step as one CUDA kernel each: CTC's recursion and the FSMN memory.

On an NVIDIA GPU a step's time goes into launching thousands of small operations, a third of them CTC's recursion, and
`mx.compile` does not fuse inside a gradient.
"""

from functools import cache

import mlx.core as mx

# One block per row, frame after frame; log-probabilities are at least LEAST.
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

# One thread per value.
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
    """Run CTC's recursion over float32 emissions [R, T, S]; returns log-probabilities of at least `least`."""
    rows, _, states = emissions.shape
    threads = min(1024, -(-states // 32) * 32)
    return _kernel("paths", ("emissions", "may_skip"), _PATHS.replace("LEAST", f"{least:e}f"))(
        inputs=[emissions, may_skip],
        grid=(rows * threads, 1, 1),
        threadgroup=(threads, 1, 1),
        output_shapes=[emissions.shape],
        output_dtypes=[mx.float32],
    )[0]


def correlate(v: mx.array, kernel: mx.array) -> mx.array:
    """Correlate each channel of v [B, T, C] with its column of an odd kernel [K, C], zero-padded."""
    return _kernel("correlated", ("v", "kernel"), _CORRELATED)(
        inputs=[v, kernel],
        template=[("T", v.dtype)],
        grid=(v.size, 1, 1),
        threadgroup=(256, 1, 1),
        output_shapes=[v.shape],
        output_dtypes=[v.dtype],
    )[0]


@cache
def _kernel(name: str, inputs: tuple[str, ...], source: str):
    """Return a kernel with one output, `out`."""
    return mx.fast.cuda_kernel(name=name, input_names=inputs, output_names=["out"], source=source)
