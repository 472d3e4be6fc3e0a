// What stands between the convolutions of a video autoencoder: frames are channel-last, without a border.
//
// See src/channel_norm.rs, src/shortcut.rs, src/pixels.rs. Executed in emulation, not yet on a GPU.
#include "portable.cuh"

enum { FRAME_THREADS = 256 };

// A warp a pixel: `x / max(‖x‖, 1e-12)·gain`, then SiLU if asked. gain = √channels·gamma, f32.
template <class T>
DEVICE void channel_norm(const T* x, const float* gain, T* out, int pixels, int channels, int silu) {
    const int lane = threadIdx.x % 32;
    const u32 pixel = blockIdx.x * (FRAME_THREADS / 32) + threadIdx.x / 32;
    if (pixel >= (u32)pixels) return;
    x += (u64)pixel * channels, out += (u64)pixel * channels;
    float square = 0.0f;
    const bool fours = channels % 4 == 0 && by_four(x) && by_four(out);
    if (fours)
        for (int i = lane * 4; i < channels; i += 128) {
            float v[4];
            read4(x + i, v);
            for (int k = 0; k < 4; k++) square += v[k] * v[k];
        }
    else
        for (int i = lane; i < channels; i += 32) square += widen(x[i]) * widen(x[i]);
    const float norm = square_root(warp_sum(square));
    const float scale = 1.0f / (norm > 1e-12f ? norm : 1e-12f);
    auto finish = [&](float v, int channel) {
        v *= scale * gain[channel];
        return silu ? activate(v, SILU) : v;
    };
    if (fours)
        for (int i = lane * 4; i < channels; i += 128) {
            float v[4];
            read4(x + i, v);
            for (int k = 0; k < 4; k++) v[k] = finish(v[k], i + k);
            write4(out + i, v);
        }
    else
        for (int i = lane; i < channels; i += 32) put(out + i, finish(widen(x[i]), i));
}

// `y` plus a larger video averaged down. Folded channels: channel slowest, then frame, row, column of a block; groups of
// consecutive ones are averaged. `older` null: the block's first frame is missing and counts as zero.
template <class T>
DEVICE void add_averaged(const T* older, const T* newer, const T* y, T* out, int height, int width, int channels, int large_channels,
                         int time, int side) {
    const u32 i = blockIdx.x * FRAME_THREADS + threadIdx.x;
    if (i >= (u32)(height * width * channels)) return;
    const int channel = i % channels, column = i / channels % width, row = i / channels / width;
    const int block = time * side * side, group = large_channels * block / channels;
    float sum = 0.0f;
    for (int place = channel * group; place < (channel + 1) * group; place++) {
        const int source = place / block, within = place % block, dy = within / side % side, dx = within % side;
        const T* frame = within / (side * side) == time - 1 ? newer : older;
        const u64 pixel = (u64)(row * side + dy) * (width * side) + column * side + dx;
        if (frame) sum += widen(frame[pixel * large_channels + source]);
    }
    put(out + i, widen(y[i]) + sum / (float)group);
}

// `y` plus a smaller video made larger by repeating channels, then unfolding them. `in_block`: which frame of a block y is.
template <class T>
DEVICE void add_repeated(const T* x, const T* y, T* out, int height, int width, int channels, int small_channels, int time, int side,
                         int in_block) {
    const u32 i = blockIdx.x * FRAME_THREADS + threadIdx.x;
    if (i >= (u32)(height * width * channels)) return;
    const int channel = i % channels, column = i / channels % width, row = i / channels / width;
    const int block = time * side * side, repeats = channels * block / small_channels;
    const int within = (in_block * side + row % side) * side + column % side;
    const u64 pixel = (u64)(row / side) * (width / side) + column / side;
    put(out + i, widen(y[i]) + widen(x[pixel * small_channels + (channel * block + within) / repeats]));
}

// [-1, 1] to a byte: clamped, then truncated. NaN becomes 0.
template <class T>
DEVICE void to_rgb8(const T* x, u8* out, int n) {
    const u32 first = (blockIdx.x * FRAME_THREADS + threadIdx.x) * 4;
    for (u32 i = first; i < first + 4 && i < (u32)n; i++) {
        float v = widen(x[i]) / 2.0f + 0.5f;
        v = v > 0.0f ? v : 0.0f;
        v = v < 1.0f ? v : 1.0f;
        out[i] = (u8)(int)(v * 255.0f);
    }
}
template <class T>
DEVICE void from_rgb8(const u8* rgb, T* out, int n) {
    const u32 first = (blockIdx.x * FRAME_THREADS + threadIdx.x) * 4;
    for (u32 i = first; i < first + 4 && i < (u32)n; i++) put(out + i, 2.0f * ((float)rgb[i] / 255.0f) - 1.0f);
}

#define FRAME_KERNELS(T, t)                                                                                                       \
    KERNEL(channel_norm_##t, FRAME_THREADS, 4)(const T* x, const float* gain, T* out, int pixels, int channels, int silu) {       \
        channel_norm(x, gain, out, pixels, channels, silu);                                                                       \
    }                                                                                                                             \
    REGISTER(channel_norm_##t, FRAME_THREADS)                                                                                     \
    KERNEL(add_averaged_##t, FRAME_THREADS, 4)                                                                                    \
    (const T* older, const T* newer, const T* y, T* out, int height, int width, int channels, int large_channels, int time, int side) { \
        add_averaged(older, newer, y, out, height, width, channels, large_channels, time, side);                                  \
    }                                                                                                                             \
    REGISTER(add_averaged_##t, FRAME_THREADS)                                                                                     \
    KERNEL(add_repeated_##t, FRAME_THREADS, 4)                                                                                    \
    (const T* x, const T* y, T* out, int height, int width, int channels, int small_channels, int time, int side, int in_block) { \
        add_repeated(x, y, out, height, width, channels, small_channels, time, side, in_block);                                   \
    }                                                                                                                             \
    REGISTER(add_repeated_##t, FRAME_THREADS)                                                                                     \
    KERNEL(to_rgb8_##t, FRAME_THREADS, 4)(const T* x, u8* out, int n) { to_rgb8(x, out, n); }                                     \
    REGISTER(to_rgb8_##t, FRAME_THREADS)                                                                                          \
    KERNEL(from_rgb8_##t, FRAME_THREADS, 4)(const u8* rgb, T* out, int n) { from_rgb8(rgb, out, n); }                             \
    REGISTER(from_rgb8_##t, FRAME_THREADS)

FRAME_KERNELS(bf16, bf16)
FRAME_KERNELS(float, f32)
