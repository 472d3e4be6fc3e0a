//! Products with weights in bf16.
//!
//! Two kinds of units. Where the processor multiplies bf16 itself (`vdpbf16ps`), activations are rounded to bf16, too.
//! Elsewhere the weights are widened to f32 in registers: then the product is that of f32 with rounded weights, bit for bit,
//! and what is saved is memory and the time to read it.

use super::unit::{Lanes, Pass, Unit, compiled_for};
use crate::cpu::panels::{PANEL, TILE};
use crate::cpu::simd::dispatched;

/// Weights of one 32-bit word.
pub(super) const PAIR: usize = 2;

/// A number rounded to bf16, ties to even.
#[inline(always)]
pub(super) fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    // A NaN stays one: rounding its bits up could make it an infinity.
    let bits = if bits & 0x7fff_ffff > 0x7f80_0000 { bits | 0x0040_0000 } else { nearest };
    (bits >> 16) as u16
}

dispatched!(
    /// Two neighbours a word, the first in the lower half.
    fn rounded_pairs(x: &[f32], words: &mut [u32]) = rounded_pairs_lanes
);

#[inline(always)]
fn rounded_pairs_lanes<const FMA: bool>(x: &[f32], words: &mut [u32]) {
    let (pairs, rest) = x.as_chunks::<PAIR>();
    for (word, [low, high]) in words.iter_mut().zip(pairs) {
        *word = u32::from(rounded(*low)) | u32::from(rounded(*high)) << 16;
    }
    if let ([last], Some(word)) = (rest, words.get_mut(pairs.len())) {
        *word = u32::from(rounded(*last));
    }
}

/// One word a group: the numbers rounded.
pub(super) fn pairs(x: &[f32], words: &mut [u32]) -> f32 {
    rounded_pairs(x, words);
    1.0
}

/// Two words a group: the numbers as they are.
fn whole(x: &[f32], words: &mut [u32]) -> f32 {
    let (filled, rest) = words.split_at_mut(x.len());
    filled.iter_mut().zip(x).for_each(|(word, x)| *word = x.to_bits());
    rest.fill(0);
    1.0
}

/// Any processor: weights widened, one multiplication and one addition at a time.
pub(super) struct Widened;

impl Unit for Widened {
    type Weight = u16;
    type Total = f32;
    const GROUP: usize = PAIR;
    const WORDS: usize = 2;
    const PANELS: usize = 1;

    fn words(x: &[f32], words: &mut [u32]) -> f32 {
        whole(x, words)
    }

    compiled_for!();
}

impl Lanes for Widened {
    type Sum = [f32; PANEL];

    unsafe fn zero() -> Self::Sum {
        [0.0; PANEL]
    }

    unsafe fn load(totals: *const f32) -> Self::Sum {
        // SAFETY: the caller's promise.
        unsafe { totals.cast::<Self::Sum>().read() }
    }

    unsafe fn store(sum: Self::Sum, totals: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { totals.cast::<Self::Sum>().write(sum) }
    }

    #[inline(always)]
    unsafe fn step<const ROWS: usize, const PANELS: usize>(
        sums: &mut [[Self::Sum; PANELS]; ROWS],
        words: *const u32,
        _: usize,
        weights: *const u16,
        panel_len: usize,
    ) {
        for panel in 0..PANELS {
            for half in 0..PAIR {
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let x = f32::from_bits(unsafe { *words.add(half * ROWS + row) });
                    for (lane, sum) in sums[panel].iter_mut().enumerate() {
                        // SAFETY: the caller's promise.
                        let weight = unsafe { *weights.add(panel * panel_len + lane * PAIR + half) };
                        *sum += x * f32::from_bits(u32::from(weight) << 16);
                    }
                }
            }
        }
    }
}

/// `vdpbf16ps` as a plain function: the twin of [`wide::Pairs`]. The product of the upper halves is added first, then that of
/// the lower ones, each sum rounded to nearest (Intel's manual, volume 2, VDPBF16PS).
#[cfg(test)]
pub(super) struct PlainPairs;

#[cfg(test)]
impl Unit for PlainPairs {
    type Weight = u16;
    type Total = f32;
    const GROUP: usize = PAIR;
    const WORDS: usize = 1;
    const PANELS: usize = 4;

    fn words(x: &[f32], words: &mut [u32]) -> f32 {
        pairs(x, words)
    }

    compiled_for!();
}

#[cfg(test)]
impl Lanes for PlainPairs {
    type Sum = [f32; PANEL];

    unsafe fn zero() -> Self::Sum {
        [0.0; PANEL]
    }

    unsafe fn load(totals: *const f32) -> Self::Sum {
        // SAFETY: the caller's promise.
        unsafe { totals.cast::<Self::Sum>().read() }
    }

    unsafe fn store(sum: Self::Sum, totals: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { totals.cast::<Self::Sum>().write(sum) }
    }

    unsafe fn step<const ROWS: usize, const PANELS: usize>(
        sums: &mut [[Self::Sum; PANELS]; ROWS],
        words: *const u32,
        _: usize,
        weights: *const u16,
        panel_len: usize,
    ) {
        let number = |bits: u32| f32::from_bits(bits << 16);
        for (row, sums) in sums.iter_mut().enumerate() {
            for (panel, sums) in sums.iter_mut().enumerate() {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let (x, [low, high]) = unsafe {
                        (*words.add(row), *weights.add(panel * panel_len + lane * PAIR).cast::<[u16; PAIR]>())
                    };
                    *sum += number(u32::from(high)) * number(x >> 16);
                    *sum += number(u32::from(low)) * number(x & 0xffff);
                }
            }
        }
    }
}

/// Weights widened in registers: 12 of 16 hold sums.
#[cfg(target_arch = "x86_64")]
pub(super) mod narrow {
    use std::arch::x86_64::*;

    use super::super::unit::anew;
    use super::*;

    pub(crate) struct Widened;

    impl Unit for Widened {
        type Weight = u16;
        type Total = f32;
        const GROUP: usize = PAIR;
        const WORDS: usize = 2;
        const PANELS: usize = 1;

        fn words(x: &[f32], words: &mut [u32]) -> f32 {
            whole(x, words)
        }

        compiled_for!("avx2,fma", TILE);
    }

    impl Lanes for Widened {
        type Sum = [__m256; 2];

        #[inline(always)]
        unsafe fn zero() -> Self::Sum {
            // SAFETY: the caller's promise. So it is for all functions below.
            unsafe { [_mm256_setzero_ps(); 2] }
        }

        #[inline(always)]
        unsafe fn load(totals: *const f32) -> Self::Sum {
            // SAFETY: as above.
            unsafe { [_mm256_loadu_ps(totals), _mm256_loadu_ps(totals.add(8))] }
        }

        #[inline(always)]
        unsafe fn store(sum: Self::Sum, totals: *mut f32) {
            // SAFETY: as above.
            unsafe {
                _mm256_storeu_ps(totals, sum[0]);
                _mm256_storeu_ps(totals.add(8), sum[1]);
            }
        }

        #[inline(always)]
        unsafe fn step<const ROWS: usize, const PANELS: usize>(
            sums: &mut [[Self::Sum; PANELS]; ROWS],
            words: *const u32,
            _: usize,
            weights: *const u16,
            panel_len: usize,
        ) {
            // SAFETY: as above.
            unsafe {
                for panel in 0..PANELS {
                    let weights = weights.add(panel * panel_len);
                    let pairs: [__m256i; 2] =
                        [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(16).cast())];
                    let low = pairs.map(|pairs| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = _mm256_set1_ps(f32::from_bits(*words.add(row)));
                        sums[panel][0] = _mm256_fmadd_ps(x, low[0], sums[panel][0]);
                        sums[panel][1] = _mm256_fmadd_ps(x, low[1], sums[panel][1]);
                    }
                    // Sixteen registers hold the sums, two halves and a number: the pairs are read again.
                    let weights = anew(weights);
                    let pairs: [__m256i; 2] =
                        [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(16).cast())];
                    let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
                    let high = pairs.map(|pairs| _mm256_castsi256_ps(_mm256_and_si256(pairs, upper)));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = _mm256_set1_ps(f32::from_bits(*words.add(ROWS + row)));
                        sums[panel][0] = _mm256_fmadd_ps(x, high[0], sums[panel][0]);
                        sums[panel][1] = _mm256_fmadd_ps(x, high[1], sums[panel][1]);
                    }
                }
            }
        }
    }
}

/// Tiles of 6 rows × up to 4 panels: 24 of 32 registers hold sums.
#[cfg(target_arch = "x86_64")]
pub(super) mod wide {
    use std::arch::x86_64::*;

    use super::super::unit::DEPTH_OF_FOUR;
    use super::*;

    /// Weights widened in registers.
    pub(crate) struct Widened;

    /// `vdpbf16ps`.
    pub(crate) struct Pairs;

    macro_rules! one_register {
        () => {
            #[inline(always)]
            unsafe fn zero() -> Self::Sum {
                // SAFETY: the caller's promise. So it is for all functions below.
                unsafe { _mm512_setzero_ps() }
            }

            #[inline(always)]
            unsafe fn load(totals: *const f32) -> Self::Sum {
                // SAFETY: as above.
                unsafe { _mm512_loadu_ps(totals) }
            }

            #[inline(always)]
            unsafe fn store(sum: Self::Sum, totals: *mut f32) {
                // SAFETY: as above.
                unsafe { _mm512_storeu_ps(totals, sum) }
            }
        };
    }

    impl Unit for Widened {
        type Weight = u16;
        type Total = f32;
        const GROUP: usize = PAIR;
        const WORDS: usize = 2;
        const PANELS: usize = 4;
        const DEPTH: usize = DEPTH_OF_FOUR;
        const BY_ROWS: bool = true;

        fn words(x: &[f32], words: &mut [u32]) -> f32 {
            whole(x, words)
        }

        fn as_words(x: &[f32]) -> Option<&[u32]> {
            // SAFETY: a number is as large as a word, aligned as one, and all its bits are allowed.
            Some(unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) })
        }

        compiled_for!("avx512f", TILE);
    }

    impl Lanes for Widened {
        type Sum = __m512;

        one_register!();

        #[inline(always)]
        unsafe fn step<const ROWS: usize, const PANELS: usize>(
            sums: &mut [[Self::Sum; PANELS]; ROWS],
            words: *const u32,
            row_words: usize,
            weights: *const u16,
            panel_len: usize,
        ) {
            // SAFETY: as above.
            unsafe {
                let mut pairs = [_mm512_setzero_si512(); PANELS];
                for (panel, pairs) in pairs.iter_mut().enumerate() {
                    *pairs = _mm512_loadu_si512(weights.add(panel * panel_len).cast());
                }
                let low = pairs.map(|pairs| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(f32::from_bits(*words.add(row * row_words)));
                    for (sum, low) in sums.iter_mut().zip(low) {
                        *sum = _mm512_fmadd_ps(x, low, *sum);
                    }
                }
                let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
                let high = pairs.map(|pairs| _mm512_castsi512_ps(_mm512_and_si512(pairs, upper)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(f32::from_bits(*words.add(row * row_words + 1)));
                    for (sum, high) in sums.iter_mut().zip(high) {
                        *sum = _mm512_fmadd_ps(x, high, *sum);
                    }
                }
            }
        }
    }

    impl Unit for Pairs {
        type Weight = u16;
        type Total = f32;
        const GROUP: usize = PAIR;
        const WORDS: usize = 1;
        const PANELS: usize = 4;
        const DEPTH: usize = DEPTH_OF_FOUR;
        const BY_ROWS: bool = true;

        fn words(x: &[f32], words: &mut [u32]) -> f32 {
            pairs(x, words)
        }

        compiled_for!("avx512f,avx512bf16", TILE);
    }

    impl Lanes for Pairs {
        type Sum = __m512;

        one_register!();

        #[inline(always)]
        unsafe fn step<const ROWS: usize, const PANELS: usize>(
            sums: &mut [[Self::Sum; PANELS]; ROWS],
            words: *const u32,
            row_words: usize,
            weights: *const u16,
            panel_len: usize,
        ) {
            // SAFETY: as above; 512 bits are 32 numbers of bf16.
            unsafe {
                let mut pairs = [_mm512_setzero_si512(); PANELS];
                for (panel, pairs) in pairs.iter_mut().enumerate() {
                    *pairs = _mm512_loadu_si512(weights.add(panel * panel_len).cast());
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x =
                        std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*words.add(row * row_words) as i32));
                    for (sum, pairs) in sums.iter_mut().zip(pairs) {
                        *sum = _mm512_dpbf16_ps(*sum, std::mem::transmute::<__m512i, __m512bh>(pairs), x);
                    }
                }
            }
        }
    }
}
