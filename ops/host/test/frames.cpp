// frames.cu against src/channel_norm.rs, src/shortcut.rs and src/pixels.rs, written as formulas in f64.
#include "test.h"

namespace {
template <class T>
void channel_norms() {
    struct {
        int pixels, channels, offset;
    } sizes[] = {{1, 1, 0}, {10, 3, 0}, {9, 16, 0}, {17, 24, 1}, {3, 37, 0}, {8, 96, 0}, {2, 384, 0}};
    for (auto [pixels, channels, offset] : sizes)
        for (int silu : {0, 1}) {
            auto x = noise<T>(pixels * channels, 1, 2, 0, offset);
            auto gain = noise<float>(channels, 2);
            // A pixel of zeros has the norm's floor, not a division by zero.
            for (int i = 0; i < channels; i++) assign(x[i], 0);
            Buffer<T> out(pixels * channels, offset);
            launch({named<T>("channel_norm"), {ceil_div(pixels, 8), 1, 1}, {256, 1, 1}}, x.data(), gain.data(), out.data(), pixels, channels,
                   silu);
            std::vector<double> norm(pixels);
            for (size_t i = 0; i < x.size(); i++) norm[i / channels] += x.at(i) * x.at(i);
            expect(text("%s %d pixels of %d, silu %d", named<T>("channel_norm").c_str(), pixels, channels, silu), out, 4e-6, [&](size_t i) {
                const double y = x.at(i) / std::max(std::sqrt(norm[i / channels]), 1e-12) * gain.at(i % channels);
                return silu ? y / (1 + std::exp(-y)) : y;
            });
        }
}
TEST(channel_norm) { channel_norms<float>(), channel_norms<Bf16>(); }

template <class T>
void shortcuts() {
    // Channels of the larger and of the smaller video, rows and columns of the smaller.
    struct {
        int large, small, height, width, time, side;
    } sizes[] = {{3, 3, 2, 3, 1, 2}, {3, 6, 3, 2, 2, 2}, {4, 8, 2, 2, 2, 2}, {6, 6, 2, 5, 1, 1}, {6, 3, 1, 4, 1, 1}, {2, 16, 9, 3, 2, 2}};
    for (auto [large, small, height, width, time, side] : sizes) {
        const int block = time * side * side, big = height * side * width * side;
        auto older = noise<T>(big * large, 1), newer = noise<T>(big * large, 2), y = noise<T>(height * width * small, 3);
        for (bool missing : {false, true}) {
            if (missing && time == 1) continue;
            Buffer<T> out(y.size());
            const int h = height, w = width, s = small, l = large, t = time, d = side;
            launch({named<T>("add_averaged"), {ceil_div(y.size(), 256), 1, 1}, {256, 1, 1}}, missing || time == 1 ? nullptr : older.data(),
                   newer.data(), y.data(), out.data(), h, w, s, l, t, d);
            const int group = large * block / small;
            expect(text("%s %d from %d, block %dx%d, missing %d", named<T>("add_averaged").c_str(), small, large, time, side, missing), out,
                   4e-6, [&](size_t i) {
                       const int channel = i % s, column = i / s % w, row = i / s / w;
                       double sum = 0;
                       for (int k = 0; k < group; k++) {
                           // (channel, frame, row, column) of the folded channel, slowest first.
                           const int folded = channel * group + k, dx = folded % d, dy = folded / d % d, frame = folded / d / d % t;
                           const int source = folded / d / d / t;
                           if (frame == 0 && missing) continue;
                           const auto& from = t == 2 && frame == 0 ? older : newer;
                           sum += from.at(((size_t)(row * d + dy) * w * d + column * d + dx) * l + source);
                       }
                       return y.at(i) + sum / group;
                   });
        }
        if (large * block % small) continue;
        auto x = noise<T>(height * width * small, 4), yy = noise<T>(big * large, 5);
        for (int in_block = 0; in_block < time; in_block++) {
            Buffer<T> out(yy.size());
            const int s = small, l = large, t = time, d = side, w = width * side;
            launch({named<T>("add_repeated"), {ceil_div(yy.size(), 256), 1, 1}, {256, 1, 1}}, x.data(), yy.data(), out.data(), height * side, w,
                   l, s, t, d, in_block);
            const int repeats = large * block / small;
            expect(text("%s %d from %d, block %dx%d, frame %d", named<T>("add_repeated").c_str(), large, small, time, side, in_block), out,
                   1e-6, [&](size_t i) {
                       const int channel = i % l, column = i / l % w, row = i / l / w;
                       const int folded = ((channel * t + in_block) * d + row % d) * d + column % d;
                       return yy.at(i) + x.at(((size_t)(row / d) * (w / d) + column / d) * s + folded / repeats);
                   });
        }
    }
}
TEST(shortcuts) { shortcuts<float>(), shortcuts<Bf16>(); }

template <class T>
void pixels() {
    for (int n : {3, 1023, 1030}) {
        auto x = noise<T>(n, 1, 1);
        const float special[] = {-7, -1, 0, 0.999f, 1, INFINITY, NAN, -INFINITY};
        for (int i = 0; i < 8 && i < n; i++) assign(x[i], 0), x[i] = std::isfinite(special[i]) ? rounded<T>(special[i]) : T{};
        if (n > 8) {
            if (sizeof(T) == 4) {
                const float odd[] = {INFINITY, NAN, -INFINITY};
                memcpy((void*)&x[5], odd, 12);
            } else {
                const uint16_t odd[] = {0x7f80, 0x7fc0, 0xff80};
                memcpy((void*)&x[5], odd, 6);
            }
        }
        Buffer<uint8_t> bytes(n);
        launch({named<T>("to_rgb8"), {ceil_div(n, 1024), 1, 1}, {256, 1, 1}}, x.data(), bytes.data(), n);
        expect_equal(named<T>("to_rgb8"), bytes, [&](size_t i) {
            const float v = value_of(x[i]) / 2.0f + 0.5f;
            return (uint8_t)(std::isnan(v) ? 0 : std::min(std::max(v, 0.0f), 1.0f) * 255.0f);
        });
        Buffer<T> back(n);
        for (int i = 0; i < n; i++) bytes[i] = i % 256;
        launch({named<T>("from_rgb8"), {ceil_div(n, 1024), 1, 1}, {256, 1, 1}}, bytes.data(), back.data(), n);
        expect(named<T>("from_rgb8"), back, 2e-7, [&](size_t i) { return 2.0 * (i % 256 / 255.0) - 1; });
    }
}
TEST(pixels) { pixels<float>(), pixels<Bf16>(); }
}  // namespace
