//! AMX: products of whole tiles, 16 rows of 64 bytes each. Written with the instructions in inline assembly, because stable Rust has no
//! other form of them, and not yet run on a processor that has them. The arithmetic is proved by the plain twin below, which runs
//! through the same packing and tiling.
//!
//! A panel's 16 groups are one tile as they lie in memory, for bf16 and for bytes alike. Two tiles of the left side meet two of
//! weights: four tiles of sums.

use std::marker::PhantomData;

use super::unit::{Pass, Unit};
use super::{bf16, int8, quantise};
use crate::cpu::panels::PANEL;

/// Rows of a register tile, and groups of a tile of weights.
pub(super) const SIDE: usize = 16;

/// Bytes of a tile's row.
const ROW: usize = 64;

/// Where one product of a block stands: 32 rows, one or two panels.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// 32 rows of the left side, `left_step` bytes apart.
    pub(super) left: *const u8,
    pub(super) left_step: usize,
    /// The panels' weights, 1 KiB for 16 groups. The second is null where there is one panel.
    pub(super) weights: [*const u8; 2],
    /// How often 16 groups.
    pub(super) times: usize,
    /// 32 rows of sums, `sums_step` bytes apart.
    pub(super) sums: *mut u8,
    pub(super) sums_step: usize,
}

/// What multiplies blocks.
pub(super) trait Tiles {
    /// Adds the products of pairs of bf16 to sums in f32.
    ///
    /// # Safety
    /// The processor has the unit; all that the block points to can be read, and its sums written.
    unsafe fn pairs(block: Block);

    /// Adds the products of bytes without a sign and weights with one to sums of 32 bits.
    ///
    /// # Safety
    /// As `pairs`.
    unsafe fn quads(block: Block);

    /// Before blocks, and after them.
    ///
    /// # Safety
    /// The processor has the unit.
    unsafe fn begin() {}

    /// # Safety
    /// After `begin`.
    unsafe fn end() {}
}

/// bf16 on tiles.
pub(super) struct Bf16<T>(PhantomData<T>);

/// Bytes on tiles.
pub(super) struct Int8<T>(PhantomData<T>);

macro_rules! unit_of_tiles {
    ($unit:ident, $weight:ty, $total:ty, $group:expr, $words:path, $multiply:ident) => {
        impl<T: Tiles> Unit for $unit<T> {
            type Weight = $weight;
            type Total = $total;
            const GROUP: usize = $group;
            const WORDS: usize = 1;
            const PANELS: usize = 2;
            const TILE: usize = 2 * SIDE;
            const TOGETHER: usize = SIDE;

            fn words(x: &[f32], words: &mut [u32]) -> f32 {
                $words(x, words)
            }

            fn place(word: usize, row: usize, words: usize) -> usize {
                row * words + word
            }

            unsafe fn run<const PANELS: usize>(pass: &Pass<Self>, totals: &mut [$total]) {
                if !pass.accumulate {
                    let rows = totals.chunks_mut(pass.totals_step).take(pass.tiles * Self::TILE);
                    rows.for_each(|row| row[..PANELS * PANEL].fill(<$total>::default()));
                }
                let sums_step = pass.totals_step * size_of::<$total>();
                // SAFETY: the pass's bounds are asserted, and a block is a tile of it.
                unsafe {
                    T::begin();
                    for tile in 0..pass.tiles {
                        let second = pass.weights.as_ptr().wrapping_add(pass.panel_len).cast();
                        T::$multiply(Block {
                            left: pass.words.as_ptr().add(tile * Self::TILE * pass.groups).cast(),
                            left_step: pass.groups * size_of::<u32>(),
                            weights: [
                                pass.weights.as_ptr().cast(),
                                if PANELS == 2 { second } else { std::ptr::null() },
                            ],
                            times: pass.groups / SIDE,
                            sums: totals.as_mut_ptr().cast::<u8>().add(tile * Self::TILE * sums_step),
                            sums_step,
                        });
                    }
                    T::end();
                }
            }
        }
    };
}
unit_of_tiles!(Bf16, u16, f32, bf16::PAIR, bf16::pairs, pairs);
unit_of_tiles!(Int8, i8, i32, quantise::QUAD, int8::quads, quads);

/// The instructions as plain functions.
#[cfg(test)]
pub(super) struct Plain;

#[cfg(test)]
impl Plain {
    /// `multiply(left row's 64 bytes, weights' 16 rows of 64 bytes, column, sum)` for every sum, 16 groups after 16 groups.
    ///
    /// # Safety
    /// As [`Tiles::pairs`].
    unsafe fn each<T: Copy>(block: Block, multiply: impl Fn([u8; ROW], &[[u8; ROW]; SIDE], usize, T) -> T) {
        let panels = if block.weights[1].is_null() { 1 } else { 2 };
        for time in 0..block.times {
            for row in 0..2 * SIDE {
                for (panel, weights) in block.weights[..panels].iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let left = block.left.add(row * block.left_step + time * ROW).cast::<[u8; ROW]>().read();
                        let weights = weights.add(time * SIDE * ROW).cast::<[[u8; ROW]; SIDE]>().read();
                        let sums = block.sums.add(row * block.sums_step + panel * ROW).cast::<T>();
                        for column in 0..SIDE {
                            let sum = sums.add(column);
                            sum.write_unaligned(multiply(left, &weights, column, sum.read_unaligned()));
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
impl Tiles for Plain {
    unsafe fn pairs(block: Block) {
        let number = |bytes: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16);
        // SAFETY: the caller's promise.
        unsafe {
            Plain::each(block, |left, weights, column, mut sum: f32| {
                for (group, weights) in weights.iter().enumerate() {
                    for half in 0..2 {
                        sum += number(&left[4 * group + 2 * half..]) * number(&weights[4 * column + 2 * half..]);
                    }
                }
                sum
            });
        }
    }

    unsafe fn quads(block: Block) {
        // SAFETY: the caller's promise.
        unsafe {
            Plain::each(block, |left, weights, column, mut sum: i32| {
                for (group, weights) in weights.iter().enumerate() {
                    for byte in 0..4 {
                        sum += i32::from(left[4 * group + byte]) * i32::from(weights[4 * column + byte] as i8);
                    }
                }
                sum
            });
        }
    }
}

/// The instructions.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) mod instructions {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use std::sync::OnceLock;

    use super::{Block, ROW, SIDE, Tiles};

    pub(crate) struct Instructions;

    /// What the processor has, and the kernel permits.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Has {
        pub(crate) bf16: bool,
        pub(crate) int8: bool,
    }

    /// Asked for once: from then on every thread of this process may use tiles.
    pub(crate) fn has() -> Has {
        static HAS: OnceLock<Has> = OnceLock::new();
        *HAS.get_or_init(|| {
            let none = Has { bf16: false, int8: false };
            // Bits of Intel's manual, volume 2, CPUID: leaf 1 OSXSAVE, leaf 7 AMX-BF16, AMX-TILE, AMX-INT8.
            if __cpuid(1).ecx & 1 << 27 == 0 || __cpuid(0).eax < 7 {
                return none;
            }
            let has = __cpuid_count(7, 0).edx;
            if has & 1 << 24 == 0 {
                return none;
            }
            // SAFETY: OSXSAVE says that the instruction is there.
            let kept = unsafe { enabled_state() };
            // The kernel keeps tiles when it switches threads: bits 17 and 18.
            if kept & 0b11 << 17 != 0b11 << 17 || !permitted() {
                return none;
            }
            Has { bf16: has & 1 << 22 != 0, int8: has & 1 << 25 != 0 }
        })
    }

    #[target_feature(enable = "xsave")]
    fn enabled_state() -> u64 {
        // SAFETY: register 0 is there where the instruction is.
        unsafe { _xgetbv(0) }
    }

    /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`: <https://docs.kernel.org/arch/x86/xstate.html>
    fn permitted() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
        const XFEATURE_XTILEDATA: i64 = 18;
        let mut result = ARCH_PRCTL;
        // SAFETY: a system call that touches no memory of this process.
        unsafe {
            asm!(
                "syscall",
                inout("rax") result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _,
                out("r11") _,
                options(nostack)
            );
        }
        result == 0
    }

    /// Palette 1: eight tiles of 16 rows and 64 bytes.
    #[repr(align(64))]
    struct Configuration([u8; 64]);

    static WHOLE_TILES: Configuration = {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut tile = 0;
        while tile < 8 {
            bytes[16 + 2 * tile] = ROW as u8;
            bytes[48 + tile] = SIDE as u8;
            tile += 1;
        }
        Configuration(bytes)
    };

    /// A block with this instruction for two tiles.
    macro_rules! block {
        ($block:expr, $multiply:literal) => {{
            let Block { left, left_step, weights: [first, second], times, sums, sums_step } = $block;
            let (below, sums_below) = (left.add(SIDE * left_step), sums.add(SIDE * sums_step));
            if second.is_null() {
                asm!(
                    "tileloadd tmm0, [{sums} + {sums_step}*1]",
                    "tileloadd tmm2, [{sums_below} + {sums_step}*1]",
                    "2:",
                    "tileloadd tmm4, [{left} + {left_step}*1]",
                    "tileloadd tmm6, [{first} + {row}*1]",
                    concat!($multiply, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm5, [{below} + {left_step}*1]",
                    concat!($multiply, " tmm2, tmm5, tmm6"),
                    "add {left}, 64",
                    "add {below}, 64",
                    "add {first}, 1024",
                    "dec {times}",
                    "jnz 2b",
                    "tilestored [{sums} + {sums_step}*1], tmm0",
                    "tilestored [{sums_below} + {sums_step}*1], tmm2",
                    sums = in(reg) sums,
                    sums_below = in(reg) sums_below,
                    sums_step = in(reg) sums_step,
                    left = inout(reg) left => _,
                    below = inout(reg) below => _,
                    left_step = in(reg) left_step,
                    first = inout(reg) first => _,
                    row = in(reg) ROW,
                    times = inout(reg) times => _,
                    out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
                    options(nostack)
                );
            } else {
                asm!(
                    "tileloadd tmm0, [{sums} + {sums_step}*1]",
                    "tileloadd tmm1, [{sums} + {sums_step}*1 + 64]",
                    "tileloadd tmm2, [{sums_below} + {sums_step}*1]",
                    "tileloadd tmm3, [{sums_below} + {sums_step}*1 + 64]",
                    "2:",
                    "tileloadd tmm4, [{left} + {left_step}*1]",
                    "tileloadd tmm6, [{first} + {row}*1]",
                    concat!($multiply, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm7, [{second} + {row}*1]",
                    concat!($multiply, " tmm1, tmm4, tmm7"),
                    "tileloadd tmm5, [{below} + {left_step}*1]",
                    concat!($multiply, " tmm2, tmm5, tmm6"),
                    concat!($multiply, " tmm3, tmm5, tmm7"),
                    "add {left}, 64",
                    "add {below}, 64",
                    "add {first}, 1024",
                    "add {second}, 1024",
                    "dec {times}",
                    "jnz 2b",
                    "tilestored [{sums} + {sums_step}*1], tmm0",
                    "tilestored [{sums} + {sums_step}*1 + 64], tmm1",
                    "tilestored [{sums_below} + {sums_step}*1], tmm2",
                    "tilestored [{sums_below} + {sums_step}*1 + 64], tmm3",
                    sums = in(reg) sums,
                    sums_below = in(reg) sums_below,
                    sums_step = in(reg) sums_step,
                    left = inout(reg) left => _,
                    below = inout(reg) below => _,
                    left_step = in(reg) left_step,
                    first = inout(reg) first => _,
                    second = inout(reg) second => _,
                    row = in(reg) ROW,
                    times = inout(reg) times => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack)
                );
            }
        }};
    }

    impl Tiles for Instructions {
        unsafe fn pairs(block: Block) {
            // SAFETY: the caller's promise; there are 16 groups at least.
            unsafe { block!(block, "tdpbf16ps") }
        }

        unsafe fn quads(block: Block) {
            // SAFETY: as above.
            unsafe { block!(block, "tdpbusd") }
        }

        unsafe fn begin() {
            // SAFETY: the caller's promise; the configuration is 64 bytes.
            unsafe { asm!("ldtilecfg [{0}]", in(reg) WHOLE_TILES.0.as_ptr(), options(nostack, readonly)) }
        }

        unsafe fn end() {
            // SAFETY: the caller's promise.
            unsafe { asm!("tilerelease", options(nostack, nomem)) }
        }
    }
}
