// What the fused kernels share: products of a weight with few tokens, by blocks that go through a network together.
//
// Launching a network's few hundred small operations takes ten times as long as reading its weights. So one block runs
// on every multiprocessor, and the blocks do one operation after the other, waiting for each other in between.
//
// Products are tensor-core products of 16 tokens by 8 rows of a weight: a block takes some rows, and its warps share
// their length. The weights that a block needs next are on their way into shared memory while it is still at work, so
// that memory is never idle. Activations, which other blocks have written, are read past the L1 cache, which may hold
// older ones.

#include <cuda_bf16.h>

namespace blocks {

using bf16 = __nv_bfloat16;

constexpr int WARPS = 8, THREADS = 32 * WARPS;
constexpr float LEAST = -1e30f;  // a score below all others

struct alignas(16) Piece {  // eight numbers
  unsigned pair[4];
};

__device__ inline float2 floats(unsigned pair) {
  return __bfloat1622float2(reinterpret_cast<__nv_bfloat162&>(pair));
}

__device__ inline unsigned packed(float a, float b) {
  __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return reinterpret_cast<unsigned&>(pair);
}

__device__ inline Piece load_weight(const bf16* from) {
  uint4 read = __ldg(reinterpret_cast<const uint4*>(from));
  return {read.x, read.y, read.z, read.w};
}

__device__ inline Piece load(const bf16* from) {
  uint4 read = __ldcg(reinterpret_cast<const uint4*>(from));
  return {read.x, read.y, read.z, read.w};
}

__device__ inline float load_one(const bf16* from) {
  unsigned short bits = __ldcg(reinterpret_cast<const unsigned short*>(from));
  return __bfloat162float(reinterpret_cast<bf16&>(bits));
}

template <int C>  // of 4 or 8 numbers
struct Part {
  uint2 pairs[C / 4];

  __device__ void load(const bf16* from) {
    if constexpr (C == 8) {
      const uint4 read = __ldcg(reinterpret_cast<const uint4*>(from));
      pairs[0] = {read.x, read.y}, pairs[1] = {read.z, read.w};
    } else {
      pairs[0] = __ldcg(reinterpret_cast<const uint2*>(from));
    }
  }

  __device__ void to(float* numbers) const {
#pragma unroll
    for (int i = 0; i < C / 4; i++) {
      const float2 a = floats(pairs[i].x), b = floats(pairs[i].y);
      numbers[4 * i] = a.x, numbers[4 * i + 1] = a.y, numbers[4 * i + 2] = b.x, numbers[4 * i + 3] = b.y;
    }
  }
};

template <int C>
__device__ inline void load_floats(const bf16* from, float* to) {
  Part<C> part;
  part.load(from);
  part.to(to);
}

template <int LANES>
__device__ inline float sum_over(float x) {
  for (int step = LANES / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffff, x, step);
  return x;
}

// Where blocks wait for each other. All of them must be running, so there is at most one for each multiprocessor.
struct Grid {
  unsigned* arrived;  // 0 before and after the kernel
  unsigned expected = 0;

  __device__ void arrive() {
    __syncthreads();
    if (threadIdx.x == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(arrived) : "memory");
    expected += gridDim.x;
  }

  __device__ void wait() {
    if (threadIdx.x == 0) {
      const long long start = clock64();
      unsigned seen;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
        if (clock64() - start > (1ll << 33)) __trap();  // some seconds: an error is better than waiting for ever
      } while (seen < expected);
    }
    __syncthreads();
  }

  // True in one thread, after all blocks have come here.
  __device__ bool leave() {
    __syncthreads();
    if (threadIdx.x || atomicAdd(arrived, 1) < expected + gridDim.x - 1) return false;
    atomicExch(arrived, 0);
    return true;
  }
};

// sum += a (16 x 16) . b (16 x 8), spread over a warp as the instruction has it
__device__ inline void multiply(float* sum, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0,
                                unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// The same for 32 numbers of each row, of which a thread holds eight that follow each other: their order is another
// than the instruction's, alike on both sides.
__device__ inline void multiply(float* sum, const Piece* a, const Piece& b) {
  for (int i = 0; i < 4; i += 2)
    multiply(sum, a[0].pair[i], a[1].pair[i], a[0].pair[i + 1], a[1].pair[i + 1], b.pair[i], b.pair[i + 1]);
}

// A weight, of which a block multiplies 8 * TILES rows of length K; with GATED as many again, `rows` further down.
template <int K, int TILES, bool GATED>
struct Weight {
  static constexpr int SUBS = GATED ? 2 * TILES : TILES, BYTES = 8 * SUBS * K * sizeof(bf16);
  const bf16* from;
  int rows;

  __device__ int parts() const { return (rows + 8 * TILES - 1) / (8 * TILES); }

  // Blocks to spare take the same parts, for other tokens.
  __device__ int slices() const { return max(1, int(gridDim.x) / parts()); }
  __device__ int first() const { return slices() > 1 ? blockIdx.x % parts() : blockIdx.x; }
  __device__ int slice() const { return slices() > 1 ? blockIdx.x / parts() : 0; }

  __device__ void fetch(Piece* to) const { fetch(first(), to); }

  // Starts to copy a part into shared memory. Odd rows have their pieces of 16 bytes swapped by fours, so that a warp's
  // reads of eight rows meet in no bank.
  __device__ void fetch(int part, Piece* to) const {
    if (part < parts() && slice() < slices())
      for (int e = threadIdx.x; e < 8 * SUBS * (K / 8); e += THREADS) {
        const int r = e / (K / 8), c = e % (K / 8), row = min(part * 8 * TILES + r % (8 * TILES), rows - 1);
        const bf16* source = from + size_t(row + (r < 8 * TILES ? 0 : rows)) * K + 8 * c;
        const unsigned target = __cvta_generic_to_shared(to + r * (K / 8) + (c ^ (r % 2 * 4)));
        asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(target), "l"(source));
      }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
};

template <int LATER>  // wait until all copies but the last LATER have arrived
__device__ inline void fetched() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LATER) : "memory");
}

struct Plain {};

struct RMSNorm {  // x / sqrt(mean(x^2)) * factors
  const bf16* factors;
  float eps;
};

struct LayerNorm {  // (x - mean(x)) / sqrt(var(x)): its factors are in the weight, of which `sums` are the rows' sums
  const float* sums;
  float eps;
};

template <class A, class B>
constexpr bool same = false;
template <class A>
constexpr bool same<A, A> = true;

// store(token, row, weight[row] . norm(x[token])) for all tokens and rows; with GATED
// silu(weight[row] . x) * (weight[rows + row] . x). The block's part of the weight is in `own`, or soon will be.
template <int MT, class Norm, int K, int TILES, bool GATED, class Store>
__device__ void product(const bf16* x, Norm norm, Weight<K, TILES, GATED> weight, Piece* own, int tokens,
                        float* shared, Store store) {
  constexpr bool RMS = same<Norm, RMSNorm>, LAYER = same<Norm, LayerNorm>, NORMED = RMS || LAYER;
  constexpr int KB = (K / 32 + WARPS - 1) / WARPS, CHUNK = KB % 4 ? KB : 4, SUBS = Weight<K, TILES, GATED>::SUBS;
  constexpr int ROUND = GATED || TILES == 1 ? 1 : 2, SIZE = ROUND * MT * 128, ALL = GATED ? 2 * SIZE : SIZE;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float *squares = shared, *totals = squares + WARPS * 16 * MT, *partial = totals + WARPS * 16 * MT;

  if (weight.slice() >= weight.slices()) return;
  for (int part = weight.first(); part < weight.parts(); part += gridDim.x) {
    if (part != weight.first()) {
      weight.fetch(part, own);
      fetched<0>();
      __syncthreads();
    }
    for (int first = weight.slice() * 16 * MT; first < tokens; first += weight.slices() * 16 * MT) {
      float sum[SUBS][MT][4] = {}, square[MT][2] = {}, total[MT][2] = {};
      for (int chunk = 0; chunk < KB; chunk += CHUNK) {
        Piece a[CHUNK][MT][2], factor[CHUNK];
#pragma unroll
        for (int i = 0; i < CHUNK; i++) {
          const int k = ((chunk + i) * WARPS + warp) * 32 + lane % 4 * 8;
          const bool in = K % (32 * WARPS) == 0 || k < K;
          if constexpr (RMS) factor[i] = in ? load_weight(norm.factors + k) : Piece{};
#pragma unroll
          for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
              const int m = first + mt * 16 + half * 8 + lane / 4;
              a[i][mt][half] = in && m < tokens ? load(x + size_t(m) * K + k) : Piece{};
            }
        }
#pragma unroll
        for (int i = 0; i < CHUNK; i++) {
          const int c = ((chunk + i) * WARPS + warp) * 4 + lane % 4;
          if (K % (32 * WARPS) && c * 8 >= K) continue;
          if constexpr (NORMED) {
#pragma unroll
            for (int mt = 0; mt < MT; mt++)
#pragma unroll
              for (int half = 0; half < 2; half++)
#pragma unroll
                for (int p = 0; p < 4; p++) {
                  const float2 pair = floats(a[i][mt][half].pair[p]);
                  square[mt][half] += pair.x * pair.x + pair.y * pair.y;
                  if constexpr (LAYER) total[mt][half] += pair.x + pair.y;
                  if constexpr (RMS) {
                    const float2 by = floats(factor[i].pair[p]);
                    a[i][mt][half].pair[p] = packed(pair.x * by.x, pair.y * by.y);
                  }
                }
          }
#pragma unroll
          for (int s = 0; s < SUBS; s++) {
            const int r = s * 8 + lane / 4;
            const Piece b = own[r * (K / 8) + (c ^ (r % 2 * 4))];
#pragma unroll
            for (int mt = 0; mt < MT; mt++) multiply(sum[s][mt], a[i][mt], b);
          }
        }
      }
      if constexpr (NORMED) {
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const float all = sum_over<4>(square[mt][half]), sums = LAYER ? sum_over<4>(total[mt][half]) : 0;
            const int to = warp * 16 * MT + mt * 16 + half * 8 + lane / 4;
            if (lane % 4 == 0) squares[to] = all, totals[to] = sums;
          }
      }
#pragma unroll
      for (int s = 0; s < TILES; s += ROUND) {
#pragma unroll
        for (int t = 0; t < ROUND; t++)
#pragma unroll
          for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
              float* to = partial + warp * ALL + (t * MT + mt) * 128 + i * 32 + lane;
              if (s + t < TILES) *to = sum[s + t][mt][i];
              if constexpr (GATED) to[SIZE] = sum[TILES + s + t][mt][i];
            }
        __syncthreads();
        for (int e = threadIdx.x; e < SIZE; e += THREADS) {
          const int local = e / 128 % MT * 16 + e / 64 % 2 * 8 + e % 32 / 4, m = first + local;
          const int row = (part * TILES + s + e / (128 * MT)) * 8 + e % 4 * 2 + e / 32 % 2;
          float y = 0, up = 0, scale = 1, mean = 0;
          for (int w = 0; w < WARPS; w++) {
            y += partial[w * ALL + e];
            if constexpr (GATED) up += partial[w * ALL + SIZE + e];
          }
          if constexpr (NORMED) {
            float all = 0;
            for (int w = 0; w < WARPS; w++) all += squares[w * 16 * MT + local], mean += totals[w * 16 * MT + local];
            mean /= K;
            scale = rsqrtf(fmaxf(all / K - mean * mean, 0.0f) + norm.eps);
          }
          if constexpr (LAYER) y -= mean * norm.sums[min(row, weight.rows - 1)];
          y *= scale;
          if constexpr (GATED) y *= up * scale / (1 + __expf(-y));
          if (m < tokens && row < weight.rows && s + e / (128 * MT) < TILES) store(m, row, y);
        }
        __syncthreads();
      }
    }
  }
}

}  // namespace blocks
