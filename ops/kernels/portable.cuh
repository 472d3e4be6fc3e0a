// One kernel source for two machines. On a GPU (NVRTC) the functions below are single instructions; on a CPU
// (`g++ -DON_HOST`) they are those of host/simt.h, which runs every thread as a fiber. No toolkit header is included, so
// NVRTC needs no include path.
//
// Storage is bf16 or f32; arithmetic is f32 and rounds once, to nearest even, when a result is stored.
// Executed in emulation, not yet on a GPU.
#pragma once
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
// Its bits: the upper half of an f32. A type of its own, so that no arithmetic happens on it by accident.
struct bf16 {
    u16 bits;
};

#ifdef ON_HOST
#include "../host/simt.h"
#else
// `threads` is the size of a block, `blocks` how many of them shall fit on a multiprocessor: a bound on registers.
#define KERNEL(name, threads, blocks) extern "C" __global__ __launch_bounds__(threads, blocks) void name
#define REGISTER(name, threads)
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define SHARED_ARRAY(type, name, count) __shared__ __align__(16) type name[count]
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) bf16 name[]
#define BLOCK_SYNC() __syncthreads()
DEVICE float warp_xor(float x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }
DEVICE float bits_float(u32 x) { return __uint_as_float(x); }
DEVICE u32 float_bits(float x) { return __float_as_uint(x); }
// Two numbers to bf16, `low` in the low half.
DEVICE u32 pack2(float low, float high) {
    u32 d;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
}
DEVICE float fast_exp2(float x) {
    float d;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(x));
    return d;
}
DEVICE float fast_rsqrt(float x) {
    float d;
    asm("rsqrt.approx.f32 %0, %1;" : "=f"(d) : "f"(x));
    return d;
}
DEVICE float square_root(float x) { return __fsqrt_rn(x); }
DEVICE float fused_multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE float larger(float a, float b) { return fmaxf(a, b); }
DEVICE u32 load_4(const void* p) { return *(const u32*)p; }
DEVICE void load_8(u32* d, const void* p) {
    const uint2 v = *(const uint2*)p;
    d[0] = v.x, d[1] = v.y;
}
DEVICE void load_16(u32* d, const void* p) {
    const uint4 v = *(const uint4*)p;
    d[0] = v.x, d[1] = v.y, d[2] = v.z, d[3] = v.w;
}
DEVICE void store_4(void* p, u32 a) { *(u32*)p = a; }
DEVICE void store_8(void* p, u32 a, u32 b) { *(uint2*)p = make_uint2(a, b); }
DEVICE void store_16(void* p, u32 a, u32 b, u32 c, u32 d) { *(uint4*)p = make_uint4(a, b, c, d); }
// d += a·b for a 16×8 tile of depth 16: a row-major, b column-major, bf16 in, f32 sums. All lanes of a warp together.
DEVICE void mma_16x8x16(float* d, const u32* a, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEVICE u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
// Four 8×8 tiles of 16-bit numbers from shared memory: lane i gives the address of row i%8 of tile i/8.
DEVICE void load_tiles(u32* d, const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(shared_address(row))
                 : "memory");
}
// The same, each tile transposed.
DEVICE void load_tiles_turned(u32* d, const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(shared_address(row))
                 : "memory");
}
// 16 bytes from global to shared memory, in the background; zeros if `there` is false.
DEVICE void copy_16(void* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}
DEVICE void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `LEFT` of the committed groups are still on their way.
template <int LEFT>
DEVICE void copies_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}
#endif

DEVICE float widen(bf16 x) { return bits_float((u32)x.bits << 16); }
DEVICE float widen(float x) { return x; }
DEVICE float low(u32 x) { return bits_float(x << 16); }
DEVICE float high(u32 x) { return bits_float(x & 0xffff0000u); }
DEVICE void put(bf16* p, float x) { p->bits = (u16)pack2(x, 0.0f); }
DEVICE void put(float* p, float x) { *p = x; }

// Four numbers at an address that is a multiple of their bytes.
DEVICE void read4(const float* p, float* v) {
    u32 w[4];
    load_16(w, p);
    for (int i = 0; i < 4; i++) v[i] = bits_float(w[i]);
}
DEVICE void read4(const bf16* p, float* v) {
    u32 w[2];
    load_8(w, p);
    v[0] = low(w[0]), v[1] = high(w[0]), v[2] = low(w[1]), v[3] = high(w[1]);
}
DEVICE void write4(float* p, const float* v) {
    store_16(p, float_bits(v[0]), float_bits(v[1]), float_bits(v[2]), float_bits(v[3]));
}
DEVICE void write4(bf16* p, const float* v) { store_8(p, pack2(v[0], v[1]), pack2(v[2], v[3])); }
// May four numbers be read or written at once, from `p` on in steps of four?
template <class T>
DEVICE bool by_four(const T* p) {
    return (u64)p % (4 * sizeof(T)) == 0;
}

// The sum over the lanes of a warp, in every lane.
DEVICE float warp_sum(float x) {
    for (int lanes = 16; lanes; lanes >>= 1) x += warp_xor(x, lanes);
    return x;
}
DEVICE float sigmoid(float x) { return 1.0f / (1.0f + fast_exp2(x * -1.44269504f)); }
// The pointwise functions of src/activation.rs, by number.
enum { SILU = 0, GELU_TANH = 1, RELU_SQUARED = 2 };
DEVICE float activate(float x, int kind) {
    if (kind == SILU) return x * sigmoid(x);
    if (kind == GELU_TANH) return x * sigmoid(1.595769f * (x + 0.044715f * x * x * x));
    if (kind == RELU_SQUARED) return x > 0.0f ? x * x : 0.0f;
    return x;
}
