// linear.cu and conv.cu against sums written as loops in f64.
#include "test.h"

namespace {
double activated(double x, int kind) {
    switch (kind) {
        case 0: return x / (1 + std::exp(-x));
        case 1: return x / (1 + std::exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)));
        case 2: return x > 0 ? x * x : 0;
        default: return x;
    }
}
// What f32 sums of `depth` products may be off, numbers being about 1: the rounding errors of a random walk, and room.
double slack(int depth, double scale) { return 6e-7 * scale * std::sqrt(depth) + 1e-6; }

template <class T>
void linear(int rows, int inputs, int outputs, int activation, bool biased, bool added, bool gated, int gap, size_t offset) {
    const int x_step = inputs + gap, weight_step = inputs + 2 * gap, out_step = outputs + gap;
    auto x = noise<T>((size_t)rows * x_step, 1, 1, 0, offset), weight = noise<T>((size_t)outputs * weight_step, 2, 1, 0, offset);
    auto bias = noise<float>(outputs, 3), gate = noise<float>(outputs, 4);
    auto residual = noise<T>((size_t)rows * out_step, 5, 1, 0, offset);
    auto out = residual.copy();  // so that what stands between its rows can be compared
    // Between the rows of the inputs stands NaN: reading it shows.
    for (int r = 0; r < rows; r++)
        for (int i = inputs; i < x_step; i++) assign(x[(size_t)r * x_step + i], NAN);
    for (int c = 0; c < outputs; c++)
        for (int i = inputs; i < weight_step; i++) assign(weight[(size_t)c * weight_step + i], NAN);
    const unsigned tile = sizeof(T) == 2 ? 128 : 64;
    launch({named<T>("linear"), {ceil_div(rows, tile), ceil_div(outputs, tile), 1}, {256, 1, 1}, sizeof(T) == 2 ? 49152u : 0}, x.data(),
           weight.data(), biased ? bias.data() : nullptr, added ? residual.data() : nullptr, gated ? gate.data() : nullptr, out.data(), rows,
           inputs, outputs, x_step, weight_step, out_step, activation);
    std::vector<double> wide_x(x.size()), wide_w(weight.size());
    for (size_t i = 0; i < x.size(); i++) wide_x[i] = x.at(i);
    for (size_t i = 0; i < weight.size(); i++) wide_w[i] = weight.at(i);
    expect(text("%s %dx%d->%d act %d bias %d residual %d gate %d gap %d", named<T>("linear").c_str(), rows, inputs, outputs, activation, biased,
                added, gated, gap),
           // A square makes an error larger by twice the number, which is about the root of the depth; a gate is 4 at most.
           out, slack(inputs, activation == 2 ? 32 * std::sqrt(inputs) : 4), [&](size_t at) {
               const int r = at / out_step, c = at % out_step;
               if (c >= outputs) return residual.at(at);
               double y = biased ? bias.at(c) : 0;
               for (int i = 0; i < inputs; i++) y += wide_x[(size_t)r * x_step + i] * wide_w[(size_t)c * weight_step + i];
               y = activated(y, activation);
               return added ? residual.at(at) + y * (gated ? gate.at(c) : 1) : y;
           });
}
template <class T>
void linears() {
    linear<T>(1, 8, 8, -1, true, false, false, 0, 0);
    linear<T>(5, 7, 3, 0, true, false, false, 0, 0);    // nothing is a multiple of anything
    linear<T>(33, 72, 40, 1, true, false, false, 0, 0); // a tail of the depth
    linear<T>(7, 40, 65, 2, false, false, false, 8, 0);
    linear<T>(9, 64, 10, -1, true, true, true, 8, 0);   // rows further apart
    linear<T>(9, 24, 11, -1, false, true, false, 3, 0); // and off alignment
    linear<T>(6, 24, 12, -1, true, true, true, 0, 1);
    if (settings.bounded) return;
    linear<T>(130, 160, 136, 1, true, true, true, 0, 0);  // more tiles than one each way, more steps than stages
    linear<T>(65, 300, 129, -1, true, false, false, 0, 0);
    linear<T>(257, 32, 64, -1, false, false, false, 0, 0);
}
TEST(linear_plain) { linears<float>(); }
TEST(linear_tensor) { linears<Bf16>(); }
template <class T>
void random_linear(Dice& dice) {
    const int step = dice.coin() ? 8 : 1;  // half of them for the wide copies
    const int inputs = (dice.near(32, 100) + step - 1) / step * step, gap = dice.of(0, 2) * step;
    const bool added = dice.coin();
    linear<T>(dice.near(64, 200), inputs, dice.near(64, 200), dice.of(-1, 2), dice.coin(), added, added && dice.coin(), gap,
              step == 8 ? 0 : dice.of(0, 1));
}
TEST(linear_random) {
    Dice dice("linear");
    for (int i = 0; i < settings.random; i++) i % 2 ? random_linear<float>(dice) : random_linear<Bf16>(dice);
}
TEST(linear_in_place) {  // the residual's own memory
    const int rows = 20, inputs = 16, outputs = 24;
    auto x = noise<Bf16>(rows * inputs, 1), weight = noise<Bf16>(outputs * inputs, 2), h = noise<Bf16>(rows * outputs, 3);
    Buffer<Bf16> apart(rows * outputs);
    const float* none = nullptr;
    for (Bf16* out : {apart.data(), h.data()})
        launch({"linear_bf16", {1, 1, 1}, {256, 1, 1}, 49152}, x.data(), weight.data(), none, h.data(), none, out, rows, inputs, outputs, inputs,
               inputs, outputs, -1);
    report("a residual may be overwritten by the result", 0, h.equals(apart));
}

enum class Kind { Same, Down, Up };
template <class T>
void conv(int inputs, int outputs, int height, int width, int window, int side, Kind kind, int present, bool added) {
    std::vector<Buffer<T>> frames;
    for (int f = 0; f < present; f++) frames.push_back(noise<T>((size_t)height * width * inputs, 1 + f));
    // As checkpoints store it: (out, in, window, side, side).
    auto weight = noise<T>((size_t)outputs * inputs * window * side * side, 5);
    auto bias = noise<float>(outputs, 6);
    const int scale = kind == Kind::Up ? 2 : 1, stride = kind == Kind::Down ? 2 : 1, phases = scale * scale;
    const int taps = kind == Kind::Up ? 2 : side, origin = side == 1 || kind == Kind::Down ? 0 : -1;
    const int rows = height / stride, columns = width / stride;
    auto w = [&](int o, int i, int f, int ky, int kx) { return weight.at((((size_t)(o * inputs + i) * window + f) * side + ky) * side + kx); };
    // Packed for the kernel: (phases, out, window, taps, taps, in).
    Buffer<T> packed((size_t)phases * outputs * window * taps * taps * inputs);
    auto reads = [&](int phase, int k) { return kind == Kind::Up ? (phase + k + 1) / 2 - phase : k; };  // the tap that reads kernel row k
    size_t next = 0;
    for (int p = 0; p < phases; p++)
        for (int o = 0; o < outputs; o++)
            for (int f = 0; f < window; f++)
                for (int ty = 0; ty < taps; ty++)
                    for (int tx = 0; tx < taps; tx++)
                        for (int i = 0; i < inputs; i++) {
                            double sum = 0;
                            for (int ky = 0; ky < side; ky++)
                                for (int kx = 0; kx < side; kx++)
                                    if (reads(p / scale, ky) == ty && reads(p % scale, kx) == tx) sum += w(o, i, f, ky, kx);
                            assign(packed[next++], sum);
                        }
    auto packed_at = [&](int p, int o, int f, int ty, int tx, int i) {
        return packed.at(((((size_t)(p * outputs + o) * window + f) * taps + ty) * taps + tx) * inputs + i);
    };
    auto add = noise<T>((size_t)rows * scale * columns * scale * outputs, 7);
    Buffer<T> out(add.size());
    const T* given[3] = {};
    for (int f = 0; f < present; f++) given[f] = frames[f].data();
    const unsigned tile = sizeof(T) == 2 ? 128 : 64;
    launch({named<T>("conv"), {ceil_div(rows * columns, tile), ceil_div(outputs, tile), (unsigned)phases}, {256, 1, 1}, sizeof(T) == 2 ? 49152u : 0},
           given[0], given[1], given[2], packed.data(), bias.data(), added ? add.data() : nullptr, out.data(), height, width, inputs, outputs,
           rows, columns, taps, stride, scale, origin, present, window);
    expect(text("%s %d->%d at %dx%d, %dx%dx%d of %d frames, %s", named<T>("conv").c_str(), inputs, outputs, height, width, window, side, side,
                present, kind == Kind::Up ? "doubled" : kind == Kind::Down ? "halved" : "same"),
           out, slack(inputs * present * side * side, 12), [&](size_t at) {
               const int o = at % outputs, x = at / outputs % (columns * scale), y = at / outputs / (columns * scale);
               double sum = bias.at(o) + (added ? add.at(at) : 0);
               for (int f = 0; f < present; f++)
                   for (int ky = 0; ky < side; ky++)
                       for (int kx = 0; kx < side; kx++) {
                           // The doubled picture, where there is one, padded by a pixel; or by one on the right and below.
                           const int yy = y * stride + ky - (kind == Kind::Down ? 0 : side / 2), xx = x * stride + kx - (kind == Kind::Down ? 0 : side / 2);
                           if (yy < 0 || xx < 0 || yy >= height * scale || xx >= width * scale) continue;
                           const int p = y % scale * scale + x % scale, window_frame = window - present + f;
                           for (int i = 0; i < inputs; i++) {
                               const double pixel = frames[f].at(((size_t)(yy / scale) * width + xx / scale) * inputs + i);
                               // Folded weights are rounded when they are packed; the share of this tap is what is left of them.
                               if (kind != Kind::Up) {
                                   sum += pixel * w(o, i, window_frame, ky, kx);
                                   continue;
                               }
                               const int ty = reads(y % 2, ky), tx = reads(x % 2, kx);
                               // Several kernel places share a tap: count it once, at the first of them.
                               auto first = [&](int phase, int k) { return k == 0 || reads(phase, k - 1) != reads(phase, k); };
                               if (first(y % 2, ky) && first(x % 2, kx)) sum += pixel * packed_at(p, o, window_frame, ty, tx, i);
                           }
                       }
               return sum;
           });
}
template <class T>
void convs() {
    conv<T>(1, 1, 1, 1, 3, 3, Kind::Same, 1, false);
    conv<T>(3, 5, 5, 7, 1, 3, Kind::Same, 1, true);
    conv<T>(16, 3, 4, 5, 3, 3, Kind::Same, 2, false);
    conv<T>(8, 40, 3, 4, 3, 1, Kind::Same, 3, false);
    conv<T>(20, 9, 3, 3, 1, 1, Kind::Same, 1, true);
    conv<T>(4, 6, 4, 6, 1, 3, Kind::Down, 1, false);
    conv<T>(8, 5, 3, 4, 1, 3, Kind::Up, 1, false);
    if (settings.bounded) return;
    conv<T>(40, 130, 9, 16, 3, 3, Kind::Same, 3, true);
    conv<T>(33, 7, 7, 6, 3, 3, Kind::Same, 3, false);
    conv<T>(24, 16, 12, 26, 1, 3, Kind::Down, 1, false);
    conv<T>(16, 24, 6, 13, 1, 3, Kind::Up, 1, true);
}
template <class T>
void random_conv(Dice& dice) {
    const int inputs = dice.coin() ? 8 * dice.of(1, 9) : dice.of(1, 70), kind = dice.of(0, 4);
    const int height = 2 * dice.of(1, 8), width = 2 * dice.of(1, 9), outputs = dice.near(64, 140);
    if (kind == 0) return conv<T>(inputs, outputs, height, width, 1, 3, Kind::Down, 1, dice.coin());
    if (kind == 1) return conv<T>(inputs, outputs, height, width, 1, 3, Kind::Up, 1, dice.coin());
    const int window = dice.coin() ? 3 : 1, present = window == 1 ? 1 : dice.of(1, 3);
    conv<T>(inputs, outputs, height - dice.of(0, 1), width - dice.of(0, 1), window, dice.coin() ? 3 : 1, Kind::Same, present, dice.coin());
}
TEST(conv_random) {
    Dice dice("conv");
    for (int i = 0; i < settings.random; i++) i % 2 ? random_conv<float>(dice) : random_conv<Bf16>(dice);
}
TEST(conv_plain) { convs<float>(); }
TEST(conv_tensor) { convs<Bf16>(); }
}  // namespace
