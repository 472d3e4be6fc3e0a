//! Products of bytes: weights with a scale an output, activations with a scale a row.
//!
//! Sums are whole numbers, so every unit gives the same bits. `vpdpbusd` takes activations without a sign: 128 is added to each,
//! and 128 times the sum of an output's weights is taken away afterwards. AVX2 multiplies bytes only with sums that saturate
//! at 16 bits; there both sides are widened to 16 bits in registers, and no sum can be wrong.

use super::quantise::{QUAD, in_16_bits, inverse, scale, without_sign};
use super::unit::{Lanes, Pass, Unit, compiled_for};
use crate::cpu::panels::{PANEL, TILE};

/// The units that take activations without a sign.
pub(super) fn quads(x: &[f32], words: &mut [u32]) -> f32 {
    let scale = scale(x);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions.
        unsafe { narrow::without_sign_at_once(x, inverse(scale), words) };
        return scale;
    }
    without_sign(x, inverse(scale), words);
    scale
}

/// The twin of [`quads`].
fn plain_quads(x: &[f32], words: &mut [u32]) -> f32 {
    let scale = scale(x);
    without_sign(x, inverse(scale), words);
    scale
}

macro_rules! sums_in_an_array {
    () => {
        type Sum = [i32; PANEL];

        unsafe fn zero() -> Self::Sum {
            [0; PANEL]
        }

        unsafe fn load(totals: *const i32) -> Self::Sum {
            // SAFETY: the caller's promise.
            unsafe { totals.cast::<Self::Sum>().read() }
        }

        unsafe fn store(sum: Self::Sum, totals: *mut i32) {
            // SAFETY: the caller's promise.
            unsafe { totals.cast::<Self::Sum>().write(sum) }
        }
    };
}

/// Any processor: `vpdpbusd` as a plain function, and so the twin of [`wide::Quads`] and [`narrow::Quads`].
pub(super) struct PlainQuads;

impl Unit for PlainQuads {
    type Weight = i8;
    type Total = i32;
    const GROUP: usize = QUAD;
    const WORDS: usize = 1;
    const PANELS: usize = 4;

    fn words(x: &[f32], words: &mut [u32]) -> f32 {
        plain_quads(x, words)
    }

    compiled_for!();
}

impl Lanes for PlainQuads {
    sums_in_an_array!();

    #[inline(always)]
    unsafe fn step<const ROWS: usize, const PANELS: usize>(
        sums: &mut [[Self::Sum; PANELS]; ROWS],
        words: *const u32,
        _: usize,
        weights: *const i8,
        panel_len: usize,
    ) {
        for (row, sums) in sums.iter_mut().enumerate() {
            for (panel, sums) in sums.iter_mut().enumerate() {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let (x, weights) = unsafe {
                        (*words.add(row), *weights.add(panel * panel_len + lane * QUAD).cast::<[i8; QUAD]>())
                    };
                    for (x, weight) in x.to_le_bytes().into_iter().zip(weights) {
                        *sum += i32::from(x) * i32::from(weight);
                    }
                }
            }
        }
    }
}

/// Shifts and `vpmaddwd` as plain functions: the twin of [`narrow::Pairs`].
#[cfg(test)]
pub(super) struct PlainPairs;

#[cfg(test)]
impl Unit for PlainPairs {
    type Weight = i8;
    type Total = i32;
    const GROUP: usize = QUAD;
    const WORDS: usize = 2;
    const PANELS: usize = 1;

    fn words(x: &[f32], words: &mut [u32]) -> f32 {
        let scale = scale(x);
        in_16_bits(x, inverse(scale), words);
        scale
    }

    compiled_for!();
}

#[cfg(test)]
impl Lanes for PlainPairs {
    sums_in_an_array!();

    unsafe fn step<const ROWS: usize, const PANELS: usize>(
        sums: &mut [[Self::Sum; PANELS]; ROWS],
        words: *const u32,
        _: usize,
        weights: *const i8,
        panel_len: usize,
    ) {
        let halves = |word: u32| [word as u16 as i16, (word >> 16) as u16 as i16];
        let multiply_add =
            |a: [i16; 2], b: [i16; 2]| i32::from(a[0]) * i32::from(b[0]) + i32::from(a[1]) * i32::from(b[1]);
        for (row, sums) in sums.iter_mut().enumerate() {
            for (panel, sums) in sums.iter_mut().enumerate() {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let (first, second, word) = unsafe {
                        let word = weights.add(panel * panel_len + lane * QUAD).cast::<u32>().read_unaligned();
                        (*words.add(row), *words.add(ROWS + row), word)
                    };
                    let odd = halves(word).map(|half| half >> 8);
                    let even = halves(word).map(|half| (half << 8) >> 8);
                    *sum += multiply_add(halves(first), even) + multiply_add(halves(second), odd);
                }
            }
        }
    }
}

/// 16 registers of 256 bits.
#[cfg(target_arch = "x86_64")]
pub(super) mod narrow {
    use std::arch::x86_64::*;

    use super::super::unit::anew;
    use super::*;

    /// `vpmaddwd` on both sides widened to 16 bits: AVX2.
    pub(crate) struct Pairs;
    /// `vpdpbusd` in 256 bits: AVX-VNNI.
    pub(crate) struct Quads;

    /// [`in_16_bits`], sixteen numbers at once.
    #[target_feature(enable = "avx2")]
    unsafe fn in_16_bits_at_once(x: &[f32], inverse: f32, words: &mut [u32]) {
        let (runs, rest) = x.as_chunks::<16>();
        let (places, left) = words.split_at_mut(8 * runs.len());
        let factor = _mm256_set1_ps(inverse);
        for (run, places) in runs.iter().zip(places.as_chunks_mut::<8>().0) {
            // SAFETY: a run is sixteen numbers, its place eight words.
            unsafe {
                let [low, high] = [0, 8]
                    .map(|first| _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(run.as_ptr().add(first)), factor)));
                // Packing takes half of each register in turn.
                let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
                _mm256_storeu_si256(places.as_mut_ptr().cast(), packed);
            }
        }
        in_16_bits(rest, inverse, left);
    }

    /// [`without_sign`], sixteen numbers at once. `order`: `BYTE_OF` of each word.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn without_sign_at_once(x: &[f32], inverse: f32, words: &mut [u32]) {
        let (runs, rest) = x.as_chunks::<16>();
        let (places, left) = words.split_at_mut(4 * runs.len());
        let factor = _mm256_set1_ps(inverse);
        let order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
        for (run, places) in runs.iter().zip(places.as_chunks_mut::<4>().0) {
            // SAFETY: a run is sixteen numbers, its place four words.
            unsafe {
                let [low, high] = [0, 8]
                    .map(|first| _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(run.as_ptr().add(first)), factor)));
                // Packing takes half of each register in turn.
                let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
                let bytes = _mm_packs_epi16(_mm256_castsi256_si128(packed), _mm256_extracti128_si256::<1>(packed));
                // 128 is added, or taken away: modulo 256 that is the same, and one bit.
                let bytes = _mm_xor_si128(bytes, _mm_set1_epi8(i8::MIN));
                _mm_storeu_si128(places.as_mut_ptr().cast(), _mm_shuffle_epi8(bytes, order));
            }
        }
        without_sign(rest, inverse, left);
    }

    macro_rules! two_registers {
        () => {
            type Sum = [__m256i; 2];

            #[inline(always)]
            unsafe fn zero() -> Self::Sum {
                // SAFETY: the caller's promise. So it is for all functions below.
                unsafe { [_mm256_setzero_si256(); 2] }
            }

            #[inline(always)]
            unsafe fn load(totals: *const i32) -> Self::Sum {
                // SAFETY: as above.
                unsafe { [_mm256_loadu_si256(totals.cast()), _mm256_loadu_si256(totals.add(8).cast())] }
            }

            #[inline(always)]
            unsafe fn store(sum: Self::Sum, totals: *mut i32) {
                // SAFETY: as above.
                unsafe {
                    _mm256_storeu_si256(totals.cast(), sum[0]);
                    _mm256_storeu_si256(totals.add(8).cast(), sum[1]);
                }
            }
        };
    }

    impl Unit for Pairs {
        type Weight = i8;
        type Total = i32;
        const GROUP: usize = QUAD;
        const PANELS: usize = 1;
        const WORDS: usize = 2;

        fn words(x: &[f32], words: &mut [u32]) -> f32 {
            let scale = scale(x);
            // SAFETY: a unit is only named after a check that the processor has it.
            unsafe { in_16_bits_at_once(x, inverse(scale), words) };
            scale
        }

        compiled_for!("avx2", TILE);
    }

    impl Lanes for Pairs {
        two_registers!();

        #[inline(always)]
        unsafe fn step<const ROWS: usize, const PANELS: usize>(
            sums: &mut [[Self::Sum; PANELS]; ROWS],
            words: *const u32,
            _: usize,
            weights: *const i8,
            panel_len: usize,
        ) {
            // SAFETY: as above.
            unsafe {
                for panel in 0..PANELS {
                    let weights = weights.add(panel * panel_len);
                    let quads: [__m256i; 2] =
                        [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(32).cast())];
                    let even = quads.map(|quads| _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(quads)));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = _mm256_set1_epi32(*words.add(row) as i32);
                        for (sum, even) in sums[panel].iter_mut().zip(even) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, even));
                        }
                    }
                    // Sixteen registers hold the sums, two halves and a number: the quads are read again.
                    let weights = anew(weights);
                    let quads: [__m256i; 2] =
                        [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(32).cast())];
                    let odd = quads.map(|quads| _mm256_srai_epi16::<8>(quads));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = _mm256_set1_epi32(*words.add(ROWS + row) as i32);
                        for (sum, odd) in sums[panel].iter_mut().zip(odd) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, odd));
                        }
                    }
                }
            }
        }
    }

    impl Unit for Quads {
        type Weight = i8;
        type Total = i32;
        const GROUP: usize = QUAD;
        const PANELS: usize = 1;
        const WORDS: usize = 1;

        fn words(x: &[f32], words: &mut [u32]) -> f32 {
            quads(x, words)
        }

        compiled_for!("avx2,avxvnni", TILE);
    }

    impl Lanes for Quads {
        two_registers!();

        #[inline(always)]
        unsafe fn step<const ROWS: usize, const PANELS: usize>(
            sums: &mut [[Self::Sum; PANELS]; ROWS],
            words: *const u32,
            _: usize,
            weights: *const i8,
            panel_len: usize,
        ) {
            // SAFETY: as above.
            unsafe {
                for panel in 0..PANELS {
                    let weights = weights.add(panel * panel_len);
                    let quads: [__m256i; 2] =
                        [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(32).cast())];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = _mm256_set1_epi32(*words.add(row) as i32);
                        for (sum, quads) in sums[panel].iter_mut().zip(quads) {
                            *sum = _mm256_dpbusd_avx_epi32(*sum, x, quads);
                        }
                    }
                }
            }
        }
    }
}

/// `vpdpbusd` in 512 bits: tiles of 6 rows × up to 4 panels, 24 of 32 registers hold sums.
#[cfg(target_arch = "x86_64")]
pub(super) mod wide {
    use std::arch::x86_64::*;

    use super::super::unit::DEPTH_OF_FOUR;
    use super::*;

    /// AVX-512 VNNI.
    pub(crate) struct Quads;

    impl Unit for Quads {
        type Weight = i8;
        type Total = i32;
        const GROUP: usize = QUAD;
        const WORDS: usize = 1;
        const PANELS: usize = 4;
        const DEPTH: usize = DEPTH_OF_FOUR;
        const BY_ROWS: bool = true;

        fn words(x: &[f32], words: &mut [u32]) -> f32 {
            quads(x, words)
        }

        compiled_for!("avx512f,avx512vnni", TILE);
    }

    impl Lanes for Quads {
        type Sum = __m512i;

        #[inline(always)]
        unsafe fn zero() -> Self::Sum {
            // SAFETY: the caller's promise. So it is for all functions below.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn load(totals: *const i32) -> Self::Sum {
            // SAFETY: as above.
            unsafe { _mm512_loadu_si512(totals.cast()) }
        }

        #[inline(always)]
        unsafe fn store(sum: Self::Sum, totals: *mut i32) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_si512(totals.cast(), sum) }
        }

        #[inline(always)]
        unsafe fn step<const ROWS: usize, const PANELS: usize>(
            sums: &mut [[Self::Sum; PANELS]; ROWS],
            words: *const u32,
            row_words: usize,
            weights: *const i8,
            panel_len: usize,
        ) {
            // SAFETY: as above.
            unsafe {
                let mut quads = [_mm512_setzero_si512(); PANELS];
                for (panel, quads) in quads.iter_mut().enumerate() {
                    *quads = _mm512_loadu_si512(weights.add(panel * panel_len).cast());
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32(*words.add(row * row_words) as i32);
                    for (sum, quads) in sums.iter_mut().zip(quads) {
                        *sum = _mm512_dpbusd_epi32(*sum, x, quads);
                    }
                }
            }
        }
    }
}
