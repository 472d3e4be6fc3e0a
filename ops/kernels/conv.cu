// Convolutions over a window of frames, as products whose left side is gathered by taps: 3×3×3, 3×1×1, 3×3, 1×1, at every
// second pixel, or of a picture that is doubled. One output frame a launch.
//
// Frames are `(in_height, in_width, in_channels)` without a border: pixels outside count as zero. frame0, frame1, frame2 are
// the `present` frames of the window that there are, oldest first; the window's older ones are skipped, not multiplied by zero.
// weight: `(scale² phases, out_channels, window, side, side, in_channels)`. bias: f32. add, or null, and out:
// `(grid_height·scale, grid_width·scale, out_channels)`. Tap (ty, tx) of grid pixel (gy, gx) in phase (py, px) reads row
// `gy·stride + origin + py·(scale−1) + ty`, and a column likewise. See src/conv.rs.
// Fast where addresses are multiples of 16 bytes and in_channels of 8. Executed in emulation, not yet on a GPU.
#include "product.cuh"

// What both sides need to know.
template <class T>
struct Convolution {
    const T *frame0, *frame1, *frame2, *weight;
    int in_height, in_width, in_channels, out_channels, grid_height, grid_width, side, stride, origin, present, window;
    int phase, phase_row, phase_column;

    DEVICE_MEMBER int chunks(int depth) const { return (in_channels + depth - 1) / depth; }
    DEVICE_MEMBER int steps(int depth) const { return present * side * side * chunks(depth); }
};

// Pixels: a thread's slots are always the same, so their places in the grid are computed once.
template <class T, int SLOTS>
struct Pixels {
    const Convolution<T>& c;
    int rows[SLOTS], columns[SLOTS];  // of the input, for tap (0, 0)
    bool there[SLOTS], wide;

    DEVICE_MEMBER void begin(int slot, int pixel) {
        there[slot] = pixel < c.grid_height * c.grid_width;
        rows[slot] = pixel / c.grid_width * c.stride + c.origin + c.phase_row;
        columns[slot] = pixel % c.grid_width * c.stride + c.origin + c.phase_column;
    }
    // The pixel that a slot reads for a tap; null outside the picture.
    DEVICE_MEMBER const T* pixel(int slot, int tap) const {
        const int frame = tap / (c.side * c.side), row = rows[slot] + tap / c.side % c.side, column = columns[slot] + tap % c.side;
        if (!there[slot] || row < 0 || row >= c.in_height || column < 0 || column >= c.in_width) return nullptr;
        const T* from = frame == 0 ? c.frame0 : frame == 1 ? c.frame1 : c.frame2;
        return from + ((u64)row * c.in_width + column) * c.in_channels;
    }
    DEVICE_MEMBER void part(int slot, int, int part, int step, T* to) const {
        const int chunks = c.chunks(DEPTH), channel = step % chunks * DEPTH + part * PART, left = c.in_channels - channel;
        const T* from = pixel(slot, step / chunks);
        fetch_part(to, from + channel, c.frame0, !from || left < 0 ? 0 : left < PART ? left : PART, wide);
    }
    DEVICE_MEMBER float at(int slot, int, int k, int step) const {
        const int chunks = c.chunks(PLAIN_DEPTH), channel = step % chunks * PLAIN_DEPTH + k;
        const T* from = pixel(slot, step / chunks);
        return from && channel < c.in_channels ? widen(from[channel]) : 0.0f;
    }
};

template <class T>
struct Weights {
    const Convolution<T>& c;
    int first;
    bool wide;

    // The weights of one output channel for one tap.
    DEVICE_MEMBER const T* tap(int output, int tap) const {
        const int squares = c.side * c.side, skipped = (c.window - c.present) * squares;
        return c.weight + (((u64)c.phase * c.out_channels + output) * (c.window * squares) + skipped + tap) * c.in_channels;
    }
    DEVICE_MEMBER void part(int, int row, int part, int step, T* to) const {
        const int chunks = c.chunks(DEPTH), channel = step % chunks * DEPTH + part * PART, left = c.in_channels - channel;
        const bool there = first + row < c.out_channels && left > 0;
        fetch_part(to, tap(there ? first + row : 0, step / chunks) + channel, c.weight, !there ? 0 : left < PART ? left : PART, wide);
    }
    DEVICE_MEMBER float at(int, int row, int k, int step) const {
        const int chunks = c.chunks(PLAIN_DEPTH), channel = step % chunks * PLAIN_DEPTH + k;
        return first + row < c.out_channels && channel < c.in_channels ? widen(tap(first + row, step / chunks)[channel]) : 0.0f;
    }
};

template <class T>
struct ConvEnd {
    const Convolution<T>& c;
    const float* bias;
    const T* add;
    T* out;
    int first_pixel, first_channel, scale;

    DEVICE_MEMBER u64 place_of(int pixel, int channel) const {
        const u64 row = (u64)(pixel / c.grid_width) * scale + c.phase_row, column = (u64)(pixel % c.grid_width) * scale + c.phase_column;
        return (row * c.grid_width * scale + column) * c.out_channels + channel;
    }
    DEVICE_MEMBER float finish(u64 at, int channel, float y) const {
        y += bias[channel];
        return add ? y + widen(add[at]) : y;
    }
    DEVICE_MEMBER void four(int row, int column, const float* v) const {
        const int pixel = first_pixel + row, channel = first_channel + column, count = c.out_channels - channel;
        if (pixel >= c.grid_height * c.grid_width || count <= 0) return;
        const u64 at = place_of(pixel, channel);
        float y[4];
#pragma unroll
        for (int i = 0; i < 4; i++) y[i] = i < count ? finish(at + i, channel + i, v[i]) : 0.0f;
        put_four(out + at, y, count);
    }
};

#define CONV_PARAMETERS(T)                                                                                                     \
    (const T* frame0, const T* frame1, const T* frame2, const T* weight, const float* bias, const T* add, T* out, int in_height, \
     int in_width, int in_channels, int out_channels, int grid_height, int grid_width, int side, int stride, int scale, int origin, \
     int present, int window)
#define CONVOLUTION(T)                                                                                                          \
    const int phase = blockIdx.z;                                                                                               \
    const Convolution<T> c = {frame0, frame1, frame2, weight, in_height, in_width, in_channels, out_channels, grid_height,      \
                              grid_width, side, stride, origin, present, window, phase, phase / scale, phase % scale}

KERNEL(conv_bf16, PRODUCT_THREADS, 2) CONV_PARAMETERS(bf16) {
    CONVOLUTION(bf16);
    const int first_pixel = blockIdx.x * TILE, first_channel = blockIdx.y * TILE;
    const int slots = TILE * PARTS / PRODUCT_THREADS;
    const u64 addresses = (u64)frame0 | (u64)frame1 | (u64)frame2;
    Pixels<bf16, slots> left = {c, {}, {}, {}, addresses % 16 == 0 && in_channels % PART == 0};
    for (int slot = 0; slot < slots; slot++) left.begin(slot, first_pixel + (threadIdx.x + slot * PRODUCT_THREADS) / PARTS);
    const Weights<bf16> right = {c, first_channel, (u64)weight % 16 == 0 && in_channels % PART == 0};
    const ConvEnd<bf16> end = {c, bias, add, out, first_pixel, first_channel, scale};
    tensor_product(left, right, c.steps(DEPTH), end);
}
REGISTER(conv_bf16, PRODUCT_THREADS)

KERNEL(conv_f32, PRODUCT_THREADS, 2) CONV_PARAMETERS(float) {
    CONVOLUTION(float);
    const int first_pixel = blockIdx.x * PLAIN_TILE, first_channel = blockIdx.y * PLAIN_TILE;
    const int slots = PLAIN_TILE * PLAIN_DEPTH / PRODUCT_THREADS;
    Pixels<float, slots> left = {c, {}, {}, {}, false};
    for (int slot = 0; slot < slots; slot++) left.begin(slot, first_pixel + (threadIdx.x + slot * PRODUCT_THREADS) / PLAIN_DEPTH);
    const Weights<float> right = {c, first_channel, false};
    const ConvEnd<float> end = {c, bias, add, out, first_pixel, first_channel, scale};
    plain_product(left, right, c.steps(PLAIN_DEPTH), end);
}
REGISTER(conv_f32, PRODUCT_THREADS)
