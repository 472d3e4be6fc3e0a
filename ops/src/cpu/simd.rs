//! One loop, compiled for each kind of processor and chosen at run time: one binary is fast on a new processor and
//! still starts on an old one.
//!
//! Most kernels are plain Rust over fixed-width lanes, which the compiler turns into vector instructions.
//! A fused multiply-add must be asked for (`FMA`), because contraction is not allowed to happen by itself.

/// Vector instruction sets that have kernels here, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    Avx512,
    Avx2,
    /// Whatever the target guarantees.
    Plain,
}

impl Isa {
    /// The best one this processor has.
    pub(crate) fn best() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Isa::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Isa::Avx2;
            }
        }
        Isa::Plain
    }

    /// Every instruction set that this processor has, for tests that compare them.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Isa> {
        match Isa::best() {
            Isa::Avx512 => vec![Isa::Avx512, Isa::Avx2, Isa::Plain],
            Isa::Avx2 => vec![Isa::Avx2, Isa::Plain],
            Isa::Plain => vec![Isa::Plain],
        }
    }
}

/// `fn name(args) = body` calls the `#[inline(always)]` function `body::<FMA>`, compiled for the best instruction set this
/// processor has.
macro_rules! dispatched {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident) => {
        $(#[$doc])*
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $result)? { $body::<true>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? { $body::<true>($($arg),*) }

            match $crate::cpu::simd::Isa::best() {
                // SAFETY: `best` names an instruction set only if this processor has it.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::simd::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::simd::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => $body::<false>($($arg),*),
            }
        }
    };
}
pub(crate) use dispatched;

/// Numbers worked on together: one AVX-512 register, two of AVX2.
pub(crate) const LANES: usize = 16;

/// `a·b + c`
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `eˣ`, within 2 units in the last place for |x| < 87; beyond that 0 and a very large finite number.
///
/// Cody–Waite reduction to |r| ≤ ln2/2, then the degree-6 polynomial of Cephes' `expf`
/// (<https://www.netlib.org/cephes/>, single/expf.c).
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding and taking away 1.5·2²³ rounds to the nearest integer without a call.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
    let rounded = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let p = fma::<FMA>(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = fma::<FMA>(p, r, 8.333_452e-3);
    let p = fma::<FMA>(p, r, 4.166_579_6e-2);
    let p = fma::<FMA>(p, r, 1.666_666_6e-1);
    let p = fma::<FMA>(p, r, 0.5);
    let p = fma::<FMA>(p, r * r, r + 1.0);
    // 2ⁿ: the lowest bits of `rounded` are n, and the shift drops the others. A cast of n would look for NaN and overflow.
    p * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23)
}

/// `Σ aᵢ·bᵢ`
#[inline(always)]
pub(crate) fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for i in 0..LANES {
            lanes[i] = fma::<FMA>(a[i], b[i], lanes[i]);
        }
    }
    sum_lanes(lanes) + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// The sum of all lanes, pairwise.
#[inline(always)]
pub(crate) fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        for i in -87_000..=88_000 {
            let x = i as f32 * 1e-3;
            for found in [exp::<true>(x), exp::<false>(x)] {
                let expected = f64::from(x).exp();
                let error = (f64::from(found) - expected).abs() / expected;
                assert!(error < 2.4e-7, "exp({x}) = {found}, expected {expected}");
            }
        }
        assert!(exp::<true>(-1e30) < 1e-37 && exp::<true>(1e30).is_finite());
    }
}
