// One pass of Qwen3's layers over a few tokens as a single kernel. In each layer the blocks wait for each other five
// times: for queries, keys and values; attention; output; gate and up; down.

namespace decoder {

using namespace blocks;

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

template <int D>
__device__ inline void set_rates(float* rates, float theta) {
  for (int i = threadIdx.x; i < D / 2; i += THREADS) rates[i] = exp2f(-log2f(theta) * i / (D / 2));
}

// One layer's attention as a kernel of its own, of any number of blocks.
template <int HEADS, int KV_HEADS, int D>
__device__ void attend_alone(const Attention& at, float theta) {
  __shared__ float rates[D / 2], rest[WARPS * (HEADS / KV_HEADS) * (D + 2)];
  set_rates<D>(rates, theta);
  __syncthreads();
  attend<HEADS, KV_HEADS, D, 2>(at, rates, rest);
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
  first.fetch(one);
  set_rates<D>(rates, theta);
  at.qkv = qkv, at.out = mixed;
  for (int layer = 0; layer < LAYERS; layer++) {
    const bf16* in = layer ? out : x;
    const QKV into_heads{w.qkv + size_t(layer) * ROW * HIDDEN, ROW};
    const Output output{w.output + size_t(layer) * HIDDEN * HEADS * D, HIDDEN};
    const GateUp gate_up{w.gate_up + size_t(layer) * 2 * INTER * HIDDEN, INTER};
    const Down down{w.down + size_t(layer) * HIDDEN * INTER, HIDDEN};

    grid.arrive();
    output.fetch(other);
    fetched<1>();
    grid.wait();
    product<MT>(in, RMSNorm{w.input_norm + layer * HIDDEN, at.eps}, into_heads, one, tokens, rest,
                [&](int m, int row, float y) { qkv[size_t(m) * ROW + row] = __float2bfloat16(y); });

    at.keys = cache + 2 * layer * layer_size, at.values = at.keys + layer_size;
    at.q_norm = w.q_norm + layer * D, at.k_norm = w.k_norm + layer * D;
    grid.arrive();
    gate_up.fetch(one);
    grid.wait();
    if (tokens * KV_HEADS <= gridDim.x) attend<HEADS, KV_HEADS, D, WARPS>(at, rates, rest);
    else attend<HEADS, KV_HEADS, D, 2>(at, rates, rest);

    grid.arrive();
    fetched<1>();
    grid.wait();
    product<MT>(mixed, Plain{}, output, other, tokens, rest, [&](int m, int row, float y) {
      const size_t i = size_t(m) * HIDDEN + row;
      middle[i] = __float2bfloat16(y + load_one(in + i));
    });

    grid.arrive();
    down.fetch(other);
    fetched<1>();
    grid.wait();
    product<MT>(middle, RMSNorm{w.post_norm + layer * HIDDEN, at.eps}, gate_up, one, tokens, rest,
                [&](int m, int row, float y) { gated[size_t(m) * INTER + row] = __float2bfloat16(y); });

    grid.arrive();
    if (layer + 1 < LAYERS) QKV{into_heads.from + size_t(ROW) * HIDDEN, ROW}.fetch(one), fetched<1>();
    else fetched<0>();
    grid.wait();
    product<MT>(gated, Plain{}, down, other, tokens, rest, [&](int m, int row, float y) {
      const size_t i = size_t(m) * HIDDEN + row;
      out[i] = __float2bfloat16(y + load_one(middle + i));
    });
  }
  if (grid.leave())
    for (int b = 0; b < at.batch; b++) at.offset[b] += at.steps;
}

}  // namespace decoder
