// One pass of Qwen3's layers over a few tokens as a single kernel.
//
// Reading a 0.6 B decoder's weights takes a quarter of a millisecond, launching its few hundred small operations ten
// times as long. So one block runs on every multiprocessor and the blocks go through the layers together, waiting for
// each other five times a layer: products of queries, keys and values; attention; output; gate and up; down.
//
// Products are tensor-core products of 16 tokens by 8 rows of a weight: a block takes some rows, and its warps share
// their length. The weights that a block needs next are on their way into shared memory while it is still at work, so
// that memory is never idle. Activations, which other blocks have written, are read past the L1 cache, which may hold
// older ones.

#include <cuda_bf16.h>

namespace decoder {

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

__device__ inline void multiply(float* sum, const Piece* a, const Piece& b) {
  for (int i = 0; i < 4; i += 2)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0].pair[i]), "r"(a[1].pair[i]), "r"(a[0].pair[i + 1]), "r"(a[1].pair[i + 1]), "r"(b.pair[i]),
          "r"(b.pair[i + 1]));
}

// A weight, of which a block multiplies 8 * TILES rows of length K; with GATED as many again, `rows` further down.
template <int K, int TILES, bool GATED>
struct Weight {
  static constexpr int SUBS = GATED ? 2 * TILES : TILES, BYTES = 8 * SUBS * K * sizeof(bf16);
  const bf16* from;
  int rows;

  __device__ int parts() const { return (rows + 8 * TILES - 1) / (8 * TILES); }

  // Starts to copy a part into shared memory. Odd rows have their pieces of 16 bytes swapped by fours, so that a warp's
  // reads of eight rows meet in no bank.
  __device__ void fetch(int part, Piece* to) const {
    if (part < parts())
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

// store(token, row, weight[row] . x[token]) for all tokens and rows; with NORM of rms_norm(x), with GATED
// silu(weight[row] . x) * (weight[rows + row] . x). The block's part of the weight is in `own`, or soon will be.
// A thread reads eight numbers of a row at once, so their order is another than the tensor cores', alike on both sides.
template <int MT, bool NORM, int K, int TILES, bool GATED, class Store>
__device__ void product(const bf16* x, const bf16* norm, float eps, Weight<K, TILES, GATED> weight, Piece* own,
                        int tokens, float* shared, Store store) {
  constexpr int KB = (K / 32 + WARPS - 1) / WARPS, CHUNK = KB % 4 ? KB : 4, SUBS = Weight<K, TILES, GATED>::SUBS;
  constexpr int ROUND = GATED || TILES == 1 ? 1 : 2, SIZE = ROUND * MT * 128, ALL = GATED ? 2 * SIZE : SIZE;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float *squares = shared, *partial = shared + WARPS * 16 * MT;

  for (int part = blockIdx.x; part < weight.parts(); part += gridDim.x) {
    if (part != blockIdx.x) {
      weight.fetch(part, own);
      fetched<0>();
      __syncthreads();
    }
    for (int first = 0; first < tokens; first += 16 * MT) {
      float sum[SUBS][MT][4] = {}, square[MT][2] = {};
      for (int chunk = 0; chunk < KB; chunk += CHUNK) {
        Piece a[CHUNK][MT][2], factor[CHUNK];
#pragma unroll
        for (int i = 0; i < CHUNK; i++) {
          const int k = ((chunk + i) * WARPS + warp) * 32 + lane % 4 * 8;
          const bool in = K % (32 * WARPS) == 0 || k < K;
          if constexpr (NORM) factor[i] = in ? load_weight(norm + k) : Piece{};
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
          if constexpr (NORM) {
#pragma unroll
            for (int mt = 0; mt < MT; mt++)
#pragma unroll
              for (int half = 0; half < 2; half++)
#pragma unroll
                for (int p = 0; p < 4; p++) {
                  const float2 pair = floats(a[i][mt][half].pair[p]), by = floats(factor[i].pair[p]);
                  square[mt][half] += pair.x * pair.x + pair.y * pair.y;
                  a[i][mt][half].pair[p] = packed(pair.x * by.x, pair.y * by.y);
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
      if constexpr (NORM) {
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const float all = sum_over<4>(square[mt][half]);
            if (lane % 4 == 0) squares[warp * 16 * MT + mt * 16 + half * 8 + lane / 4] = all;
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
          float y = 0, up = 0, scale = 1;
          for (int w = 0; w < WARPS; w++) {
            y += partial[w * ALL + e];
            if constexpr (GATED) up += partial[w * ALL + SIZE + e];
          }
          if constexpr (NORM) {
            float all = 0;
            for (int w = 0; w < WARPS; w++) all += squares[w * 16 * MT + local];
            scale = rsqrtf(all / K + eps);
          }
          y *= scale;
          if constexpr (GATED) y *= up * scale / (1 + __expf(-y));
          if (m < tokens && row < weight.rows && s + e / (128 * MT) < TILES) store(m, row, y);
        }
        __syncthreads();
      }
    }
  }
}

// What attention needs of a layer and of the batch. Caches are [slots, KV_HEADS, capacity, D]. Row b's is that of slot
// slot[b], and its next token's position is offset[b]; below 0, as many of its tokens are padding on the left.
struct Attention {
  const bf16 *qkv, *q_norm, *k_norm;
  bf16 *keys, *values, *out;
  int *offset, *slot;
  int batch, steps, slots, capacity;
  float eps;
};

// A head's C numbers from lane * C on and as many from D / 2 + lane * C on, of rms_norm and rotated.
template <int D>
__device__ inline void rotated(const bf16* from, const bf16* norm, float eps, const float* rates, int position, int j,
                               float* to) {
  constexpr int C = D / 16;
  float factor[2 * C], sum = 0;
  load_floats<C>(from + j * C, to);
  load_floats<C>(from + D / 2 + j * C, to + C);
  load_floats<C>(norm + j * C, factor);
  load_floats<C>(norm + D / 2 + j * C, factor + C);
  for (int i = 0; i < 2 * C; i++) sum += to[i] * to[i];
  const float scale = rsqrtf(sum_over<8>(sum) / D + eps);
  for (int i = 0; i < C; i++) {
    const float a = to[i] * scale * factor[i], b = to[C + i] * scale * factor[C + i];
    float angle = position * rates[j * C + i];
    const float turns = rintf(angle * 0.15915494f);
    angle = fmaf(-turns, -1.7484556e-7f, fmaf(-turns, 6.2831855f, angle));  // 2 pi in two parts
    const float sine = __sinf(angle), cosine = __cosf(angle);
    to[i] = a * cosine - b * sine;
    to[C + i] = a * sine + b * cosine;
  }
}

// Softmax attention of the new tokens. W warps do one token's heads that share keys; eight lanes do a key at a time.
// Keys of new tokens are made by all who need them; the token's own task writes them into the cache.
template <int HEADS, int KV_HEADS, int D, int W>
__device__ void attend(const Attention& at, const float* rates, float* shared) {
  constexpr int R = HEADS / KV_HEADS, C = D / 16, ROW = (HEADS + 2 * KV_HEADS) * D, TEAMS = 4 * W, AHEAD = 4;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, j = lane % 8;
  const int group = warp / W, member = warp % W, team = member * 4 + lane / 8;
  float* mine = shared + group * W * R * (D + 2);
  auto wait = [&] { asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "r"(32 * W) : "memory"); };

  const int tasks = at.batch * at.steps * KV_HEADS;
  for (int task = group * gridDim.x + blockIdx.x; task < tasks; task += gridDim.x * (WARPS / W)) {
    const int kv = task % KV_HEADS, token = task / KV_HEADS, b = token / at.steps, step = token % at.steps;
    const int offset = at.offset[b], filled = max(offset, 0);
    const size_t cached = size_t(at.slot[b] * KV_HEADS + kv) * at.capacity * D;
    float q[R][2 * C], most[R], total[R], sum[R][2 * C];
    for (int r = 0; r < R; r++) {
      rotated<D>(at.qkv + size_t(token) * ROW + (kv * R + r) * D, at.q_norm, at.eps, rates, offset + step, j,
                 q[r]);
      most[r] = LEAST, total[r] = 0;
      for (int i = 0; i < 2 * C; i++) q[r][i] *= rsqrtf(D), sum[r][i] = 0;
    }
    auto add = [&](int r, float score, const float* v, bool valid) {
      const float higher = valid ? fmaxf(most[r], score) : most[r];
      const float before = __expf(most[r] - higher), now = valid ? __expf(score - higher) : 0;
      most[r] = higher;
      total[r] = total[r] * before + now;
      for (int i = 0; i < 2 * C; i++) sum[r][i] = sum[r][i] * before + now * v[i];
    };
    auto score = [&](int r, const float* k) {
      float dot = 0;
      for (int i = 0; i < 2 * C; i++) dot += q[r][i] * k[i];
      return sum_over<8>(dot);
    };

    for (int from = 0; from < filled; from += TEAMS * AHEAD) {
      Part<C> keys[AHEAD][2], values[AHEAD][2];
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        const int s = min(from + u * TEAMS + team, filled - 1);
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const size_t place = cached + size_t(s) * D + half * (D / 2) + j * C;
          keys[u][half].load(at.keys + place), values[u][half].load(at.values + place);
        }
      }
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        float k[2 * C], v[2 * C];
        keys[u][0].to(k), keys[u][1].to(k + C), values[u][0].to(v), values[u][1].to(v + C);
#pragma unroll
        for (int r = 0; r < R; r++) add(r, score(r, k), v, from + u * TEAMS + team < filled);
      }
    }

    for (int from = 0; from <= step; from += TEAMS) {
      const int n = min(from + team, step), s = offset + n;
      const bool valid = from + team <= step && s >= 0;
      const bf16* source = at.qkv + size_t(b * at.steps + n) * ROW + (HEADS + kv) * D;
      float k[2 * C], v[2 * C];
      rotated<D>(source, at.k_norm, at.eps, rates, s, j, k);
      load_floats<C>(source + KV_HEADS * D + j * C, v);
      load_floats<C>(source + KV_HEADS * D + D / 2 + j * C, v + C);
      for (int i = 0; i < 2 * C; i++) k[i] = __bfloat162float(__float2bfloat16(k[i]));  // as those in the cache
      if (valid && n == step)
        for (int i = 0; i < 2 * C; i++) {
          const size_t to = cached + size_t(s) * D + i / C * (D / 2) + j * C + i % C;
          at.keys[to] = __float2bfloat16(k[i]);
          at.values[to] = __float2bfloat16(v[i]);
        }
      for (int r = 0; r < R; r++) add(r, score(r, k), v, valid);
    }

    for (int r = 0; r < R; r++) {
      for (int step = 8; step < 32; step *= 2) {
        const float other = __shfl_xor_sync(0xffffffff, most[r], step), higher = fmaxf(most[r], other);
        const float ours = __expf(most[r] - higher), theirs = __expf(other - higher);
        most[r] = higher;
        total[r] = total[r] * ours + __shfl_xor_sync(0xffffffff, total[r], step) * theirs;
        for (int i = 0; i < 2 * C; i++)
          sum[r][i] = sum[r][i] * ours + __shfl_xor_sync(0xffffffff, sum[r][i], step) * theirs;
      }
      float* to = mine + (member * R + r) * (D + 2);
      if (lane < 8) {
        for (int i = 0; i < 2 * C; i++) to[i / C * (D / 2) + j * C + i % C] = sum[r][i];
        if (lane == 0) to[D] = most[r], to[D + 1] = total[r];
      }
    }
    wait();
    for (int e = member * 32 + lane; e < R * D; e += 32 * W) {
      const int r = e / D, d = e % D;
      float highest = LEAST, all = 0, y = 0;
      for (int w = 0; w < W; w++) highest = fmaxf(highest, mine[(w * R + r) * (D + 2) + D]);
      for (int w = 0; w < W; w++) {
        const float* from = mine + (w * R + r) * (D + 2);
        const float share = __expf(from[D] - highest);
        all += share * from[D + 1], y += share * from[d];
      }
      // a token that is padding looks at nothing
      at.out[size_t(token) * HEADS * D + (kv * R + r) * D + d] = __float2bfloat16(all > 0 ? y / all : 0.0f);
    }
    wait();
  }
}

struct Weights {  // of all layers, one after the other
  const bf16 *qkv, *output, *gate_up, *down, *input_norm, *post_norm, *q_norm, *k_norm;
};

// x [batch, steps, HIDDEN] -> out; the cache is extended and offsets move on. scratch holds a token's (HEADS + 2 KV_HEADS) D + HEADS D + HIDDEN + INTER numbers.
// The cache is [2 LAYERS, slots, KV_HEADS, capacity, D]: each layer's keys, then its values.
// QKV_TILES and GATE_TILES: how many times eight rows of these products a block takes at once.
template <int LAYERS, int HIDDEN, int HEADS, int KV_HEADS, int D, int INTER, int MT, int QKV_TILES, int GATE_TILES>
__device__ void pass(const bf16* x, Weights w, bf16* cache, Attention at, unsigned* arrived, float theta, bf16* out,
                     bf16* scratch) {
  constexpr int ROW = (HEADS + 2 * KV_HEADS) * D;
  using QKV = Weight<HIDDEN, QKV_TILES, false>;
  using Output = Weight<HEADS * D, 1, false>;
  using GateUp = Weight<HIDDEN, GATE_TILES, true>;
  using Down = Weight<INTER, 1, false>;
  constexpr int ONE = QKV::BYTES > GateUp::BYTES ? QKV::BYTES : GateUp::BYTES;
  constexpr int OTHER = Output::BYTES > Down::BYTES ? Output::BYTES : Down::BYTES;
  extern __shared__ uint4 shared[];
  Piece *one = reinterpret_cast<Piece*>(shared), *other = one + ONE / sizeof(Piece);
  float *rates = reinterpret_cast<float*>(other + OTHER / sizeof(Piece)), *rest = rates + D / 2;
  const int tokens = at.batch * at.steps;
  const size_t layer_size = size_t(at.slots) * KV_HEADS * at.capacity * D;
  bf16 *qkv = scratch, *mixed = qkv + size_t(tokens) * ROW, *middle = mixed + size_t(tokens) * HEADS * D;
  bf16* gated = middle + size_t(tokens) * HIDDEN;
  Grid grid{arrived};

  const QKV first{w.qkv, ROW};
  first.fetch(blockIdx.x, one);
  for (int i = threadIdx.x; i < D / 2; i += THREADS) rates[i] = exp2f(-log2f(theta) * i / (D / 2));
  at.qkv = qkv, at.out = mixed;
  for (int layer = 0; layer < LAYERS; layer++) {
    const bf16* in = layer ? out : x;
    const QKV into_heads{w.qkv + size_t(layer) * ROW * HIDDEN, ROW};
    const Output output{w.output + size_t(layer) * HIDDEN * HEADS * D, HIDDEN};
    const GateUp gate_up{w.gate_up + size_t(layer) * 2 * INTER * HIDDEN, INTER};
    const Down down{w.down + size_t(layer) * HIDDEN * INTER, HIDDEN};

    grid.arrive();
    output.fetch(blockIdx.x, other);
    fetched<1>();
    grid.wait();
    product<MT, true>(in, w.input_norm + layer * HIDDEN, at.eps, into_heads, one, tokens, rest,
                      [&](int m, int row, float y) { qkv[size_t(m) * ROW + row] = __float2bfloat16(y); });

    at.keys = cache + 2 * layer * layer_size, at.values = at.keys + layer_size;
    at.q_norm = w.q_norm + layer * D, at.k_norm = w.k_norm + layer * D;
    grid.arrive();
    gate_up.fetch(blockIdx.x, one);
    grid.wait();
    if (tokens * KV_HEADS <= gridDim.x) attend<HEADS, KV_HEADS, D, WARPS>(at, rates, rest);
    else attend<HEADS, KV_HEADS, D, 2>(at, rates, rest);

    grid.arrive();
    fetched<1>();
    grid.wait();
    product<MT, false>(mixed, nullptr, 0, output, other, tokens, rest, [&](int m, int row, float y) {
      const size_t i = size_t(m) * HIDDEN + row;
      middle[i] = __float2bfloat16(y + load_one(in + i));
    });

    grid.arrive();
    down.fetch(blockIdx.x, other);
    fetched<1>();
    grid.wait();
    product<MT, true>(middle, w.post_norm + layer * HIDDEN, at.eps, gate_up, one, tokens, rest,
                      [&](int m, int row, float y) { gated[size_t(m) * INTER + row] = __float2bfloat16(y); });

    grid.arrive();
    if (layer + 1 < LAYERS) QKV{into_heads.from + size_t(ROW) * HIDDEN, ROW}.fetch(blockIdx.x, one), fetched<1>();
    else fetched<0>();
    grid.wait();
    product<MT, false>(gated, nullptr, 0, down, other, tokens, rest, [&](int m, int row, float y) {
      const size_t i = size_t(m) * HIDDEN + row;
      out[i] = __float2bfloat16(y + load_one(middle + i));
    });
  }
  if (grid.leave())
    for (int b = 0; b < at.batch; b++) at.offset[b] += at.steps;
}

}  // namespace decoder
