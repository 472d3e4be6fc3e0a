// Where the emulator believes the numbers of a lane to stand, against NVIDIA's own tables: the traits of CuTe (CUTLASS).
// Compiled by g++ with CUTLASS's headers: see prove.sh. Nothing of CUTLASS is in this repository.
#include <cute/tensor.hpp>

#include <cute/atom/copy_traits_sm75.hpp>
#include <cute/atom/mma_traits_sm80.hpp>

#include "../kernels/portable.cuh"

int main() {
    using Product = cute::MMA_Traits<cute::SM80_16x8x16_F32BF16BF16F32_TN>;
    int places = 0, wrong = 0;
    auto compare = [&](int theirs, int ours) { places++, wrong += theirs != ours; };
    for (int lane = 0; lane < 32; lane++) {
        // CuTe numbers the places of a tile down its first side, then along its second.
        for (int i = 0; i < 8; i++) {
            const auto [row, column] = simt::left_place(lane, i);
            compare(Product::ALayout{}(lane, i), row + 16 * column);
        }
        for (int i = 0; i < 4; i++) {
            const auto [depth, column] = simt::right_place(lane, i);
            compare(Product::BLayout{}(lane, i), column + 8 * depth);
        }
        for (int i = 0; i < 4; i++) {
            const auto [row, column] = simt::sum_place(lane, i);
            compare(Product::CLayout{}(lane, i), row + 16 * column);
        }
        // Bits of the 32 rows of 128 that the lanes point at; 8 rows are a tile, and a tile is a register.
        for (int tile = 0; tile < 4; tile++)
            for (int half = 0; half < 2; half++) {
                const int bit = tile * 32 + half * 16;
                const auto plain = simt::tile_place(lane, half, false), turned = simt::tile_place(lane, half, true);
                compare(cute::Copy_Traits<cute::SM75_U32x4_LDSM_N>::DstLayout{}(lane, bit), (8 * tile + plain.row) * 128 + plain.column * 16);
                compare(cute::Copy_Traits<cute::SM75_U16x8_LDSM_T>::DstLayout{}(lane, bit), (8 * tile + turned.row) * 128 + turned.column * 16);
            }
    }
    printf("%d of %d places differ from CuTe's\n", wrong, places);
    return wrong > 0;
}
