// Matrix products of linear.cu and conv.cu: `out (rows, columns) = left (rows, depth) · right (columns, depth)ᵀ`.
//
// Both sides are read through loaders, so a convolution is a product whose left side is gathered by taps. The depth is cut
// into steps; what a loader says is absent counts as zero. bf16 runs on tensor cores (`mma.sync`, 128×128 tiles, three
// stages of copies under way), f32 on plain arithmetic (64×64 tiles).
// Executed in emulation, not yet on a GPU.
#pragma once
#include "portable.cuh"

enum { PRODUCT_THREADS = 256 };
enum { TILE = 128, DEPTH = 32, STAGES = 3 };   // bf16
enum { PART = 8, PARTS = DEPTH / PART };       // 16 bytes, and how many a row of a stage has
enum { PLAIN_TILE = 64, PLAIN_DEPTH = 16 };    // f32
enum { PLAIN_ROW = PLAIN_TILE + 4 };           // 4 more: rows of the transposed tile start in different banks
enum { END_ROW = TILE + 8 };                   // 8 more: what half a warp stores at once lies in different banks

// Where part `part` of row `row` lies in a stage. The order of parts changes every two rows, so that the eight rows that
// ldmatrix reads at once lie in different banks.
DEVICE int place(int row, int part) { return row * DEPTH + (part ^ (row / 2 % PARTS)) * PART; }

// `count` numbers (0 to 8; at most) from `from`, the rest zeros, into one part of a stage. `wide`: `from` is a multiple of
// 16 bytes and count is 0 or 8.
DEVICE void fetch_part(bf16* to, const bf16* from, const bf16* anywhere, int count, bool wide) {
    if (wide) return copy_16(to, count > 0 ? from : anywhere, count > 0);
    u32 w[PART / 2];
    for (int i = 0; i < PART / 2; i++) {
        const u32 first = 2 * i < count ? from[2 * i].bits : 0, second = 2 * i + 1 < count ? from[2 * i + 1].bits : 0;
        w[i] = first | second << 16;
    }
    store_16(to, w[0], w[1], w[2], w[3]);
}

// `left.advance(step, depth)` goes on to a step; steps come in order. `left.part(slot, row, part, to)` fetches one part of it; a
// thread's slots are always the same rows. So does `right`.
// `end.four(row, column, v)` stores four neighbours, those that are there; rows and columns count from the tile's corner, and
// column is a multiple of 4.
template <class Left, class Right, class End>
DEVICE void tensor_product(Left& left, Right& right, int steps, End& end) {
    DYNAMIC_SHARED(memory);  // STAGES times: rows of the left side, rows of the right side
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int warp_row = warp / 4 * 64, warp_column = warp % 4 * 32;
    auto fetch = [&](int step) {
        bf16* stage = memory + step % STAGES * (2 * TILE * DEPTH);
        left.advance(step, DEPTH), right.advance(step, DEPTH);
#pragma unroll
        for (int slot = 0; slot < TILE * PARTS / PRODUCT_THREADS; slot++) {
            const int i = threadIdx.x + slot * PRODUCT_THREADS, row = i / PARTS, part = i % PARTS;
            left.part(slot, row, part, stage + place(row, part));
            right.part(slot, row, part, stage + TILE * DEPTH + place(row, part));
        }
    };
    float sums[4][4][4] = {};
    for (int step = 0; step < STAGES - 1; step++) {
        if (step < steps) fetch(step);
        copies_commit();
    }
    for (int step = 0; step < steps; step++) {
        copies_wait<STAGES - 2>();
        BLOCK_SYNC();  // the copies of all threads are here, and nobody reads the stage that is filled next
        if (step + STAGES - 1 < steps) fetch(step + STAGES - 1);
        copies_commit();
        const bf16* a_rows = memory + step % STAGES * (2 * TILE * DEPTH);
        const bf16* b_rows = a_rows + TILE * DEPTH;
#pragma unroll
        for (int half = 0; half < DEPTH / 16; half++) {
            u32 a[4][4], b[2][4];
#pragma unroll
            for (int i = 0; i < 4; i++) load_tiles(a[i], a_rows + place(warp_row + i * 16 + lane % 16, half * 2 + lane / 16));
#pragma unroll
            for (int j = 0; j < 2; j++)
                load_tiles(b[j], b_rows + place(warp_column + j * 16 + lane / 16 * 8 + lane % 8, half * 2 + lane / 8 % 2));
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) mma_16x8x16(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
    // Through shared memory, half of the rows at a time, so that a warp stores a whole row; and the code of `end` is there once.
    float* half_tile = (float*)memory;
    for (int half = 0; half < 2; half++) {
        BLOCK_SYNC();  // everybody has read the stages, or the first half
        // Unrolled, as all loops over sums are: an array that is indexed by a variable would lie in memory, not in registers.
        if (warp_row == half * 64)
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
#pragma unroll
                    for (int below = 0; below < 2; below++)
                        store_8(half_tile + (i * 16 + below * 8 + lane / 4) * END_ROW + warp_column + j * 8 + lane % 4 * 2,
                                float_bits(sums[i][j][2 * below]), float_bits(sums[i][j][2 * below + 1]));
        BLOCK_SYNC();
#pragma unroll 1
        for (int i = threadIdx.x; i < TILE / 2 * (TILE / 4); i += PRODUCT_THREADS) {
            const int row = i / (TILE / 4), column = i % (TILE / 4) * 4;
            float v[4];
            read4(half_tile + row * END_ROW + column, v);
            end.four(half * 64 + row, column, v);
        }
    }
}

// `left.at(slot, row, k)` is one number of the step.
template <class Left, class Right, class End>
DEVICE void plain_product(Left& left, Right& right, int steps, End& end) {
    SHARED_ARRAY(float, a_tile, PLAIN_DEPTH * PLAIN_ROW);  // transposed: depth, then row
    SHARED_ARRAY(float, b_tile, PLAIN_DEPTH * PLAIN_ROW);
    const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
    float sums[4][4] = {};
    for (int step = 0; step < steps; step++) {
        left.advance(step, PLAIN_DEPTH), right.advance(step, PLAIN_DEPTH);
#pragma unroll
        for (int slot = 0; slot < PLAIN_TILE * PLAIN_DEPTH / PRODUCT_THREADS; slot++) {
            const int i = threadIdx.x + slot * PRODUCT_THREADS, r = i / PLAIN_DEPTH, k = i % PLAIN_DEPTH;
            a_tile[k * PLAIN_ROW + r] = left.at(slot, r, k);
            b_tile[k * PLAIN_ROW + r] = right.at(slot, r, k);
        }
        BLOCK_SYNC();
        for (int k = 0; k < PLAIN_DEPTH; k++) {
            float a[4], b[4];
            read4(a_tile + k * PLAIN_ROW + row, a), read4(b_tile + k * PLAIN_ROW + column, b);
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) sums[i][j] = fused_multiply_add(a[i], b[j], sums[i][j]);
        }
        BLOCK_SYNC();
    }
#pragma unroll
    for (int i = 0; i < 4; i++) end.four(row + i, column, sums[i]);
}

// `count` numbers (1 to 4) of `v`; all four at once where their address allows it.
template <class T>
DEVICE void put_four(T* p, const float* v, int count) {
    if (count >= 4 && by_four(p)) return write4(p, v);
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (i < count) put(p + i, v[i]);
}
