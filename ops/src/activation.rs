//! Pointwise non-linearities.

use crate::cpu::simd::{dispatched, exp};
use crate::cpu::storage::map_rows;
use crate::{Result, Tensor};

/// `x·σ(x)`
pub fn silu(x: &Tensor) -> Result<Tensor> {
    map_rows(x, |_, x, out| silu_row(x, out))
}

/// The tanh form of GELU, as T5 and Wan use it: `x·σ(2·√(2/π)·(x + 0.044715·x³))`.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    map_rows(x, |_, x, out| gelu_tanh_row(x, out))
}

dispatched!(fn silu_row(x: &[f32], out: &mut [f32]) = silu_lanes);
dispatched!(fn gelu_tanh_row(x: &[f32], out: &mut [f32]) = gelu_tanh_lanes);

#[inline(always)]
fn silu_lanes<const FMA: bool>(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x / (1.0 + exp::<FMA>(-x));
    }
}

#[inline(always)]
fn gelu_tanh_lanes<const FMA: bool>(x: &[f32], out: &mut [f32]) {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    for (out, &x) in out.iter_mut().zip(x) {
        let inner = TWICE_SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x);
        *out = x / (1.0 + exp::<FMA>(-inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlainResult, assert_close, ours, ramp};

    #[test]
    fn they_agree_with_the_plain_versions() -> PlainResult<()> {
        for shape in [(1, 1), (3, 17), (70, 1000)] {
            let x = ramp(shape, -30.0, 30.0)?;
            assert_close(&silu(&ours(&x)).expect("rows"), &x.silu()?, 4e-6);
            assert_close(&gelu_tanh(&ours(&x)).expect("rows"), &x.gelu()?, 4e-6);
        }
        Ok(())
    }
}
