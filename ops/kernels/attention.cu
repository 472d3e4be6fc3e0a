// Attention over runs of keys and values: `softmax(q·kᵀ·scale + bias)·v`, head by head, online softmax in f32.
//
// q, out `(rows, heads·d)`, rows q_step and out_step numbers apart. Keys are the rows of up to four runs, one after the other:
// parts of a rolling window's buffer, a prefix and what follows it, or a prompt. A row has key_heads heads; neighbouring heads
// of queries share one. bias, or null: f32 `(heads, 2·rows − 1)` by distance key − query, from 1 − rows on. causal: query i
// sees keys 0 to i. See src/attention.rs, src/relative_attention.rs, src/spatial_attention.rs.
// Executed in emulation, not yet on a GPU.
#include "portable.cuh"

enum { ATTENTION_THREADS = 256, RUNS = 4 };
#define LOG2_E 1.44269504f
#define NOTHING -1e30f  // a score that weighs nothing and can be subtracted from itself

struct Run {
    u64 keys, values;  // addresses of the first row
    int rows, reserved;
};
struct Runs {
    Run run[RUNS];
};

// The addresses of key number `key`, which is one of the runs'.
template <class T>
DEVICE void find_key(const Runs& runs, int key, int step, const T** k, const T** v) {
    u64 keys = runs.run[0].keys, values = runs.run[0].values;
#pragma unroll
    for (int r = 0; r + 1 < RUNS; r++)
        if (key >= runs.run[r].rows) {
            key -= runs.run[r].rows;
            keys = runs.run[r + 1].keys, values = runs.run[r + 1].values;
        } else
            break;
    *k = (const T*)keys + (u64)key * step;
    *v = (const T*)values + (u64)key * step;
}

enum { QUERIES = 128, KEYS = 64 };  // of a block, and of one tile

// On tensor cores: 8 warps of 16 queries each, one head. The copies of the next 64 keys run while these are multiplied.
template <int DIM>
DEVICE void tensor_attention(const bf16* q, const Runs& runs, const float* bias, bf16* out, int rows, int keys, int heads, int key_heads,
                             int q_step, int kv_step, int out_step, float scale, int causal) {
    const int STRIDE = DIM + 8;  // an odd number of 16 bytes: eight rows lie in different banks
    DYNAMIC_SHARED(memory);      // keys, values, keys, values: KEYS rows each
    const int head = blockIdx.y, column = head * DIM, key_column = head / (heads / key_heads) * DIM;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int row = blockIdx.x * QUERIES + warp * 16 + lane / 4;  // this lane's rows of a tile: row, row + 8
    const float scale_log2 = scale * LOG2_E;
    // Scores are scaled where their exponent is taken, in the same instruction that subtracts the peak; with a bias, before.
    const float factor = bias ? 1.0f : scale_log2;
    if (causal) {
        const int last = blockIdx.x * QUERIES + QUERIES;
        keys = last < keys ? last : keys;
    }
    u32 query[DIM / 16][4];
#pragma unroll
    for (int k = 0; k < DIM / 16; k++)
#pragma unroll
        for (int part = 0; part < 4; part++) {
            const int r = row + part % 2 * 8, c = k * 16 + part / 2 * 8 + lane % 4 * 2;
            query[k][part] = r < rows ? load_4(q + (u64)r * q_step + column + c) : 0;
        }
    auto fetch = [&](int first, int turn) {
        bf16 *tile_k = memory + turn * (2 * KEYS * STRIDE), *tile_v = tile_k + KEYS * STRIDE;
        for (int i = threadIdx.x; i < KEYS * (DIM / 8); i += ATTENTION_THREADS) {
            const int r = i / (DIM / 8), part = i % (DIM / 8) * 8;
            const bool there = first + r < keys;
            const bf16 *from_k, *from_v;
            find_key(runs, there ? first + r : 0, kv_step, &from_k, &from_v);
            copy_16(tile_k + r * STRIDE + part, from_k + key_column + part, there);
            copy_16(tile_v + r * STRIDE + part, from_v + key_column + part, there);
        }
    };
    float sums[DIM / 8][4] = {}, total[2] = {0.0f, 0.0f}, most[2] = {NOTHING, NOTHING};
    fetch(0, 0);
    copies_commit();
    for (int first = 0, turn = 0; first < keys; first += KEYS, turn ^= 1) {
        if (first + KEYS < keys) fetch(first + KEYS, turn ^ 1);
        copies_commit();
        copies_wait<1>();
        BLOCK_SYNC();
        const bf16 *tile_k = memory + turn * (2 * KEYS * STRIDE), *tile_v = tile_k + KEYS * STRIDE;
        float score[KEYS / 8][4] = {};
#pragma unroll
        for (int k = 0; k < DIM / 16; k++)
#pragma unroll
            for (int n = 0; n < KEYS / 8; n += 2) {
                u32 b[4];
                load_tiles(b, tile_k + (n * 8 + lane / 16 * 8 + lane % 8) * STRIDE + k * 16 + lane / 8 % 2 * 8);
                mma_16x8x16(score[n], query[k], b[0], b[1]);
                mma_16x8x16(score[n + 1], query[k], b[2], b[3]);
            }
        if (bias)
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int key = first + n * 8 + lane % 4 * 2 + i % 2, r = row + i / 2 * 8;
                    if (r < rows && key < keys)
                        score[n][i] = score[n][i] * scale_log2 + bias[(u64)head * (2 * rows - 1) + (key - r + rows - 1)] * LOG2_E;
                }
        if (first + KEYS > keys || causal)  // the other tiles have no key that must not be seen
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int key = first + n * 8 + lane % 4 * 2 + i % 2, r = row + i / 2 * 8;
                    if (key >= keys || (causal && key > r)) score[n][i] = NOTHING;
                }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float peak = most[half];
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) peak = larger(peak, larger(score[n][2 * half], score[n][2 * half + 1]));
#pragma unroll
            for (int lanes = 1; lanes < 4; lanes *= 2) peak = larger(peak, warp_xor(peak, lanes));
            const float shrink = fast_exp2((most[half] - peak) * factor);
            most[half] = peak;
            total[half] *= shrink;
#pragma unroll
            for (int n = 0; n < DIM / 8; n++) sums[n][2 * half] *= shrink, sums[n][2 * half + 1] *= shrink;
            const float below = -peak * factor;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    total[half] += score[n][2 * half + i] = fast_exp2(fused_multiply_add(score[n][2 * half + i], factor, below));
        }
#pragma unroll
        for (int k = 0; k < KEYS / 16; k++) {
            const u32 weights[4] = {pack2(score[2 * k][0], score[2 * k][1]), pack2(score[2 * k][2], score[2 * k][3]),
                                    pack2(score[2 * k + 1][0], score[2 * k + 1][1]), pack2(score[2 * k + 1][2], score[2 * k + 1][3])};
#pragma unroll
            for (int n = 0; n < DIM / 8; n += 2) {
                u32 b[4];
                load_tiles_turned(b, tile_v + (k * 16 + lane % 16) * STRIDE + n * 8 + lane / 16 * 8);
                mma_16x8x16(sums[n], weights, b[0], b[1]);
                mma_16x8x16(sums[n + 1], weights, b[2], b[3]);
            }
        }
        BLOCK_SYNC();  // everybody has read this tile before the copies after the next overwrite it
    }
    for (int half = 0; half < 2; half++) {
        for (int lanes = 1; lanes < 4; lanes *= 2) total[half] += warp_xor(total[half], lanes);
        const int r = row + half * 8;
        const float scale_out = 1.0f / total[half];
        if (r < rows)
            for (int n = 0; n < DIM / 8; n++)
                store_4(out + (u64)r * out_step + column + n * 8 + lane % 4 * 2,
                        pack2(sums[n][2 * half] * scale_out, sums[n][2 * half + 1] * scale_out));
    }
}

enum { FEW = 16, SOME = 32, CHUNK = 64 };  // queries of a block, keys of a tile, channels that are multiplied at once
enum { CHANNELS_EACH = 4 };                // of a thread: heads of up to 1024

// Any head size and type, in plain arithmetic: a thread has two scores of a tile, and up to four channels of all queries.
template <class T>
DEVICE void plain_attention(const T* q, const Runs& runs, const float* bias, T* out, int rows, int keys, int heads, int key_heads, int dim,
                            int q_step, int kv_step, int out_step, float scale, int causal) {
    SHARED_ARRAY(float, q_part, FEW * (CHUNK + 1));
    SHARED_ARRAY(float, k_part, SOME * (CHUNK + 1));
    SHARED_ARRAY(float, weights, FEW * SOME);
    SHARED_ARRAY(float, factors, FEW);  // by which what was summed shrinks; at the end, one over the totals
    SHARED_ARRAY(u64, key_rows, SOME);
    SHARED_ARRAY(u64, value_rows, SOME);
    const int head = blockIdx.y, column = head * dim, key_column = head / (heads / key_heads) * dim;
    const int mine = threadIdx.x / 16, first_row = blockIdx.x * FEW, row = first_row + mine;
    if (causal) {
        const int last = first_row + FEW;
        keys = last < keys ? last : keys;
    }
    float sums[CHANNELS_EACH][FEW] = {}, total = 0.0f, most = NOTHING;
    for (int first = 0; first < keys; first += SOME) {
        const int count = keys - first < SOME ? keys - first : SOME;
        BLOCK_SYNC();  // everybody has read the last tile
        if (threadIdx.x < SOME) {
            const T *k, *v;
            find_key(runs, (int)threadIdx.x < count ? first + (int)threadIdx.x : 0, kv_step, &k, &v);
            key_rows[threadIdx.x] = (u64)(k + key_column), value_rows[threadIdx.x] = (u64)(v + key_column);
        }
        float score[2] = {0.0f, 0.0f};
        for (int channel = 0; channel < dim; channel += CHUNK) {
            BLOCK_SYNC();  // the addresses are there, and the last chunk is read
            for (int i = threadIdx.x; i < FEW * CHUNK; i += ATTENTION_THREADS) {
                const int r = i / CHUNK, c = channel + i % CHUNK;
                q_part[r * (CHUNK + 1) + i % CHUNK] =
                    first_row + r < rows && c < dim ? widen(q[(u64)(first_row + r) * q_step + column + c]) : 0.0f;
            }
            for (int i = threadIdx.x; i < SOME * CHUNK; i += ATTENTION_THREADS) {
                const int r = i / CHUNK, c = channel + i % CHUNK;
                k_part[r * (CHUNK + 1) + i % CHUNK] = c < dim ? widen(((const T*)key_rows[r])[c]) : 0.0f;
            }
            BLOCK_SYNC();
            const float* a = q_part + mine * (CHUNK + 1);
            const float* b = k_part + threadIdx.x % 16 * (CHUNK + 1);
            for (int c = 0; c < CHUNK; c++) {
                score[0] = fused_multiply_add(a[c], b[c], score[0]);
                score[1] = fused_multiply_add(a[c], b[16 * (CHUNK + 1) + c], score[1]);
            }
        }
        float peak = most;
        for (int i = 0; i < 2; i++) {
            const int key = first + threadIdx.x % 16 + i * 16;
            score[i] *= scale * LOG2_E;
            if (bias && row < rows && key < keys) score[i] += bias[(u64)head * (2 * rows - 1) + (key - row + rows - 1)] * LOG2_E;
            if (key >= keys || (causal && key > row)) score[i] = NOTHING;
            peak = larger(peak, score[i]);
        }
        for (int lanes = 1; lanes < 16; lanes *= 2) peak = larger(peak, warp_xor(peak, lanes));
        const float shrink = fast_exp2(most - peak);
        most = peak;
        total *= shrink;
        for (int i = 0; i < 2; i++) {
            const float weight = fast_exp2(score[i] - peak);
            total += weight;
            weights[mine * SOME + threadIdx.x % 16 + i * 16] = weight;
        }
        if (threadIdx.x % 16 == 0) factors[mine] = shrink;
        BLOCK_SYNC();
#pragma unroll
        for (int j = 0; j < CHANNELS_EACH; j++) {
            const int c = threadIdx.x + j * ATTENTION_THREADS;
            if (c >= dim) continue;
            for (int r = 0; r < FEW; r++) sums[j][r] *= factors[r];
            for (int key = 0; key < count; key++) {
                const float v = widen(((const T*)value_rows[key])[c]);
                for (int r = 0; r < FEW; r++) sums[j][r] = fused_multiply_add(weights[r * SOME + key], v, sums[j][r]);
            }
        }
    }
    for (int lanes = 1; lanes < 16; lanes *= 2) total += warp_xor(total, lanes);
    BLOCK_SYNC();  // everybody has read the last factors
    if (threadIdx.x % 16 == 0) factors[mine] = 1.0f / total;
    BLOCK_SYNC();
#pragma unroll
    for (int j = 0; j < CHANNELS_EACH; j++) {
        const int c = threadIdx.x + j * ATTENTION_THREADS;
        if (c >= dim) continue;
        for (int r = 0; r < FEW; r++)
            if (first_row + r < rows) put(out + (u64)(first_row + r) * out_step + column + c, sums[j][r] * factors[r]);
    }
}

#define TENSOR_ATTENTION(dim)                                                                                                     \
    KERNEL(attention_##dim##_bf16, ATTENTION_THREADS, 1)                                                                          \
    (const bf16* q, Runs runs, const float* bias, bf16* out, int rows, int keys, int heads, int key_heads, int q_step, int kv_step, \
     int out_step, float scale, int causal) {                                                                                     \
        tensor_attention<dim>(q, runs, bias, out, rows, keys, heads, key_heads, q_step, kv_step, out_step, scale, causal);        \
    }                                                                                                                             \
    REGISTER(attention_##dim##_bf16, ATTENTION_THREADS)
#define PLAIN_ATTENTION(T, t)                                                                                                     \
    KERNEL(attention_any_##t, ATTENTION_THREADS, 2)                                                                               \
    (const T* q, Runs runs, const float* bias, T* out, int rows, int keys, int heads, int key_heads, int head, int q_step,        \
     int kv_step, int out_step, float scale, int causal) {                                                                        \
        plain_attention(q, runs, bias, out, rows, keys, heads, key_heads, head, q_step, kv_step, out_step, scale, causal);        \
    }                                                                                                                             \
    REGISTER(attention_any_##t, ATTENTION_THREADS)

TENSOR_ATTENTION(128)
TENSOR_ATTENTION(64)
TENSOR_ATTENTION(48)
PLAIN_ATTENTION(bf16, bf16)
PLAIN_ATTENTION(float, f32)
