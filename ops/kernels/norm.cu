// Norms over the width of a row, and the rotary positions that follow them: one pass over memory each.
//
// A row a block of 128 threads, except `head_norm_rope`, where a warp has one head of one row. gain, shift, gamma: f32,
// one number a channel. cos, sin: f32 `(rows, head/2)`. See src/norm.rs, src/rope.rs, src/rope_halves.rs.
// Executed in emulation, not yet on a GPU.
#include "portable.cuh"

enum { ROW_THREADS = 128 };

// The sum over a block of ROW_THREADS, in every thread. `sums` is used by one call only: no barrier protects it from a second.
DEVICE float block_sum(float x, float* sums) {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
    BLOCK_SYNC();
    float total = 0.0f;
    for (int warp = 0; warp < ROW_THREADS / 32; warp++) total += sums[warp];
    return total;
}

// Calls `one(channel, values of four channels)` for this thread's fours of a row, or, if the row cannot be read by fours,
// `one` for each channel with a single value.
template <class T, class One>
DEVICE void over_row(const T* row, int width, bool fours, One one) {
    if (fours) {
        for (int i = threadIdx.x * 4; i < width; i += ROW_THREADS * 4) {
            float v[4];
            read4(row + i, v);
            one(i, v, 4);
        }
    } else {
        for (int i = threadIdx.x; i < width; i += ROW_THREADS) {
            float v[1] = {widen(row[i])};
            one(i, v, 1);
        }
    }
}
template <class T>
DEVICE void put_some(T* p, const float* v, int count) {
    if (count == 4)
        write4(p, v);
    else
        put(p, v[0]);
}

template <class T>
DEVICE void layer_norm(const T* x, const float* gain, const float* shift, T* out, int rows, int width, float gain_offset, float eps) {
    SHARED_ARRAY(float, sums, ROW_THREADS / 32);
    SHARED_ARRAY(float, squares, ROW_THREADS / 32);
    if (blockIdx.x >= (u32)rows) return;
    x += (u64)blockIdx.x * width, out += (u64)blockIdx.x * width;
    const bool fours = width % 4 == 0 && by_four(x) && by_four(out);
    float sum = 0.0f;
    over_row(x, width, fours, [&](int, const float* v, int count) {
        for (int i = 0; i < count; i++) sum += v[i];
    });
    const float mean = block_sum(sum, sums) / (float)width;
    // A second pass over the row, which lies in the cache: the one-pass form loses the variance of rows with a large mean.
    float square = 0.0f;
    over_row(x, width, fours, [&](int, const float* v, int count) {
        for (int i = 0; i < count; i++) square += (v[i] - mean) * (v[i] - mean);
    });
    const float scale = fast_rsqrt(block_sum(square, squares) / (float)width + eps);
    over_row(x, width, fours, [&](int first, float* v, int count) {
        for (int i = 0; i < count; i++) v[i] = (v[i] - mean) * scale * (gain_offset + gain[first + i]) + shift[first + i];
        put_some(out + first, v, count);
    });
}

// The factor of a root-mean-square norm of this block's row.
template <class T>
DEVICE float row_scale(const T* x, int width, bool fours, float eps) {
    SHARED_ARRAY(float, squares, ROW_THREADS / 32);
    float square = 0.0f;
    over_row(x, width, fours, [&](int, const float* v, int count) {
        for (int i = 0; i < count; i++) square += v[i] * v[i];
    });
    return fast_rsqrt(block_sum(square, squares) / (float)width + eps);
}

template <class T>
DEVICE void rms_norm(const T* x, const float* gamma, T* out, int rows, int width, float eps) {
    if (blockIdx.x >= (u32)rows) return;
    x += (u64)blockIdx.x * width, out += (u64)blockIdx.x * width;
    const bool fours = width % 4 == 0 && by_four(x) && by_four(out);
    const float scale = row_scale(x, width, fours, eps);
    over_row(x, width, fours, [&](int first, float* v, int count) {
        for (int i = 0; i < count; i++) v[i] *= scale * gamma[first + i];
        put_some(out + first, v, count);
    });
}

// Pairs are neighbours, as in Wan. `gamma` null: no norm.
template <class T>
DEVICE void rms_norm_rope(const T* x, const float* gamma, const float* cos, const float* sin, T* out, int rows, int width, int head,
                          float eps) {
    if (blockIdx.x >= (u32)rows) return;
    x += (u64)blockIdx.x * width, out += (u64)blockIdx.x * width;
    const int half = head / 2;
    cos += (u64)blockIdx.x * half, sin += (u64)blockIdx.x * half;
    const bool fours = width % 4 == 0 && by_four(x) && by_four(out);
    const float scale = gamma ? row_scale(x, width, fours, eps) : 1.0f;
    if (fours && head % 4 == 0) {
        over_row(x, width, true, [&](int first, float* v, int) {
            const int angle = first % head / 2;  // of the first pair; the second has the next
            for (int i = 0; i < 4; i++) v[i] *= gamma ? scale * gamma[first + i] : 1.0f;
            for (int i = 0; i < 2; i++) {
                const float a = v[2 * i], b = v[2 * i + 1], c = cos[angle + i], s = sin[angle + i];
                v[2 * i] = a * c - b * s, v[2 * i + 1] = b * c + a * s;
            }
            write4(out + first, v);
        });
        return;
    }
    for (int pair = threadIdx.x; pair < width / 2; pair += ROW_THREADS) {
        const int i = 2 * pair, angle = pair % half;
        float a = widen(x[i]) * scale, b = widen(x[i + 1]) * scale;
        if (gamma) a *= gamma[i], b *= gamma[i + 1];
        put(out + i, a * cos[angle] - b * sin[angle]);
        put(out + i + 1, b * cos[angle] + a * sin[angle]);
    }
}

// Channel i of a head is turned with i + head/2, as in language models; the norm is over each head. `gamma` null: no norm.
template <class T>
DEVICE void head_norm_rope(const T* x, const float* gamma, const float* cos, const float* sin, T* out, int rows, int heads, int head,
                           float eps) {
    const int lane = threadIdx.x % 32, half = head / 2;
    const u64 number = (u64)blockIdx.x * (ROW_THREADS / 32) + threadIdx.x / 32;  // of the head, over all rows
    if (number >= (u64)rows * heads) return;
    const u64 row = number / heads;
    x += number * head, out += number * head;
    cos += row * half, sin += row * half;
    float scale = 1.0f;
    if (gamma) {
        float square = 0.0f;
        for (int i = lane; i < head; i += 32) square += widen(x[i]) * widen(x[i]);
        scale = fast_rsqrt(warp_sum(square) / (float)head + eps);
    }
    for (int i = lane; i < half; i += 32) {
        float a = widen(x[i]) * scale, b = widen(x[i + half]) * scale;
        if (gamma) a *= gamma[i], b *= gamma[i + half];
        put(out + i, a * cos[i] - b * sin[i]);
        put(out + i + half, b * cos[i] + a * sin[i]);
    }
}

#define NORM_KERNELS(T, t)                                                                                                        \
    KERNEL(layer_norm_##t, ROW_THREADS, 8)                                                                                        \
    (const T* x, const float* gain, const float* shift, T* out, int rows, int width, float gain_offset, float eps) {              \
        layer_norm(x, gain, shift, out, rows, width, gain_offset, eps);                                                                 \
    }                                                                                                                             \
    REGISTER(layer_norm_##t, ROW_THREADS)                                                                                         \
    KERNEL(rms_norm_##t, ROW_THREADS, 8)(const T* x, const float* gamma, T* out, int rows, int width, float eps) {                \
        rms_norm(x, gamma, out, rows, width, eps);                                                                                      \
    }                                                                                                                             \
    REGISTER(rms_norm_##t, ROW_THREADS)                                                                                           \
    KERNEL(rms_norm_rope_##t, ROW_THREADS, 8)                                                                                     \
    (const T* x, const float* gamma, const float* cos, const float* sin, T* out, int rows, int width, int head, float eps) {      \
        rms_norm_rope(x, gamma, cos, sin, out, rows, width, head, eps);                                                                 \
    }                                                                                                                             \
    REGISTER(rms_norm_rope_##t, ROW_THREADS)                                                                                      \
    KERNEL(head_norm_rope_##t, ROW_THREADS, 8)                                                                                    \
    (const T* x, const float* gamma, const float* cos, const float* sin, T* out, int rows, int heads, int head, float eps) {      \
        head_norm_rope(x, gamma, cos, sin, out, rows, heads, head, eps);                                                          \
    }                                                                                                                             \
    REGISTER(head_norm_rope_##t, ROW_THREADS)

NORM_KERNELS(bf16, bf16)
NORM_KERNELS(float, f32)
