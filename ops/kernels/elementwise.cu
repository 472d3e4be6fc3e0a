// Operations number by number, and copies between layouts: one pass over memory each.
//
// A block of 256 threads has 1024 numbers, a thread four of them. `n` counts numbers. Vectors of one number a channel (gate,
// row, mean, deviation) are f32. See src/residual.rs, src/activation.rs, src/flow.rs, src/channels.rs, src/tensor.rs.
// Executed in emulation, not yet on a GPU.
#include "portable.cuh"

enum { THREADS = 256, EACH = 4, TERMS = 6 };

// Element strides of a copy: shape and steps of six sides, outermost first. Unused sides have length 1.
struct Strides {
    int shape[6], from[6], to[6];
};
// The terms of a weighted sum: addresses and weights.
struct Terms {
    u64 term[TERMS];
    double weight[TERMS];
    int count, reserved;
};

// Calls `four(first)` where this thread's four numbers are all there and `fours` holds, else `one(i)` for each of them.
template <class Four, class One>
DEVICE void over_numbers(int n, bool fours, Four four, One one) {
    const u32 first = (blockIdx.x * THREADS + threadIdx.x) * EACH;
    if (fours && first + EACH <= (u32)n) return four((int)first);
    for (u32 i = first; i < first + EACH && i < (u32)n; i++) one((int)i);
}

// out = f(a) number by number; `f` is given the place.
template <class A, class O, class F>
DEVICE void map1(const A* a, O* out, int n, F f) {
    over_numbers(
        n, by_four(a) && by_four(out),
        [&](int first) {
            float v[EACH];
            read4(a + first, v);
            for (int i = 0; i < EACH; i++) v[i] = f(first + i, v[i]);
            write4(out + first, v);
        },
        [&](int i) { put(out + i, f(i, widen(a[i]))); });
}
template <class T, class F>
DEVICE void map2(const T* a, const T* b, T* out, int n, F f) {
    over_numbers(
        n, by_four(a) && by_four(b) && by_four(out),
        [&](int first) {
            float v[EACH], w[EACH];
            read4(a + first, v), read4(b + first, w);
            for (int i = 0; i < EACH; i++) v[i] = f(first + i, v[i], w[i]);
            write4(out + first, v);
        },
        [&](int i) { put(out + i, f(i, widen(a[i]), widen(b[i]))); });
}
template <class T, class F>
DEVICE void map3(const T* a, const T* b, const T* c, T* out, int n, F f) {
    over_numbers(
        n, by_four(a) && by_four(b) && by_four(c) && by_four(out),
        [&](int first) {
            float v[EACH], w[EACH], x[EACH];
            read4(a + first, v), read4(b + first, w), read4(c + first, x);
            for (int i = 0; i < EACH; i++) v[i] = f(v[i], w[i], x[i]);
            write4(out + first, v);
        },
        [&](int i) { put(out + i, f(widen(a[i]), widen(b[i]), widen(c[i]))); });
}

enum { ADD = 0, SUBTRACT = 1, MULTIPLY = 2 };
DEVICE float combine(float a, float b, int op) { return op == ADD ? a + b : op == SUBTRACT ? a - b : a * b; }

// `b` is repeated every `period` numbers.
template <class T>
DEVICE void binary(const T* a, const T* b, T* out, int n, int period, int op) {
    if (period == n) return map2(a, b, out, n, [&](int, float x, float y) { return combine(x, y, op); });
    map1(a, out, n, [&](int i, float x) { return combine(x, widen(b[i % period]), op); });
}
template <class T>
DEVICE void affine(const T* x, T* out, int n, float factor, float offset) {
    map1(x, out, n, [&](int, float v) { return v * factor + offset; });
}
template <class T>
DEVICE void scale_shift(const T* h, const T* gain, const T* shift, T* out, int n) {
    map3(h, gain, shift, out, n, [](float x, float y, float z) { return x * y + z; });
}
template <class T>
DEVICE void add_gated(const T* h, const T* y, const float* gate, T* out, int rows, int width) {
    map2(h, y, out, rows * width, [&](int i, float a, float b) { return a + b * gate[i % width]; });
}
template <class T>
DEVICE void add_to_rows(const T* h, const float* row, T* out, int rows, int width, int first) {
    map1(h, out, rows * width, [&](int i, float x) { return i / width < first ? x : x + row[i % width]; });
}
template <class T>
DEVICE void activation(const T* x, T* out, int n, int kind) {
    map1(x, out, n, [&](int, float v) { return activate(v, kind); });
}
template <class T>
DEVICE void gated_activation(const T* gate, const T* up, T* out, int n, int kind) {
    map2(gate, up, out, n, [&](int, float g, float u) { return activate(g, kind) * u; });
}
template <class T>
DEVICE void gather_rows(const T* table, const u32* tokens, T* out, int count, int width) {
    over_numbers(
        count * width, false, [](int) {},
        [&](int i) { out[i] = table[(u64)tokens[i / width] * width + i % width]; });
}
template <class T>
DEVICE void copy_strided(const T* x, T* out, const Strides& s) {
    int n = 1;
    for (int side = 0; side < 6; side++) n *= s.shape[side];
    over_numbers(
        n, false, [](int) {},
        [&](int i) {
            long long from = 0, to = 0;
#pragma unroll
            for (int side = 5; side >= 0; side--) {
                const int place = i % s.shape[side];
                i /= s.shape[side];
                from += (long long)place * s.from[side], to += (long long)place * s.to[side];
            }
            out[to] = x[from];
        });
}
// In f64, as the reference of LingBot does it.
template <class T>
DEVICE void flow_step(const T* x, const T* flow, T* out, int n, double step) {
    map2(x, flow, out, n, [&](int, float a, float v) { return (float)((double)a + step * (double)v); });
}
template <class T>
DEVICE void renoise(const T* clean, const T* noise, T* out, int n, float sigma) {
    map2(clean, noise, out, n, [&](int, float c, float e) { return (1.0f - sigma) * c + sigma * e; });
}
template <class T>
DEVICE void weighted_sum(const Terms& terms, T* out, int n) {
    over_numbers(
        n, false, [](int) {},
        [&](int i) {
            double sum = 0.0;
#pragma unroll
            for (int t = 0; t < TERMS; t++)
                if (t < terms.count) sum += terms.weight[t] * (double)widen(((const T*)terms.term[t])[i]);
            put(out + i, (float)sum);
        });
}
template <class T>
DEVICE void channel_affine(const T* x, const float* mean, const float* deviation, T* out, int channels, int per_channel, int restore) {
    map1(x, out, channels * per_channel, [&](int i, float v) {
        const int channel = i / per_channel;
        return restore ? v * deviation[channel] + mean[channel] : (v - mean[channel]) / deviation[channel];
    });
}

// One kernel: its name, its parameters, the function's arguments.
#define POINTWISE(name, t, parameters, arguments) \
    KERNEL(name##_##t, THREADS, 4) parameters { name arguments; } \
    REGISTER(name##_##t, THREADS)
#define ELEMENTWISE_KERNELS(T, t)                                                                                                 \
    POINTWISE(binary, t, (const T* a, const T* b, T* out, int n, int period, int op), (a, b, out, n, period, op))                 \
    POINTWISE(affine, t, (const T* x, T* out, int n, float factor, float offset), (x, out, n, factor, offset))                    \
    POINTWISE(scale_shift, t, (const T* h, const T* gain, const T* shift, T* out, int n), (h, gain, shift, out, n))               \
    POINTWISE(add_gated, t, (const T* h, const T* y, const float* gate, T* out, int rows, int width), (h, y, gate, out, rows, width)) \
    POINTWISE(add_to_rows, t, (const T* h, const float* row, T* out, int rows, int width, int first), (h, row, out, rows, width, first)) \
    POINTWISE(activation, t, (const T* x, T* out, int n, int kind), (x, out, n, kind))                                            \
    POINTWISE(gated_activation, t, (const T* gate, const T* up, T* out, int n, int kind), (gate, up, out, n, kind))               \
    POINTWISE(gather_rows, t, (const T* table, const u32* tokens, T* out, int count, int width), (table, tokens, out, count, width)) \
    POINTWISE(copy_strided, t, (const T* x, T* out, Strides strides), (x, out, strides))                                          \
    POINTWISE(flow_step, t, (const T* x, const T* flow, T* out, int n, double step), (x, flow, out, n, step))                     \
    POINTWISE(renoise, t, (const T* clean, const T* noise, T* out, int n, float sigma), (clean, noise, out, n, sigma))            \
    POINTWISE(weighted_sum, t, (Terms terms, T* out, int n), (terms, out, n))                                                     \
    POINTWISE(channel_affine, t, (const T* x, const float* mean, const float* deviation, T* out, int channels, int per_channel, int restore), \
              (x, mean, deviation, out, channels, per_channel, restore))

ELEMENTWISE_KERNELS(bf16, bf16)
ELEMENTWISE_KERNELS(float, f32)

KERNEL(cast_f32_bf16, THREADS, 4)(const float* x, bf16* out, int n) {
    map1(x, out, n, [](int, float v) { return v; });
}
REGISTER(cast_f32_bf16, THREADS)
KERNEL(cast_bf16_f32, THREADS, 4)(const bf16* x, float* out, int n) {
    map1(x, out, n, [](int, float v) { return v; });
}
REGISTER(cast_bf16_f32, THREADS)
