// attention.cu against softmax written as loops in f64.
#include "test.h"

namespace {
struct Run {
    const void *keys, *values;
    int rows, reserved;
};
struct Runs {
    Run run[4];
};
struct Case {
    int dim, rows;
    std::vector<int> runs;  // rows of each; a run of no rows may stand anywhere
    int heads = 1, key_heads = 1;
    bool biased = false, causal = false;
    int gap = 0;       // numbers between rows, a multiple of 8 for the kernels on tensor cores
    double loud = 1;   // how large queries are: sharp weights
    size_t offset = 0;
};

template <class T>
void attention(const Case& c, bool tensor) {
    const int width = c.heads * c.dim, key_width = c.key_heads * c.dim;
    const int q_step = width + c.gap, kv_step = key_width + c.gap, out_step = width + 2 * c.gap;
    int keys = 0;
    std::vector<Buffer<T>> k, v;
    Runs runs = {};
    for (size_t r = 0; r < c.runs.size(); r++) {
        // A run ends with its last row's numbers: nothing may be read behind them.
        const size_t n = c.runs[r] ? (size_t)(c.runs[r] - 1) * kv_step + key_width : 0;
        k.push_back(noise<T>(n, 10 + r, 1, 0, c.offset)), v.push_back(noise<T>(n, 20 + r, 1, 0, c.offset));
        runs.run[r] = {k[r].data(), v[r].data(), c.runs[r], 0};
        keys += c.runs[r];
    }
    auto q = noise<T>((size_t)c.rows * q_step, 1, c.loud, 0, c.offset);
    auto bias = noise<float>((size_t)c.heads * (2 * c.rows - 1), 2, 2);
    auto out = noise<T>((size_t)c.rows * out_step, 3, 1, 0, c.offset), before = out.copy();
    const float scale = c.biased ? 1 : (float)(1 / std::sqrt((double)c.dim));
    const float* given_bias = c.biased ? bias.data() : nullptr;
    const std::string name = tensor ? "attention_" + std::to_string(c.dim) + "_bf16" : named<T>("attention_any");
    const Launch how = {name, {ceil_div(c.rows, tensor ? 128 : 16), (unsigned)c.heads, 1}, {256, 1, 1}, tensor ? 4u * 64 * (c.dim + 8) * 2 : 0};
    if (tensor)
        launch(how, q.data(), runs, given_bias, out.data(), c.rows, keys, c.heads, c.key_heads, q_step, kv_step, out_step, scale, (int)c.causal);
    else
        launch(how, q.data(), runs, given_bias, out.data(), c.rows, keys, c.heads, c.key_heads, c.dim, q_step, kv_step, out_step, scale,
               (int)c.causal);
    std::vector<double> expected(out.size());
    for (size_t i = 0; i < out.size(); i++) expected[i] = before.at(i);
    std::vector<double> weight(keys), k_row((size_t)keys * key_width), v_row(k_row.size());
    int at = 0;
    for (size_t r = 0; r < c.runs.size(); r++)
        for (int i = 0; i < c.runs[r]; i++, at++)
            for (int j = 0; j < key_width; j++) {
                k_row[(size_t)at * key_width + j] = k[r].at((size_t)i * kv_step + j);
                v_row[(size_t)at * key_width + j] = v[r].at((size_t)i * kv_step + j);
            }
    for (int h = 0; h < c.heads; h++)
        for (int r = 0; r < c.rows; r++) {
            const int shared = h / (c.heads / c.key_heads), seen = c.causal ? r + 1 : keys;
            double total = 0, most = -1e300;
            for (int i = 0; i < seen; i++) {
                double dot = 0;
                for (int j = 0; j < c.dim; j++) dot += q.at((size_t)r * q_step + h * c.dim + j) * k_row[(size_t)i * key_width + shared * c.dim + j];
                weight[i] = dot * scale + (c.biased ? bias.at((size_t)h * (2 * c.rows - 1) + i - r + c.rows - 1) : 0);
                most = std::max(most, weight[i]);
            }
            for (int i = 0; i < seen; i++) total += weight[i] = std::exp(weight[i] - most);
            for (int j = 0; j < c.dim; j++) {
                double sum = 0;
                for (int i = 0; i < seen; i++) sum += weight[i] / total * v_row[(size_t)i * key_width + shared * c.dim + j];
                expected[(size_t)r * out_step + h * c.dim + j] = sum;
            }
        }
    std::string lengths;
    for (int r : c.runs) lengths += " " + std::to_string(r);
    // On tensor cores the weights are rounded to bf16 before they are multiplied with values of about 1: 2^-8 relative at most,
    // mostly cancelling. An error of a score is relative to it, and loud queries make scores large.
    expect(text("%s %d queries of %d, runs%s, heads %d/%d%s%s gap %d", name.c_str(), c.rows, c.dim, lengths.c_str(), c.heads, c.key_heads,
                c.biased ? ", biased" : "", c.causal ? ", causal" : "", c.gap),
           out, tensor ? 6e-3 : 1e-5 * (1 + c.loud / 4), [&](size_t i) { return expected[i]; });
}

TEST(attention_tensor) {
    for (int dim : {48, 64, 128}) {
        attention<Bf16>({dim, 1, {1}}, true);
        attention<Bf16>({dim, 70, {30, 33, 0, 27}, 1, 1}, true);
        attention<Bf16>({dim, 17, {65}, 2, 1, false, false, 8, 6}, true);
        attention<Bf16>({dim, 40, {40}, 1, 1, dim == 64, true, 0, 3}, true);
        attention<Bf16>({dim, 33, {33}, 2, 2, true, false, 0, 0.3}, true);
        attention<Bf16>({dim, 9, {5, 4}, 4, 2}, true);
        if (settings.bounded) continue;
        attention<Bf16>({dim, 150, {64, 64, 1}, 2, 2, false, false, 16}, true);
        attention<Bf16>({dim, 200, {200}, 1, 1, false, true}, true);
        attention<Bf16>({dim, 129, {5, 5, 5, 300}, 1, 1, false, false, 0, 20}, true);
    }
}
template <class T>
void any() {
    attention<T>({1, 1, {1}}, false);
    attention<T>({24, 19, {11, 9, 20}, 3, 1, false, false, 3, 1, 1}, false);
    attention<T>({16, 34, {34}, 2, 2, false, true, 0, 3}, false);
    attention<T>({12, 17, {17}, 2, 2, true}, false);
    attention<T>({8, 9, {5, 4}, 4, 2}, false);
    attention<T>({70, 5, {0, 31, 2, 31}, 1, 1, false, false, 0, 8}, false);
    if (settings.bounded) return;
    attention<T>({128, 40, {100}, 2, 1}, false);
    attention<T>({384, 20, {20}}, false);
    attention<T>({1024, 17, {35}}, false);
}
TEST(attention_any) { any<float>(), any<Bf16>(); }
TEST(attention_random) {
    Dice dice("attention");
    for (int i = 0; i < settings.random; i++) {
        const bool tensor = i % 2 == 0;
        Case c = {};
        const int dims[] = {48, 64, 128};
        c.dim = tensor ? dims[dice.of(0, 2)] : dice.near(64, 150);
        c.rows = dice.near(tensor ? 16 : 8, tensor ? 150 : 40);
        c.key_heads = dice.of(1, 2), c.heads = c.key_heads * dice.of(1, 2);
        c.gap = tensor ? 8 * dice.of(0, 2) : dice.of(0, 3);
        c.loud = dice.of(1, 8);
        c.causal = dice.of(0, 3) == 0, c.biased = dice.of(0, 3) == 0;
        if (c.biased) c.loud = 0.3;
        // As many keys as queries where distances count.
        int keys = c.causal || c.biased ? c.rows : dice.near(tensor ? 64 : 32, tensor ? 200 : 100);
        for (int run = 0; run < 3; run++) c.runs.push_back(dice.of(0, keys)), keys -= c.runs.back();
        c.runs.push_back(keys);
        if (tensor)
            attention<Bf16>(c, true);
        else if (dice.coin())
            attention<Bf16>(c, false);
        else
            attention<float>(c, false);
    }
}
TEST(attention_inside_a_frame) {  // queries, keys and values side by side in a pixel, as the autoencoder has them
    const int channels = 24, pixels = 21;
    auto qkv = noise<float>(pixels * 3 * channels, 1);
    Buffer<float> out(pixels * channels);
    Runs runs = {};
    runs.run[0] = {qkv.data() + channels, qkv.data() + 2 * channels, pixels, 0};
    const float* none = nullptr;
    const float scale = 1 / std::sqrt((float)channels);
    launch({"attention_any_f32", {ceil_div(pixels, 16), 1, 1}, {256, 1, 1}}, qkv.data(), runs, none, out.data(), pixels, pixels, 1, 1, channels,
           3 * channels, 3 * channels, channels, scale, 0);
    expect("pixels of a frame", out, 1e-5, [&](size_t at) {
        const int pixel = at / channels, channel = at % channels;
        double total = 0, sum = 0;
        for (int other = 0; other < pixels; other++) {
            double dot = 0;
            for (int i = 0; i < channels; i++) dot += qkv.at(pixel * 3 * channels + i) * qkv.at(other * 3 * channels + channels + i);
            const double weight = std::exp(dot * scale);
            total += weight, sum += weight * qkv.at(other * 3 * channels + 2 * channels + channel);
        }
        return sum / total;
    });
}
}  // namespace
