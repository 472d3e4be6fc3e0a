//! Which units a processor has, and which of them is taken.

use std::sync::OnceLock;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;

/// What multiplies bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bf16Unit {
    /// AMX.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles,
    /// AVX-512 BF16.
    #[cfg(target_arch = "x86_64")]
    Pairs512,
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Widened512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Widened256,
    Plain,
    /// The twin of `Pairs512`.
    #[cfg(test)]
    PlainPairs,
    /// The twin of `Tiles`.
    #[cfg(test)]
    PlainTiles,
}

/// What multiplies bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Int8Unit {
    /// AMX.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles,
    /// AVX-512 VNNI.
    #[cfg(target_arch = "x86_64")]
    Quads512,
    /// AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    Quads256,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Pairs256,
    /// The twin of `Quads512` and `Quads256`.
    Plain,
    /// The twin of `Pairs256`.
    #[cfg(test)]
    PlainPairs,
    /// The twin of `Tiles`.
    #[cfg(test)]
    PlainTiles,
}

/// `with_bf16_unit!(unit, U => …)`: what follows, with `U` the type that computes on `unit`.
macro_rules! with_bf16_unit {
    ($unit:expr, $type:ident => $body:expr) => {
        match $unit {
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::narrow::choice::Bf16Unit::Pairs512 => {
                type $type = $crate::cpu::narrow::bf16::wide::Pairs;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::narrow::choice::Bf16Unit::Widened512 => {
                type $type = $crate::cpu::narrow::bf16::wide::Widened;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::narrow::choice::Bf16Unit::Widened256 => {
                type $type = $crate::cpu::narrow::bf16::narrow::Widened;
                $body
            }
            $crate::cpu::narrow::choice::Bf16Unit::Plain => {
                type $type = $crate::cpu::narrow::bf16::Widened;
                $body
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            $crate::cpu::narrow::choice::Bf16Unit::Tiles => {
                type $type = $crate::cpu::narrow::amx::Bf16<$crate::cpu::narrow::amx::instructions::Instructions>;
                $body
            }
            #[cfg(test)]
            $crate::cpu::narrow::choice::Bf16Unit::PlainTiles => {
                type $type = $crate::cpu::narrow::amx::Bf16<$crate::cpu::narrow::amx::Plain>;
                $body
            }
            #[cfg(test)]
            $crate::cpu::narrow::choice::Bf16Unit::PlainPairs => {
                type $type = $crate::cpu::narrow::bf16::PlainPairs;
                $body
            }
        }
    };
}
pub(super) use with_bf16_unit;

impl Bf16Unit {
    /// All of this processor, best first.
    pub(super) fn available() -> Vec<Bf16Unit> {
        let mut units = Vec::new();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if amx::instructions::has().bf16 {
            units.push(Bf16Unit::Tiles);
        }
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                units.push(Bf16Unit::Widened512);
                if is_x86_feature_detected!("avx512bf16") {
                    let place = units.len() - usize::from(!is_of_intel());
                    units.insert(place, Bf16Unit::Pairs512);
                }
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                units.push(Bf16Unit::Widened256);
            }
        }
        units.push(Bf16Unit::Plain);
        units
    }

    pub(super) fn best() -> Bf16Unit {
        Bf16Unit::best_that(|_| true)
    }

    /// The best one of this processor that is fit for a task. The plain one is fit for all.
    pub(super) fn best_that(is_fit: impl Fn(&Bf16Unit) -> bool) -> Bf16Unit {
        static AVAILABLE: OnceLock<Vec<Bf16Unit>> = OnceLock::new();
        let available = AVAILABLE.get_or_init(Bf16Unit::available);
        *available.iter().find(|unit| is_fit(unit)).expect("the plain unit is fit")
    }

    /// Does it multiply whole tiles of 16 pairs?
    pub(super) fn is_tiles(self) -> bool {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Bf16Unit::Tiles => true,
            #[cfg(test)]
            Bf16Unit::PlainTiles => true,
            _ => false,
        }
    }

    /// Does it widen bf16 to f32, and keep the left side of a product as it is?
    pub(super) fn widens(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Bf16Unit::Widened512 | Bf16Unit::Widened256 => true,
            Bf16Unit::Plain => true,
            #[allow(unreachable_patterns, reason = "on processors of another kind there is no other")]
            _ => false,
        }
    }
}

impl Int8Unit {
    pub(super) fn best() -> Int8Unit {
        static BEST: OnceLock<Int8Unit> = OnceLock::new();
        *BEST.get_or_init(|| Int8Unit::available()[0])
    }

    /// All of this processor, best first.
    pub(super) fn available() -> Vec<Int8Unit> {
        let mut units = Vec::new();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if amx::instructions::has().int8 {
            units.push(Int8Unit::Tiles);
        }
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                units.push(Int8Unit::Quads512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni") {
                units.push(Int8Unit::Quads256);
            }
            if is_x86_feature_detected!("avx2") {
                units.push(Int8Unit::Pairs256);
            }
        }
        units.push(Int8Unit::Plain);
        units
    }
}

/// Is the processor made by Intel? Those of today take two cycles for a `vdpbf16ps` of 512 bits and half of one for a multiply-add
/// of f32 (Emerald Rapids, measured), so widening is twice as fast: AMX is their unit for bf16. By maker and not by a measurement:
/// the choice changes what is drawn, and must be the same on each start.
#[cfg(target_arch = "x86_64")]
fn is_of_intel() -> bool {
    let about = std::arch::x86_64::__cpuid(0);
    [about.ebx, about.edx, about.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// Does this processor multiply bf16 itself, and is that how it is fastest? Then activations are rounded, too, and results differ from those of a processor
/// that widens weights.
pub(crate) fn multiplies_bf16() -> bool {
    !Bf16Unit::best().widens()
}
