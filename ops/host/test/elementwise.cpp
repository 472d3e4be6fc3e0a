// elementwise.cu against its formulas in f64.
#include "test.h"

namespace {
// Tails of every length, more than one block, and a start that is off alignment.
struct Size {
    int rows, width, offset;
};
const Size SIZES[] = {{1, 1, 0}, {1, 3, 0}, {5, 7, 0}, {4, 8, 2}, {3, 341, 1}, {9, 230, 0}};
Launch by_four(const std::string& name, int n) { return {name, {ceil_div(n, 1024), 1, 1}, {256, 1, 1}}; }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double activated(double x, int kind) {
    switch (kind) {
        case 0: return x * sigmoid(x);
        case 1: return x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x));
        default: return x > 0 ? x * x : 0;
    }
}

template <class T>
void each_size() {
    for (auto [rows, width, offset] : SIZES) {
        const int n = rows * width;
        auto a = noise<T>(n, 1, 2, 0, offset), b = noise<T>(n, 2, 1, 0, offset), c = noise<T>(n, 3, 1, 0, offset);
        auto row = noise<T>(width, 4);
        auto gate = noise<float>(width, 5);
        auto name = [&](const char* kernel) { return text("%s %dx%d", named<T>(kernel).c_str(), rows, width); };
        auto fresh = [&] { return Buffer<T>(n, offset); };
        for (int op = 0; op < 3; op++) {
            auto combined = [&](double x, double y) { return op == 0 ? x + y : op == 1 ? x - y : x * y; };
            auto out = fresh();
            launch(by_four(named<T>("binary"), n), a.data(), b.data(), out.data(), n, n, op);
            expect(name("binary"), out, 1e-6, [&](size_t i) { return combined(a.at(i), b.at(i)); });
            auto by_row = fresh();
            launch(by_four(named<T>("binary"), n), a.data(), row.data(), by_row.data(), n, width, op);
            expect(name("binary by row"), by_row, 1e-6, [&](size_t i) { return combined(a.at(i), row.at(i % width)); });
            auto same = a.copy();
            launch(by_four(named<T>("binary"), n), same.data(), b.data(), same.data(), n, n, op);
            report(name("binary in place"), 0, same.equals(out));
        }
        auto out = fresh();
        launch(by_four(named<T>("affine"), n), a.data(), out.data(), n, -0.75f, 1.5f);
        expect(name("affine"), out, 1e-6, [&](size_t i) { return a.at(i) * -0.75 + 1.5; });
        out = fresh();
        launch(by_four(named<T>("scale_shift"), n), a.data(), b.data(), c.data(), out.data(), n);
        expect(name("scale_shift"), out, 2e-6, [&](size_t i) { return a.at(i) * b.at(i) + c.at(i); });
        out = fresh();
        launch(by_four(named<T>("add_gated"), n), a.data(), b.data(), gate.data(), out.data(), rows, width);
        expect(name("add_gated"), out, 2e-6, [&](size_t i) { return a.at(i) + b.at(i) * gate.at(i % width); });
        for (int first : {0, rows / 2, rows}) {
            out = fresh();
            launch(by_four(named<T>("add_to_rows"), n), a.data(), gate.data(), out.data(), rows, width, first);
            expect(name("add_to_rows"), out, 1e-6,
                   [&](size_t i) { return (int)i / width < first ? a.at(i) : a.at(i) + gate.at(i % width); });
        }
        for (int kind = 0; kind < 3; kind++) {
            auto wide = noise<T>(n, 6, 8);  // far into both flat parts
            out = fresh();
            launch(by_four(named<T>("activation"), n), wide.data(), out.data(), n, kind);
            expect(name("activation"), out, 4e-6, [&](size_t i) { return activated(wide.at(i), kind); });
            out = fresh();
            launch(by_four(named<T>("gated_activation"), n), a.data(), b.data(), out.data(), n, kind);
            expect(name("gated_activation"), out, 1e-5, [&](size_t i) { return activated(a.at(i), kind) * b.at(i); });
        }
        out = fresh();
        launch(by_four(named<T>("flow_step"), n), a.data(), b.data(), out.data(), n, -0.123456789012345);
        expect(name("flow_step"), out, sizeof(T) == 2 ? 1e-7 : 0, [&](size_t i) { return a.at(i) - 0.123456789012345 * b.at(i); });
        out = fresh();
        launch(by_four(named<T>("renoise"), n), a.data(), b.data(), out.data(), n, 0.3f);
        expect(name("renoise"), out, 1e-6, [&](size_t i) { return (1 - 0.3f) * a.at(i) + 0.3f * b.at(i); });
        struct {
            const void* term[6];
            double weight[6];
            int count, reserved;
        } terms = {{a.data(), b.data(), c.data()}, {0.5, -2, 1.25}, 3, 0};
        out = fresh();
        launch(by_four(named<T>("weighted_sum"), n), terms, out.data(), n);
        expect(name("weighted_sum"), out, 1e-6, [&](size_t i) { return 0.5 * a.at(i) - 2 * b.at(i) + 1.25 * c.at(i); });
        auto mean = noise<float>(rows, 7), deviation = noise<float>(rows, 8, 0.2, 2);
        for (int restore : {0, 1}) {
            out = fresh();
            launch(by_four(named<T>("channel_affine"), n), a.data(), mean.data(), deviation.data(), out.data(), rows, width, restore);
            expect(name("channel_affine"), out, 2e-6, [&](size_t i) {
                const double m = mean.at(i / width), d = deviation.at(i / width);
                return restore ? a.at(i) * d + m : (a.at(i) - m) / d;
            });
        }
        // Rows looked up, in any order and twice.
        const int count = 2 * rows + 1;
        Buffer<uint32_t> tokens(count);
        for (int i = 0; i < count; i++) tokens[i] = (i * 5 + 2) % rows;
        Buffer<T> looked_up((size_t)count * width);
        launch(by_four(named<T>("gather_rows"), count * width), a.data(), tokens.data(), looked_up.data(), count, width);
        expect_equal(name("gather_rows"), looked_up, [&](size_t i) { return a[tokens[i / width] * width + i % width]; });
    }
}
TEST(elementwise) { each_size<float>(), each_size<Bf16>(); }

struct Strides {
    int shape[6], from[6], to[6];
};
// Latents (C, F, h, w) to tokens and back, and the middle of rows: whatever is a copy between two layouts.
template <class T>
void copies() {
    const int c = 3, f = 2, h = 4, w = 6;
    auto x = noise<T>(c * f * h * w, 1);
    Buffer<T> tokens(x.size()), back(x.size());
    // (C, F, h/2, 2, w/2, 2) read, (F, h/2, w/2, C, 2, 2) written; sides are named by what is read.
    Strides patchify = {{c, f, h / 2, 2, w / 2, 2}, {f * h * w, h * w, 2 * w, w, 2, 1}, {4, h * w * c, w * 2 * c, 2, 4 * c, 1}};
    launch(by_four(named<T>("copy_strided"), x.size()), x.data(), tokens.data(), patchify);
    expect_equal(named<T>("copy_strided") + " patchify", tokens, [&](size_t i) {
        const int feature = i % (4 * c), token = i / (4 * c);
        const int channel = feature / 4, py = feature / 2 % 2, px = feature % 2;
        const int frame = token / (h / 2 * (w / 2)), row = token / (w / 2) % (h / 2), column = token % (w / 2);
        return x[((channel * f + frame) * h + row * 2 + py) * w + column * 2 + px];
    });
    std::swap(patchify.from, patchify.to);
    launch(by_four(named<T>("copy_strided"), x.size()), tokens.data(), back.data(), patchify);
    expect_equal(named<T>("copy_strided") + " and back", back, [&](size_t i) { return x[i]; });
    // A column block into the middle of wider rows: the rest stays as it is.
    const int rows = 37, width = 41;
    auto narrow = noise<T>(rows * width, 2);
    auto wide = noise<T>(rows * 100, 3), before = wide.copy();
    Strides into = {{1, 1, 1, 1, rows, width}, {0, 0, 0, 0, width, 1}, {0, 0, 0, 0, 100, 1}};
    launch(by_four(named<T>("copy_strided"), rows * width), narrow.data(), wide.data() + 7, into);
    expect_equal(named<T>("copy_strided") + " into wider rows", wide, [&](size_t i) {
        const int column = (int)(i % 100) - 7;
        return column >= 0 && column < width ? narrow[i / 100 * width + column] : before[i];
    });
}
TEST(copy_strided) { copies<float>(), copies<Bf16>(); }

TEST(cast) {
    for (int n : {1, 6, 1027}) {
        auto x = noise<float>(n, 1, 100);
        // Ties, the largest, infinities and NaN.
        const float special[] = {1.00390625f, 1.01171875f, 3.4e38f, INFINITY, -INFINITY, NAN};
        for (int i = 0; i < n && i < 6; i++) x[i] = special[i];
        Buffer<Bf16> narrow(n);
        launch(by_four("cast_f32_bf16", n), x.data(), narrow.data(), n);
        bool good = narrow.surroundings_are_untouched();
        for (int i = 0; i < n; i++) {
            const float found = value_of(narrow[i]);
            good &= std::isnan(x[i]) ? std::isnan(found) : std::isinf(x[i]) ? found == x[i] : found == value_of(rounded<Bf16>(x[i]));
        }
        report("cast_f32_bf16", 0, good);
        Buffer<float> wide(n);
        launch(by_four("cast_bf16_f32", n), narrow.data(), wide.data(), n);
        good = wide.surroundings_are_untouched();
        for (int i = 0; i < n; i++) good &= std::isnan(x[i]) ? std::isnan(wide[i]) : wide[i] == value_of(narrow[i]);
        report("cast_bf16_f32", 0, good);
    }
}
}  // namespace
