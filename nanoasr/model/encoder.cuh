// SAN-M blocks over one recording as a single kernel. In each the blocks of threads wait for each other five times: for
// queries, keys and values; attention and memory; output; the two products of the feed-forward network.

namespace encoder {

using namespace blocks;

// softmax(q . k / sqrt(D)) . v of rows [frames, 3 * HEADS * D]. A block takes 16 frames of a head: its warps share the
// keys first, then the numbers of the result.
template <int HEADS, int D>
__device__ void attend(const bf16* qkv, int frames, bf16* out, float* shared) {
  constexpr int ROW = 3 * HEADS * D, KB = D / 32, AHEAD = 4;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int width = (frames + 15) / 16 * 16, stride = width + 8;
  float* scores = shared;
  bf16* shares = reinterpret_cast<bf16*>(scores + 16 * width);

  for (int task = blockIdx.x; task < width / 16 * HEADS; task += gridDim.x) {
    const int head = task % HEADS, first = task / HEADS * 16;
    Piece q[KB][2];
#pragma unroll
    for (int kb = 0; kb < KB; kb++)
#pragma unroll
      for (int half = 0; half < 2; half++)
        q[kb][half] = load(qkv + size_t(min(first + half * 8 + g, frames - 1)) * ROW + head * D + kb * 32 + 8 * t);
    for (int from = warp * 8; from < width; from += WARPS * AHEAD * 8) {
      Piece k[AHEAD][KB];
#pragma unroll
      for (int u = 0; u < AHEAD; u++)
#pragma unroll
        for (int kb = 0; kb < KB; kb++)
          k[u][kb] = load(qkv + size_t(min(from + u * WARPS * 8 + g, frames - 1)) * ROW + (HEADS + head) * D +
                          kb * 32 + 8 * t);
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        float sum[4] = {};
#pragma unroll
        for (int kb = 0; kb < KB; kb++) multiply(sum, q[kb], k[u][kb]);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int s = from + u * WARPS * 8 + 2 * t + i % 2;
          if (s < width) scores[(g + i / 2 * 8) * width + s] = s < frames ? sum[i] * rsqrtf(D) : LEAST;
        }
      }
    }
    __syncthreads();
    for (int r = warp; r < 16; r += WARPS) {
      float highest = LEAST, total = 0;
      for (int s = lane; s < width; s += 32) highest = fmaxf(highest, scores[r * width + s]);
      for (int step = 16; step > 0; step /= 2) highest = fmaxf(highest, __shfl_xor_sync(0xffffffff, highest, step));
      for (int s = lane; s < width; s += 32) total += scores[r * width + s] = __expf(scores[r * width + s] - highest);
      total = sum_over<32>(total);
      for (int s = lane; s < width; s += 32) shares[r * stride + s] = __float2bfloat16(scores[r * width + s] / total);
    }
    __syncthreads();
    for (int tile = warp; tile < D / 8; tile += WARPS) {
      const unsigned short* v = reinterpret_cast<const unsigned short*>(qkv + (2 * HEADS + head) * D + tile * 8 + g);
      auto share = [&](int row, int s) { return *reinterpret_cast<const unsigned*>(shares + row * stride + s); };
      float sum[4] = {};
#pragma unroll 4
      for (int s = 2 * t; s < width; s += 16) {
        unsigned b[2];
#pragma unroll
        for (int i = 0; i < 2; i++)
          b[i] = __ldcg(v + size_t(min(s + 8 * i, frames - 1)) * ROW) |
                 unsigned(__ldcg(v + size_t(min(s + 8 * i + 1, frames - 1)) * ROW)) << 16;
        multiply(sum, share(g, s), share(g + 8, s), share(g, s + 8), share(g + 8, s + 8), b[0], b[1]);
      }
      for (int half = 0; half < 2; half++)
        if (first + half * 8 + g < frames)
          *reinterpret_cast<unsigned*>(out + size_t(first + half * 8 + g) * HEADS * D + head * D + tile * 8 + 2 * t) =
              packed(sum[2 * half], sum[2 * half + 1]);
    }
    __syncthreads();
  }
}

// The values and their depthwise convolution with `kernel` [TAPS, SIZE].
template <int SIZE, int TAPS>
__device__ void remember(const bf16* qkv, const bf16* kernel, int frames, bf16* out) {
  for (int e = blockIdx.x * THREADS + threadIdx.x; e < frames * (SIZE / 8); e += gridDim.x * THREADS) {
    const int frame = e / (SIZE / 8), channel = e % (SIZE / 8) * 8;
    float sum[8];
    load_floats<8>(qkv + size_t(frame) * 3 * SIZE + 2 * SIZE + channel, sum);
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
      const int other = frame + tap - TAPS / 2;
      if (other < 0 || other >= frames) continue;
      float v[8], by[8];
      load_floats<8>(qkv + size_t(other) * 3 * SIZE + 2 * SIZE + channel, v);
      load_floats<8>(kernel + tap * SIZE + channel, by);
      for (int i = 0; i < 8; i++) sum[i] += v[i] * by[i];
    }
    uint4 packs = {packed(sum[0], sum[1]), packed(sum[2], sum[3]), packed(sum[4], sum[5]), packed(sum[6], sum[7])};
    *reinterpret_cast<uint4*>(out + size_t(frame) * SIZE + channel) = packs;
  }
}

struct Weights {  // of all blocks, one after the other; norms' factors and biases are in `qkv`, `up` and `vectors`
  const bf16 *qkv, *output, *up, *down, *memory;
  const float* vectors;  // [3 SIZE sums, 3 SIZE biases of qkv; FF sums, FF biases of up; biases of output and down]
};

// x [frames, SIZE] -> out; scratch holds a frame's 3 SIZE + SIZE + SIZE + SIZE + FF numbers.
template <int SIZE, int HEADS, int FF, int TAPS>
__device__ void pass(const bf16* x, Weights w, int layers, int frames, unsigned* arrived, float eps, bf16* out,
                     bf16* scratch) {
  constexpr int MT = 2, VECTORS = 8 * SIZE + 2 * FF;
  using QKV = Weight<SIZE, 3, false>;
  using Output = Weight<SIZE, 1, false>;
  using Up = Weight<SIZE, 4, false>;
  using Down = Weight<FF, 1, false>;
  extern __shared__ uint4 shared[];
  Piece *one = reinterpret_cast<Piece*>(shared), *other = one + Up::BYTES / sizeof(Piece);
  float* rest = reinterpret_cast<float*>(other + Down::BYTES / sizeof(Piece));
  bf16 *qkv = scratch, *mixed = qkv + size_t(frames) * 3 * SIZE, *memory = mixed + size_t(frames) * SIZE;
  bf16 *middle = memory + size_t(frames) * SIZE, *hidden = middle + size_t(frames) * SIZE;
  Grid grid{arrived};

  QKV{w.qkv, 3 * SIZE}.fetch(one);
  for (int layer = 0; layer < layers; layer++) {
    const bf16* in = layer ? out : x;
    const float *qkv_sums = w.vectors + size_t(layer) * VECTORS, *qkv_bias = qkv_sums + 3 * SIZE;
    const float *up_sums = qkv_bias + 3 * SIZE, *up_bias = up_sums + FF, *output_bias = up_bias + FF;
    const float* down_bias = output_bias + SIZE;
    const QKV into_heads{w.qkv + size_t(layer) * 3 * SIZE * SIZE, 3 * SIZE};
    const Output output{w.output + size_t(layer) * SIZE * SIZE, SIZE};
    const Up up{w.up + size_t(layer) * FF * SIZE, FF};
    const Down down{w.down + size_t(layer) * SIZE * FF, SIZE};

    grid.arrive();
    output.fetch(other);
    fetched<1>();
    grid.wait();
    product<MT>(in, LayerNorm{qkv_sums, eps}, into_heads, one, frames, rest, [&](int m, int row, float y) {
      qkv[size_t(m) * 3 * SIZE + row] = __float2bfloat16(y + qkv_bias[row]);
    });

    grid.arrive();
    up.fetch(one);
    grid.wait();
    attend<HEADS, SIZE / HEADS>(qkv, frames, mixed, rest);
    remember<SIZE, TAPS>(qkv, w.memory + size_t(layer) * TAPS * SIZE, frames, memory);

    grid.arrive();
    fetched<1>();
    grid.wait();
    product<MT>(mixed, Plain{}, output, other, frames, rest, [&](int m, int row, float y) {
      const size_t i = size_t(m) * SIZE + row;
      middle[i] = __float2bfloat16(y + output_bias[row] + load_one(memory + i) + load_one(in + i));
    });

    grid.arrive();
    down.fetch(other);
    fetched<1>();
    grid.wait();
    product<MT>(middle, LayerNorm{up_sums, eps}, up, one, frames, rest, [&](int m, int row, float y) {
      hidden[size_t(m) * FF + row] = __float2bfloat16(fmaxf(y + up_bias[row], 0.0f));
    });

    grid.arrive();
    if (layer + 1 < layers) QKV{into_heads.from + size_t(3) * SIZE * SIZE, 3 * SIZE}.fetch(one), fetched<1>();
    else fetched<0>();
    grid.wait();
    product<MT>(hidden, Plain{}, down, other, frames, rest, [&](int m, int row, float y) {
      const size_t i = size_t(m) * SIZE + row;
      out[i] = __float2bfloat16(y + down_bias[row] + load_one(middle + i));
    });
  }
  grid.leave();
}

}  // namespace encoder
