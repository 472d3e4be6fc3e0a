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

    DEVICE_MEMBER int steps(int depth) const { return present * side * side * ((in_channels + depth - 1) / depth); }
};

// Pixels: a thread's slots are always the same, so their places in the grid are computed once, and their addresses once a tap.
template <class T, int SLOTS>
struct Pixels {
    const Convolution<T>& c;
    bool wide;
    int channel = 0, tap_row = 0, tap_column = 0, frame = 0;
    int rows[SLOTS], columns[SLOTS];  // of the input, for tap (0, 0)
    const T* from;                    // the frame of this tap
    int pixels[SLOTS];                // where this tap's pixels begin in it; negative outside the picture

    DEVICE_MEMBER Pixels(const Convolution<T>& c, bool wide) : c(c), wide(wide) {}
    DEVICE_MEMBER void begin(int slot, int pixel) {
        // A pixel beyond the grid has a row that no tap brings into the picture.
        const bool there = pixel < c.grid_height * c.grid_width;
        rows[slot] = there ? pixel / c.grid_width * c.stride + c.origin + c.phase_row : -64;
        columns[slot] = pixel % c.grid_width * c.stride + c.origin + c.phase_column;
    }
    // More channels of a tap, or the next tap.
    DEVICE_MEMBER void advance(int step, int numbers) {
        if (step > 0) {
            channel += numbers;
            if (channel < c.in_channels) return;
            channel = 0;
            if (++tap_column == c.side) {
                tap_column = 0;
                if (++tap_row == c.side) tap_row = 0, frame++;
            }
        }
        from = frame == 0 ? c.frame0 : frame == 1 ? c.frame1 : c.frame2;
#pragma unroll
        for (int slot = 0; slot < SLOTS; slot++) {
            const int row = rows[slot] + tap_row, column = columns[slot] + tap_column;
            const bool outside = row < 0 || row >= c.in_height || column < 0 || column >= c.in_width;
            pixels[slot] = outside ? -1 : (row * c.in_width + column) * c.in_channels;
        }
    }
    DEVICE_MEMBER void part(int slot, int, int part, T* to) const {
        const int first = channel + part * PART, left = c.in_channels - first;
        const bool there = pixels[slot] >= 0 && left > 0;
        fetch_part(to, from + pixels[slot] + first, c.frame0, !there ? 0 : left < PART ? left : PART, wide);
    }
    DEVICE_MEMBER float at(int slot, int, int k) const {
        return pixels[slot] >= 0 && channel + k < c.in_channels ? widen(from[pixels[slot] + channel + k]) : 0.0f;
    }
};

template <class T>
struct Weights {
    const Convolution<T>& c;
    int first;
    bool wide;
    int channel = 0, tap, length;  // `tap`: where this tap's weights begin among the `length` of one output channel

    DEVICE_MEMBER Weights(const Convolution<T>& c, int first, bool wide) : c(c), first(first), wide(wide) {
        const int squares = c.side * c.side;
        tap = (c.window - c.present) * squares * c.in_channels, length = c.window * squares * c.in_channels;
    }
    DEVICE_MEMBER void advance(int step, int numbers) {
        if (step == 0) return;
        channel += numbers;
        if (channel >= c.in_channels) channel = 0, tap += c.in_channels;
    }
    // The weights of one output channel for this tap.
    DEVICE_MEMBER const T* of(int output) const {
        return c.weight + (u64)(c.phase * c.out_channels + output) * length + tap;
    }
    DEVICE_MEMBER void part(int, int row, int part, T* to) const {
        const int begin = channel + part * PART, left = c.in_channels - begin;
        const bool there = first + row < c.out_channels && left > 0;
        fetch_part(to, of(there ? first + row : 0) + begin, c.weight, !there ? 0 : left < PART ? left : PART, wide);
    }
    DEVICE_MEMBER float at(int, int row, int k) const {
        return first + row < c.out_channels && channel + k < c.in_channels ? widen(of(first + row)[channel + k]) : 0.0f;
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
    Pixels<bf16, slots> left(c, addresses % 16 == 0 && in_channels % PART == 0);
#pragma unroll
    for (int slot = 0; slot < slots; slot++) left.begin(slot, first_pixel + (threadIdx.x + slot * PRODUCT_THREADS) / PARTS);
    Weights<bf16> right(c, first_channel, (u64)weight % 16 == 0 && in_channels % PART == 0);
    const ConvEnd<bf16> end = {c, bias, add, out, first_pixel, first_channel, scale};
    tensor_product(left, right, c.steps(DEPTH), end);
}
REGISTER(conv_bf16, PRODUCT_THREADS)

KERNEL(conv_f32, PRODUCT_THREADS, 2) CONV_PARAMETERS(float) {
    CONVOLUTION(float);
    const int first_pixel = blockIdx.x * PLAIN_TILE, first_channel = blockIdx.y * PLAIN_TILE;
    const int slots = PLAIN_TILE * PLAIN_DEPTH / PRODUCT_THREADS;
    Pixels<float, slots> left(c, false);
#pragma unroll
    for (int slot = 0; slot < slots; slot++) left.begin(slot, first_pixel + (threadIdx.x + slot * PRODUCT_THREADS) / PLAIN_DEPTH);
    Weights<float> right(c, first_channel, false);
    const ConvEnd<float> end = {c, bias, add, out, first_pixel, first_channel, scale};
    plain_product(left, right, c.steps(PLAIN_DEPTH), end);
}
REGISTER(conv_f32, PRODUCT_THREADS)
