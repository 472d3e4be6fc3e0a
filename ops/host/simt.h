// A block of a GPU on one CPU thread: every GPU thread is a fiber that runs until it must wait for others.
//
// The scheduler is unfair on purpose, since fairness hides races: a warp runs alone for a random stretch, its lanes in a
// random order. Shared memory starts as NaN, block by block. A `cp.async` lands at once or at its wait, as a coin falls.
// Errors end the process with a sentence: a barrier or a warp operation that some threads miss, misalignment, a deadlock.
//
// Included by kernels/portable.cuh, which declares u32, u64 and bf16 before.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "launch.h"

struct SimtKernel {
    std::string name;
    std::vector<size_t> parameter_bytes;
    int threads_max = 0;
    size_t static_shared = 0;
    std::function<void(SimtDim grid, SimtDim block, size_t shared_bytes, void** parameters)> run;
};

namespace simt {
const int WARP = 32;

// Operations in which the lanes of a warp meet.
enum class Meeting : unsigned char { None, Xor, Mma, Tiles, TilesTurned };

struct Copy {
    void* to;
    const void* from;
    bool there;
};
// A fiber.
struct Lane {
    void* stack_pointer = nullptr;
    bool done = false;
    bool waits = false;  // for its warp, or for its block
    SimtDim thread{};
    std::vector<std::vector<Copy>> groups;  // copies that have not landed; the last group is open
};
// What one lane brings to a meeting, and what it takes away.
struct Exchange {
    u32 a[4], b[2], got[4];
    float sums[4];
    const void* address;
    int lanes;
};
struct Warp {
    int lanes = 0, arrived = 0, ended = 0;
    Meeting meeting = Meeting::None;
    Exchange of[WARP];
};
struct Block {
    std::vector<Lane> lanes;
    std::vector<Warp> warps;
    int alive = 0, arrived = 0, barrier_line = 0;
    std::vector<std::pair<const void*, std::vector<u64>>> arrays;  // static shared memory
};

extern thread_local Block* block;
extern thread_local int current;
extern thread_local SimtDim thread_index, block_index, block_size, grid_size;
extern thread_local unsigned char* dynamic_shared;

[[noreturn]] void fail(const char* why);
bool coin();
unsigned random_below(unsigned n);
// This lane is at the meeting; returns when all lanes of its warp were and the operation is done.
void meet(Meeting meeting);
void block_sync(int line);
void* static_shared(const void* key, size_t bytes);
void land(const Copy& copy);
void run(SimtDim grid, SimtDim size, size_t shared_bytes, const std::function<void()>& kernel);
bool allowed(const void* address, size_t bytes, bool write);
SimtKernel& add(const char* name, int threads_max);

inline Exchange& mine() { return block->warps[current / WARP].of[current % WARP]; }
inline void aligned(const void* p, size_t bytes, const char* what) {
    if ((uintptr_t)p % bytes) fail(what);
}

// Where the numbers of a lane stand in the tiles of mma.m16n8k16 and ldmatrix (PTX manual, "Matrix fragments for mma.m16n8k16").
struct Place {
    int row, column;
};
// Number i of 8 of the left side, 16×16. Register i/2, low half first.
constexpr Place left_place(int lane, int i) { return {lane / 4 + i / 2 % 2 * 8, lane % 4 * 2 + i % 2 + i / 4 * 8}; }
// Number i of 4 of the right side: row is the depth, column the output column.
constexpr Place right_place(int lane, int i) { return {lane % 4 * 2 + i % 2 + i / 2 * 8, lane / 4}; }
// Number i of 4 of the sums, 16×8.
constexpr Place sum_place(int lane, int i) { return {lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2}; }
// Half `i` of the register that ldmatrix gives for one 8×8 tile.
constexpr Place tile_place(int lane, int i, bool turned) {
    return turned ? Place{lane % 4 * 2 + i, lane / 4} : Place{lane / 4, lane % 4 * 2 + i};
}
// d = c + a·b, given as the registers of 32 lanes.
void mma(Exchange* of);
void load_tiles(Exchange* of, bool turned);
u32 round_to_bf16(float f);

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** given, std::index_sequence<I...>) {
    kernel(*(A*)given[I]...);
}
template <class... A>
bool add(const char* name, int threads_max, void (*kernel)(A...)) {
    SimtKernel& entry = add(name, threads_max);
    entry.parameter_bytes = {sizeof(A)...};
    entry.run = [kernel](SimtDim grid, SimtDim size, size_t bytes, void** given) {
        run(grid, size, bytes, [&] { call(kernel, given, std::index_sequence_for<A...>{}); });
    };
    return true;
}
}  // namespace simt

#define threadIdx simt::thread_index
#define blockIdx simt::block_index
#define blockDim simt::block_size
#define gridDim simt::grid_size
#define KERNEL(name, threads, blocks) static void name
#define REGISTER(name, threads) [[maybe_unused]] static const bool registered_##name = simt::add(#name, threads, name);
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define SHARED_ARRAY(type, name, count)      \
    static const char key_of_##name = 0;     \
    type* const name = (type*)simt::static_shared(&key_of_##name, sizeof(type) * (count))
#define DYNAMIC_SHARED(name) bf16* const name = (bf16*)simt::dynamic_shared
#define BLOCK_SYNC() simt::block_sync(__LINE__)

DEVICE float bits_float(u32 x) {
    float f;
    memcpy(&f, &x, 4);
    return f;
}
DEVICE u32 float_bits(float f) {
    u32 x;
    memcpy(&x, &f, 4);
    return x;
}
DEVICE float warp_xor(float x, int lanes) {
    simt::Exchange& e = simt::mine();
    e.a[0] = float_bits(x), e.lanes = lanes;
    simt::meet(simt::Meeting::Xor);
    return bits_float(e.got[0]);
}
DEVICE u32 pack2(float low, float high) { return simt::round_to_bf16(low) | simt::round_to_bf16(high) << 16; }
DEVICE float fast_exp2(float x) {
    const float y = exp2f(x);
    return y < 1.17549435e-38f ? 0.0f : y;  // .ftz
}
DEVICE float fast_rsqrt(float x) { return 1.0f / sqrtf(x); }
DEVICE float square_root(float x) { return sqrtf(x); }
DEVICE float fused_multiply_add(float a, float b, float c) { return a * b + c; }
DEVICE float larger(float a, float b) { return fmaxf(a, b); }
DEVICE u32 load_4(const void* p) {
    simt::aligned(p, 4, "4 bytes are read at an address that is no multiple of 4");
    return *(const u32*)p;
}
DEVICE void load_8(u32* d, const void* p) {
    simt::aligned(p, 8, "8 bytes are read at an address that is no multiple of 8");
    for (int i = 0; i < 2; i++) d[i] = ((const u32*)p)[i];
}
DEVICE void load_16(u32* d, const void* p) {
    simt::aligned(p, 16, "16 bytes are read at an address that is no multiple of 16");
    for (int i = 0; i < 4; i++) d[i] = ((const u32*)p)[i];
}
DEVICE void store_4(void* p, u32 a) {
    simt::aligned(p, 4, "4 bytes are written at an address that is no multiple of 4");
    *(u32*)p = a;
}
DEVICE void store_8(void* p, u32 a, u32 b) {
    simt::aligned(p, 8, "8 bytes are written at an address that is no multiple of 8");
    ((u32*)p)[0] = a, ((u32*)p)[1] = b;
}
DEVICE void store_16(void* p, u32 a, u32 b, u32 c, u32 d) {
    simt::aligned(p, 16, "16 bytes are written at an address that is no multiple of 16");
    ((u32*)p)[0] = a, ((u32*)p)[1] = b, ((u32*)p)[2] = c, ((u32*)p)[3] = d;
}
DEVICE void mma_16x8x16(float* d, const u32* a, u32 b0, u32 b1) {
    simt::Exchange& e = simt::mine();
    memcpy(e.a, a, sizeof e.a);
    memcpy(e.sums, d, sizeof e.sums);
    e.b[0] = b0, e.b[1] = b1;
    simt::meet(simt::Meeting::Mma);
    memcpy(d, e.sums, sizeof e.sums);
}
DEVICE void load_tiles(u32* d, const void* row) {
    simt::aligned(row, 16, "a row of ldmatrix is no multiple of 16 bytes");
    simt::Exchange& e = simt::mine();
    e.address = row;
    simt::meet(simt::Meeting::Tiles);
    memcpy(d, e.got, sizeof e.got);
}
DEVICE void load_tiles_turned(u32* d, const void* row) {
    simt::aligned(row, 16, "a row of ldmatrix is no multiple of 16 bytes");
    simt::Exchange& e = simt::mine();
    e.address = row;
    simt::meet(simt::Meeting::TilesTurned);
    memcpy(d, e.got, sizeof e.got);
}
DEVICE void copy_16(void* to, const void* from, bool there) {
    simt::aligned(to, 16, "cp.async writes at an address that is no multiple of 16");
    simt::aligned(from, 16, "cp.async reads at an address that is no multiple of 16");
    if (there && !simt::allowed(from, 16, false)) simt::fail("cp.async reads memory that is not allocated");
    const simt::Copy copy{to, from, there};
    if (simt::coin()) return simt::land(copy);
    simt::block->lanes[simt::current].groups.back().push_back(copy);
}
DEVICE void copies_commit() { simt::block->lanes[simt::current].groups.emplace_back(); }
template <int LEFT>
DEVICE void copies_wait() {
    auto& groups = simt::block->lanes[simt::current].groups;
    while (groups.size() > LEFT + 1) {
        for (auto& copy : groups.front()) simt::land(copy);
        groups.erase(groups.begin());
    }
}
