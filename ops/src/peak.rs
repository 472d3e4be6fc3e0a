//! The most that this machine can do: multiply-adds on registers alone, for each unit that the processor has, and a copy
//! between two blocks of memory. What an operation reaches is told as a share of it.
//!
//! Nothing is read or written in the loops of multiply-adds, so no kernel can be faster. Their chains are independent, and
//! as many as the registers hold: a multiply-add waits four to five cycles for the one before it in its chain.

use std::hint::black_box;

use rayon::prelude::*;

use crate::Compute;
use crate::probe::{Probe, Work};

/// Turns of one measurement: with twelve chains of eight lanes about a millisecond.
const TURNS: usize = 200_000;

/// Larger than the caches of most processors: what is measured is the memory.
const COPY_BYTES: usize = 64 << 20;

/// A unit of the processor: its name, the type it multiplies, operations of one turn on one thread (a multiply-add is two), and
/// the loop.
struct Unit {
    name: &'static str,
    compute: Compute,
    operations: usize,
    turn: fn(usize) -> f32,
}

/// What each unit of this processor does on all threads that compute. The first computes in f32.
pub fn units() -> Vec<Probe> {
    units_here().into_iter().map(Unit::probe).collect()
}

/// A copy on all threads: what operations are bounded by that compute little.
pub fn copy() -> Probe {
    let (source, mut target) = (vec![1_u8; COPY_BYTES], vec![0_u8; COPY_BYTES]);
    // Each byte is read and written.
    Probe::new("copy, 64 MiB", Work::Bytes(2.0 * COPY_BYTES as f64), move || {
        let share = COPY_BYTES.div_ceil(rayon::current_num_threads());
        target.par_chunks_mut(share).zip(source.par_chunks(share)).for_each(|(target, source)| {
            target.copy_from_slice(black_box(source));
            black_box(target);
        });
        Ok(())
    })
}

impl Unit {
    fn probe(self) -> Probe {
        let Unit { name, compute, operations, turn } = self;
        let all = (operations * TURNS * rayon::current_num_threads()) as f64;
        Probe::new(name, Work::Operations(all), move || {
            rayon::broadcast(|_| black_box(turn(black_box(TURNS))));
            Ok(())
        })
        .on_unit(compute)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn units_here() -> Vec<Unit> {
    vec![PLAIN]
}

#[cfg(target_arch = "x86_64")]
fn units_here() -> Vec<Unit> {
    let mut units = Vec::new();
    let wide = is_x86_feature_detected!("avx512f");
    if wide {
        units.push(Unit {
            name: "f32, AVX-512",
            compute: Compute::F32,
            operations: 2 * 16 * x86::WIDE,
            // SAFETY: the processor has the instructions of each unit that is named after a check.
            turn: |turns| unsafe { x86::f32_wide(turns) },
        });
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        units.push(Unit {
            name: "f32, AVX2",
            compute: Compute::F32,
            operations: 2 * 8 * x86::NARROW,
            // SAFETY: as above.
            turn: |turns| unsafe { x86::f32_narrow(turns) },
        });
    } else {
        units.push(PLAIN);
    }
    if wide && is_x86_feature_detected!("avx512bf16") {
        units.push(Unit {
            name: "bf16, AVX-512",
            compute: Compute::Bf16,
            operations: 4 * 16 * x86::WIDE,
            // SAFETY: as above.
            turn: |turns| unsafe { x86::bf16_wide(turns) },
        });
    }
    if wide && is_x86_feature_detected!("avx512vnni") {
        units.push(Unit {
            name: "int8, AVX-512 VNNI",
            compute: Compute::Int8,
            operations: 8 * 16 * x86::WIDE,
            // SAFETY: as above.
            turn: |turns| unsafe { x86::int8_wide(turns) },
        });
    } else if is_x86_feature_detected!("avxvnni") {
        units.push(Unit {
            name: "int8, AVX-VNNI",
            compute: Compute::Int8,
            operations: 8 * 8 * x86::NARROW,
            // SAFETY: as above.
            turn: |turns| unsafe { x86::int8_narrow(turns) },
        });
    } else if is_x86_feature_detected!("avx2") {
        units.push(Unit {
            name: "int8, AVX2",
            compute: Compute::Int8,
            operations: 4 * 8 * x86::NARROW,
            // SAFETY: as above.
            turn: |turns| unsafe { x86::int8_in_16_bits(turns) },
        });
    }
    units
}

/// What every processor has: lanes that the compiler turns into what the target guarantees.
const PLAIN: Unit = Unit { name: "f32, plain", compute: Compute::F32, operations: 2 * PLAIN_LANES, turn: plain };

const PLAIN_LANES: usize = 32;

fn plain(turns: usize) -> f32 {
    let (factor, term) = (black_box(0.999_f32), black_box(1e-6_f32));
    let mut sums = [0.5_f32; PLAIN_LANES];
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = *sum * factor + term;
        }
    }
    sums.iter().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Chains of 16 registers, two of which hold the factors; and of 32.
    pub(super) const NARROW: usize = 12;
    pub(super) const WIDE: usize = 24;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn f32_narrow(turns: usize) -> f32 {
        let (factor, term) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(1e-6)));
        let mut sums = [_mm256_set1_ps(0.5); NARROW];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, term);
            }
        }
        let mut all = sums[0];
        for sum in &sums[1..] {
            all = _mm256_add_ps(all, *sum);
        }
        _mm256_cvtss_f32(all)
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn f32_wide(turns: usize) -> f32 {
        let (factor, term) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-6)));
        let mut sums = [_mm512_set1_ps(0.5); WIDE];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, term);
            }
        }
        let mut all = sums[0];
        for sum in &sums[1..] {
            all = _mm512_add_ps(all, *sum);
        }
        _mm512_cvtss_f32(all)
    }

    /// Pairs of bf16, two multiply-adds a lane. The sums grow, and nobody looks at them.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn bf16_wide(turns: usize) -> f32 {
        let factor = _mm512_set1_ps(black_box(0.25));
        let pairs = _mm512_cvtne2ps_pbh(factor, factor);
        let mut sums = [_mm512_setzero_ps(); WIDE];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, pairs, pairs);
            }
        }
        let mut all = sums[0];
        for sum in &sums[1..] {
            all = _mm512_add_ps(all, *sum);
        }
        _mm512_cvtss_f32(all)
    }

    /// Four multiply-adds of bytes a lane. The sums wrap round, and nobody looks at them.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn int8_wide(turns: usize) -> f32 {
        let bytes = _mm512_set1_epi8(black_box(3));
        let mut sums = [_mm512_setzero_si512(); WIDE];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, bytes, bytes);
            }
        }
        let mut all = sums[0];
        for sum in &sums[1..] {
            all = _mm512_add_epi32(all, *sum);
        }
        _mm512_cvtsi512_si32(all) as f32
    }

    /// Two multiply-adds a lane of bytes that were widened to 16 bits, and an addition. The sums wrap round, and nobody looks at
    /// them. Each turn multiplies another number: what does not change would be multiplied once.
    #[target_feature(enable = "avx2")]
    pub(super) fn int8_in_16_bits(turns: usize) -> f32 {
        let factor = _mm256_set1_epi16(black_box(3));
        let mut sums = [_mm256_setzero_si256(); NARROW];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm256_add_epi32(factor, _mm256_madd_epi16(*sum, factor));
            }
        }
        let mut all = sums[0];
        for sum in &sums[1..] {
            all = _mm256_add_epi32(all, *sum);
        }
        _mm256_cvtsi256_si32(all) as f32
    }

    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) fn int8_narrow(turns: usize) -> f32 {
        let bytes = _mm256_set1_epi8(black_box(3));
        let mut sums = [_mm256_setzero_si256(); NARROW];
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm256_dpbusd_avx_epi32(*sum, bytes, bytes);
            }
        }
        let mut all = sums[0];
        for sum in &sums[1..] {
            all = _mm256_add_epi32(all, *sum);
        }
        _mm256_cvtsi256_si32(all) as f32
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn every_unit_does_all_of_its_turns_and_no_loop_is_left_out() {
        for unit in units_here() {
            let time = |turns: usize| {
                let began = Instant::now();
                black_box((unit.turn)(black_box(turns)));
                began.elapsed().as_secs_f64()
            };
            time(1000);
            // Medians: a thread may be put aside at any time.
            let median = |turns| {
                let mut times: Vec<f64> = (0..9).map(|_| time(turns)).collect();
                times.sort_by(f64::total_cmp);
                times[4]
            };
            let (short, long) = (median(20_000), median(200_000));
            assert!(long > 4.0 * short, "{}: ten times the turns took {short} and {long} s", unit.name);
            // No processor of today does more than 64 lanes a nanosecond and core.
            let rate = (unit.operations * 200_000) as f64 / long;
            assert!(rate < 8e12, "{}: {rate:e} operations a second", unit.name);
        }
        copy().run(1).expect("a copy");
    }
}
