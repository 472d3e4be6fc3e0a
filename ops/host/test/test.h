// What the tests of kernels share: buffers whose surroundings are watched, launches, and the comparison with a definition.
//
// The tests know the kernels by name alone, so the same tests run the fibers and the PTX.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../launch.h"

// bf16 with a rounding of its own, not the emulator's: to the nearest of the two neighbours, ties to the even one.
struct Bf16 {
    uint16_t bits;
};
inline float value_of(Bf16 x) {
    const uint32_t bits = (uint32_t)x.bits << 16;
    float f;
    return memcpy(&f, &bits, 4), f;
}
inline float value_of(float x) { return x; }
inline float value_of(uint8_t x) { return x; }
inline void assign(float& to, double x) { to = (float)x; }
inline void assign(Bf16& to, double x) {
    const float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    const Bf16 down{(uint16_t)(bits >> 16)}, up{(uint16_t)((bits >> 16) + 1)};
    // Past the largest number stands 2^128 for the sake of rounding.
    const double further = std::isinf(value_of(up)) ? std::copysign(std::ldexp(1.0, 128), x) : value_of(up);
    const double below = std::abs(x - value_of(down)), above = std::abs(further - x);
    to = below < above || (below == above && down.bits % 2 == 0) ? down : up;
}
template <class T>
inline std::string named(const char* kernel) {
    return std::string(kernel) + (sizeof(T) == 2 ? "_bf16" : "_f32");
}
template <class T>
inline T rounded(double x) {
    T to;
    return assign(to, x), to;
}

// Numbers on the device. NaN stands before them and behind them, and must still stand there after a launch; in a build
// with AddressSanitizer nothing stands behind them. `offset`: elements by which they miss an alignment of 256 bytes.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(size_t n, size_t offset = 0) : count(n), before(256 / sizeof(T) + offset) {
#ifndef __SANITIZE_ADDRESS__
        after = 64;
#endif
        const size_t bytes = (before + count + after) * sizeof(T);
        void* memory = nullptr;
        if (posix_memalign(&memory, 256, bytes)) abort();
        memset(memory, 0xff, bytes);
        all.reset((T*)memory, free);
    }
    T* data() const { return all.get() + before; }
    size_t size() const { return count; }
    T& operator[](size_t i) const { return data()[i]; }
    double at(size_t i) const {
        if (i >= count) printf("a test reads place %zu of %zu\n", i, count), abort();
        return value_of(data()[i]);
    }
    bool surroundings_are_untouched() const {
        const unsigned char* bytes = (const unsigned char*)all.get();
        for (size_t i = 0; i < before * sizeof(T); i++)
            if (bytes[i] != 0xff) return false;
        for (size_t i = (before + count) * sizeof(T); i < (before + count + after) * sizeof(T); i++)
            if (bytes[i] != 0xff) return false;
        return true;
    }
    Buffer copy() const {
        Buffer other(count, before - 256 / sizeof(T));
        return memcpy(other.data(), data(), count * sizeof(T)), other;
    }
    bool equals(const Buffer& other) const { return count == other.count && !memcmp(data(), other.data(), count * sizeof(T)); }

  private:
    size_t count = 0, before = 0, after = 0;
    std::shared_ptr<T> all;
};

// Normal numbers without a pattern that a wrong step could hide in.
template <class T>
Buffer<T> noise(size_t n, unsigned seed, double scale = 1, double mean = 0, size_t offset = 0) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(mean, scale);
    Buffer<T> out(n, offset);
    for (size_t i = 0; i < n; i++) assign(out[i], normal(random));
    return out;
}

// What runs, and how much of it.
struct Settings {
    bool ptx = false;        // the committed PTX, not the fibers
    std::string built;       // folder of the PTX
    bool bounded = false;    // the small cases alone
    std::string filter;      // tests whose name contains it
    int random = 4;          // cases of sizes that are thrown, of each test that throws them
    unsigned seed = 1;       // of those
};
extern Settings settings;
extern int failures;
extern std::string test_name;

const SimtKernel* kernel(const std::string& name);
inline unsigned ceil_div(uint64_t a, uint64_t b) { return (unsigned)((a + b - 1) / b); }

struct Launch {
    std::string name;
    SimtDim grid, block;
    size_t shared = 0;
};
template <class... A>
void launch(const Launch& l, A... arguments) {
    const SimtKernel* found = kernel(l.name);
    const size_t bytes[] = {sizeof(A)...};
    void* given[] = {&arguments...};
    if (simt_parameters(found) != sizeof...(A)) printf("%s has %d parameters\n", l.name.c_str(), simt_parameters(found)), abort();
    for (int i = 0; i < (int)sizeof...(A); i++)
        if (simt_parameter_bytes(found, i) != bytes[i]) printf("parameter %d of %s has another size\n", i, l.name.c_str()), abort();
    simt_launch(found, l.grid, l.block, l.shared, given);
}

void report(const std::string& what, double worst, bool good);

// `found` against the definition, number by number. A result is one rounding of a number that is near the true one:
// `slack` is what f32 arithmetic may add, absolute.
template <class T, class Expected>
void expect(const std::string& what, const Buffer<T>& found, double slack, Expected expected) {
    double worst = 0;  // in parts of what is allowed
    bool good = found.surroundings_are_untouched();
    if (!good) printf("  %s: wrote beside its result\n", what.c_str());
    for (size_t i = 0; i < found.size(); i++) {
        const double e = expected(i), f = value_of(found[i]);
        const double allowed = std::abs(e) * (sizeof(T) == 2 ? 1.0 / 256 * 1.002 : 1e-6) + slack;
        const double off = f == e ? 0 : std::abs(f - e) / allowed;
        if (!(off <= 1)) {
            if (good) printf("  %s: place %zu is %.9g, not %.9g (allowed %.3g)\n", what.c_str(), i, f, e, allowed);
            good = false;
        }
        if (!(off <= worst)) worst = off;
    }
    report(what, worst, good);
}
// Bit for bit.
template <class T, class Expected>
void expect_equal(const std::string& what, const Buffer<T>& found, Expected expected) {
    bool good = found.surroundings_are_untouched();
    for (size_t i = 0; i < found.size() && good; i++) {
        const T e = expected(i);
        good = !memcmp(&found[i], &e, sizeof(T));
        if (!good) printf("  %s: place %zu is %.9g, not %.9g\n", what.c_str(), i, (double)value_of(found[i]), (double)value_of(e));
    }
    report(what, 0, good);
}

// Sizes that nobody thought of. Edges of tiles come up more often than they would.
class Dice {
  public:
    explicit Dice(const char* test) : random(settings.seed * 7919 + (unsigned)std::string(test).size()) {}
    int of(int least, int most) { return least + (int)(random() % (unsigned)(most - least + 1)); }
    bool coin() { return random() & 1; }
    // About `most` at most: small, a multiple of `step`, or next to one.
    int near(int step, int most) {
        const int kind = of(0, 3);
        const int n = kind == 0 ? of(1, std::min(step, most)) : of(1, std::max(1, most / step)) * step + (kind == 1 ? 0 : of(-1, 1));
        return std::max(1, n);
    }

  private:
    std::mt19937 random;
};

struct Test {
    const char* name;
    void (*run)();
};
std::vector<Test>& tests();
#define TEST(name)                                                                         \
    static void name();                                                                    \
    [[maybe_unused]] static const bool registered_##name = (tests().push_back({#name, name}), true); \
    static void name()

template <class... A>
std::string text(const char* format, A... a) {
    char out[256];
    snprintf(out, sizeof out, format, a...);
    return out;
}
