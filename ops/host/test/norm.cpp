// norm.cu against src/norm.rs, src/rope.rs and src/rope_halves.rs, written as formulas in f64.
#include "test.h"

namespace {
struct Size {
    int rows, width, offset;  // offset: elements off alignment
};
const Size SIZES[] = {{1, 1, 0}, {3, 5, 0}, {5, 24, 0}, {2, 36, 1}, {3, 130, 0}, {4, 192, 0}, {2, 516, 2}, {2, 1536, 0}};
const double EPS = 1e-6;

template <class T>
void layer_norms() {
    for (auto [rows, width, offset] : SIZES)
        for (float gain_offset : {0.0f, 1.0f}) {
            auto x = noise<T>(rows * width, 1, 1.5, 3, offset);
            auto gain = noise<float>(width, 2), shift = noise<float>(width, 3);
            Buffer<T> out(rows * width, offset);
            auto before = x.copy();
            // A grid of more blocks than rows: those beyond do nothing.
            launch({named<T>("layer_norm"), {(unsigned)rows + 1, 1, 1}, {128, 1, 1}}, x.data(), gain.data(), shift.data(), out.data(), rows,
                   width, gain_offset, (float)EPS);
            std::vector<double> mean(rows), scale(rows);
            for (int r = 0; r < rows; r++) {
                double square = 0;
                for (int i = 0; i < width; i++) mean[r] += x.at(r * width + i) / width;
                for (int i = 0; i < width; i++) square += std::pow(x.at(r * width + i) - mean[r], 2) / width;
                scale[r] = 1 / std::sqrt(square + EPS);
            }
            expect(text("%s %dx%d gain from %g", named<T>("layer_norm").c_str(), rows, width, gain_offset), out, 2e-5, [&](size_t i) {
                const int r = i / width, c = i % width;
                return (x.at(i) - mean[r]) * scale[r] * (gain_offset + gain.at(c)) + shift.at(c);
            });
            report("its input is untouched", 0, x.equals(before));
        }
}
TEST(layer_norm) { layer_norms<float>(), layer_norms<Bf16>(); }

template <class T>
void rms_norms() {
    for (auto [rows, width, offset] : SIZES) {
        auto x = noise<T>(rows * width, 4, 1.5, 0.5, offset);
        auto gamma = noise<float>(width, 5);
        Buffer<T> out(rows * width, offset);
        launch({named<T>("rms_norm"), {(unsigned)rows + 1, 1, 1}, {128, 1, 1}}, x.data(), gamma.data(), out.data(), rows, width, (float)EPS);
        auto scale = [&](int r) {
            double square = 0;
            for (int i = 0; i < width; i++) square += std::pow(x.at(r * width + i), 2) / width;
            return 1 / std::sqrt(square + EPS);
        };
        std::vector<double> scales;
        for (int r = 0; r < rows; r++) scales.push_back(scale(r));
        expect(text("%s %dx%d", named<T>("rms_norm").c_str(), rows, width), out, 4e-6,
               [&](size_t i) { return x.at(i) * scales[i / width] * gamma.at(i % width); });
        // In place.
        auto same = x.copy();
        launch({named<T>("rms_norm"), {(unsigned)rows, 1, 1}, {128, 1, 1}}, same.data(), gamma.data(), same.data(), rows, width, (float)EPS);
        report(text("%s in place", named<T>("rms_norm").c_str()), 0, same.equals(out));
    }
}
TEST(rms_norm) { rms_norms<float>(), rms_norms<Bf16>(); }

// Rows of heads with angles; `halves`: a channel is turned with the one half a head further on, else with its neighbour.
template <class T>
void ropes(bool halves) {
    struct {
        int rows, heads, head, offset;
    } sizes[] = {{1, 1, 2, 0}, {3, 1, 6, 0}, {2, 4, 48, 0}, {3, 2, 24, 1}, {2, 3, 128, 0}, {1, 12, 128, 0}, {5, 3, 10, 0}, {2, 5, 12, 0}};
    for (auto [rows, heads, head, offset] : sizes)
        for (bool normed : {true, false}) {
            const int width = heads * head, half = head / 2;
            auto x = noise<T>(rows * width, 6, 1, 0, offset);
            auto gamma = noise<float>(halves ? head : width, 7);
            Buffer<float> cos(rows * half), sin(rows * half);
            for (int i = 0; i < rows * half; i++) cos[i] = std::cos(0.37 * i), sin[i] = std::sin(0.37 * i);
            Buffer<T> out(rows * width, offset);
            const float* gain = normed ? gamma.data() : nullptr;
            const std::string name = named<T>(halves ? "head_norm_rope" : "rms_norm_rope");
            if (halves)
                launch({name, {ceil_div(rows * heads, 4), 1, 1}, {128, 1, 1}}, x.data(), gain, cos.data(), sin.data(), out.data(), rows, heads,
                       head, (float)EPS);
            else
                launch({name, {(unsigned)rows + 1, 1, 1}, {128, 1, 1}}, x.data(), gain, cos.data(), sin.data(), out.data(), rows, width, head,
                       (float)EPS);
            auto straight = [&](int r, int i) {  // before it is turned
                if (!normed) return x.at(r * width + i);
                const int first = halves ? i / head * head : 0, count = halves ? head : width;
                double square = 0;
                for (int k = 0; k < count; k++) square += std::pow(x.at(r * width + first + k), 2) / count;
                return x.at(r * width + i) / std::sqrt(square + EPS) * gamma.at(halves ? i % head : i);
            };
            expect(text("%s %d rows, %d heads of %d, %s", name.c_str(), rows, heads, head, normed ? "normed" : "only turned"), out, 4e-6,
                   [&](size_t at) {
                       const int r = at / width, i = at % width, in_head = i % head;
                       const bool second = halves ? in_head >= half : in_head % 2;
                       const int pair = halves ? in_head % half : in_head / 2, apart = halves ? half : 1;
                       const int a = second ? i - apart : i, b = a + apart;
                       const double c = cos.at(r * half + pair), s = sin.at(r * half + pair);
                       return second ? straight(r, b) * c + straight(r, a) * s : straight(r, a) * c - straight(r, b) * s;
                   });
        }
}
TEST(rms_norm_rope) { ropes<float>(false), ropes<Bf16>(false); }
TEST(head_norm_rope) { ropes<float>(true), ropes<Bf16>(true); }
}  // namespace
