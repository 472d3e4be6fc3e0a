//! Which vector instructions this processor has, and functions compiled once for each of them.
//!
//! A function written with [`for_each_isa`] is ordinary Rust: the compiler vectorises the same lines three times, and the
//! call picks a version at run time. So one binary is fast on a new processor and still starts on an old one.

/// Vector instruction sets that have kernels here, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isa {
    Avx512,
    Avx2,
    /// Whatever the target guarantees.
    Plain,
}

impl Isa {
    /// The best one this processor has.
    pub(super) fn best() -> Isa {
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

    /// All that this processor has: what a test compares.
    #[cfg(test)]
    pub(super) fn available() -> Vec<Isa> {
        match Isa::best() {
            Isa::Avx512 => vec![Isa::Avx512, Isa::Avx2, Isa::Plain],
            Isa::Avx2 => vec![Isa::Avx2, Isa::Plain],
            Isa::Plain => vec![Isa::Plain],
        }
    }
}

/// `fn name(args) = body;` calls the `#[inline(always)]` function `body`, compiled for the best instruction set there is.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident;) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            fn avx512($($arg: $ty),*) {
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) {
                $body($($arg),*)
            }
            match $crate::ops::vector::Isa::best() {
                // SAFETY: `best` names an instruction set only if this processor has it.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::vector::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::vector::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => $body($($arg),*),
            }
        }
    };
}
pub(super) use for_each_isa;

/// `eˣ` to about 2 units in the last place, without a branch, a table or a call, so that loops over it become vectors.
///
/// Below −87 and above 88 it stays at the values there, which are still ordinary floats.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding 1.5·2²³ leaves round(x/ln 2) in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    // ln 2 in two parts, the first short enough that its product with `power` is exact.
    let r = x - power * 0.693_359_4 + power * 2.121_944_4e-4;
    let series = 1.0 / 5040.0;
    let series = series * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r * r + r + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    series * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library_over_its_whole_range() {
        let mut worst = 0f64;
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - exact) / exact).abs());
        }
        // Two units in the last place of an f32.
        assert!(worst < 2.4e-7, "relative error {worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 1e-37 && exp(1e30) > 1e38 && exp(1e30).is_finite());
    }
}
