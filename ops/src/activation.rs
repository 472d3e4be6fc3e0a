//! Pointwise non-linearities.

use crate::cpu::simd::{dispatched, exp};
use crate::cpu::storage::{map_rows, read};
use crate::cuda;
use crate::error::bail;
use crate::tensor::{On, on};
use crate::{Result, Tensor};

/// A pointwise non-linearity, for what computes it together with something else. Kernels know it by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activation {
    /// See [`silu`].
    Silu = 0,
    /// See [`gelu_tanh`].
    GeluTanh = 1,
    /// See [`relu_squared`].
    ReluSquared = 2,
}

impl Activation {
    /// Of each number.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Activation::Silu => silu(x),
            Activation::GeluTanh => gelu_tanh(x),
            Activation::ReluSquared => relu_squared(x),
        }
    }

    /// Of each number of a row in main memory.
    pub(crate) fn in_place(self, row: &mut [f32]) {
        match self {
            Activation::Silu => silu_in_place(row),
            Activation::GeluTanh => gelu_tanh_in_place(row),
            Activation::ReluSquared => relu_squared_in_place(row),
        }
    }
}

/// `x·σ(x)`
pub fn silu(x: &Tensor) -> Result<Tensor> {
    match x.as_cuda() {
        None => map_rows(x, |_, x, out| silu_row(x, out)),
        Some(x) => Ok(cuda::activate(x, Activation::Silu)?.into()),
    }
}

/// The tanh form of GELU, as T5 and Wan use it: `x·σ(2·√(2/π)·(x + 0.044715·x³))`.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    match x.as_cuda() {
        None => map_rows(x, |_, x, out| gelu_tanh_row(x, out)),
        Some(x) => Ok(cuda::activate(x, Activation::GeluTanh)?.into()),
    }
}

/// `silu(gate)·up`, number by number: the gated unit of language models (SwiGLU, <https://arxiv.org/abs/2002.05202>).
///
/// Both `(N, D)`.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        bail!("a gate of {:?} and a value of {:?} are not of one shape", gate.dims(), up.dims());
    }
    if let On::Cuda([gate, up]) = on("SwiGLU", [gate, up])? {
        return Ok(cuda::activate_gate(gate, up, Activation::Silu)?.into());
    }
    let width = gate.dims().last().copied().unwrap_or(1);
    read(up, |up| map_rows(gate, |row, gate, out| swiglu_row(gate, &up[row * width..][..gate.len()], out)))?
}

/// `max(x, 0)²` (<https://arxiv.org/abs/2109.08668>).
pub fn relu_squared(x: &Tensor) -> Result<Tensor> {
    match x.as_cuda() {
        None => map_rows(x, |_, x, out| relu_squared_row(x, out)),
        Some(x) => Ok(cuda::activate(x, Activation::ReluSquared)?.into()),
    }
}

dispatched!(fn silu_row(x: &[f32], out: &mut [f32]) = silu_lanes);
dispatched!(fn silu_in_place(row: &mut [f32]) = silu_in_place_lanes);
dispatched!(fn gelu_tanh_in_place(row: &mut [f32]) = gelu_tanh_in_place_lanes);
dispatched!(fn relu_squared_in_place(row: &mut [f32]) = relu_squared_in_place_lanes);
dispatched!(fn swiglu_row(gate: &[f32], up: &[f32], out: &mut [f32]) = swiglu_lanes);
dispatched!(fn relu_squared_row(x: &[f32], out: &mut [f32]) = relu_squared_lanes);
dispatched!(fn gelu_tanh_row(x: &[f32], out: &mut [f32]) = gelu_tanh_lanes);

#[inline(always)]
fn silu_lanes<const FMA: bool>(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = silu_of::<FMA>(x);
    }
}

#[inline(always)]
fn silu_in_place_lanes<const FMA: bool>(row: &mut [f32]) {
    row.iter_mut().for_each(|x| *x = silu_of::<FMA>(*x));
}

#[inline(always)]
fn silu_of<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FMA>(-x))
}

#[inline(always)]
fn swiglu_lanes<const FMA: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp::<FMA>(-gate)) * up;
    }
}

#[inline(always)]
fn relu_squared_lanes<const FMA: bool>(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        let positive = x.max(0.0);
        *out = positive * positive;
    }
}

#[inline(always)]
fn relu_squared_in_place_lanes<const FMA: bool>(row: &mut [f32]) {
    for x in row {
        let positive = x.max(0.0);
        *x = positive * positive;
    }
}

#[inline(always)]
fn gelu_tanh_lanes<const FMA: bool>(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = gelu_tanh_of::<FMA>(x);
    }
}

#[inline(always)]
fn gelu_tanh_in_place_lanes<const FMA: bool>(row: &mut [f32]) {
    row.iter_mut().for_each(|x| *x = gelu_tanh_of::<FMA>(*x));
}

#[inline(always)]
fn gelu_tanh_of<const FMA: bool>(x: f32) -> f32 {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    let inner = TWICE_SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x);
    x / (1.0 + exp::<FMA>(-inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlainResult, assert_close, noise, ours, ramp};

    #[test]
    fn they_agree_with_the_plain_versions() -> PlainResult<()> {
        for shape in [(1, 1), (3, 17), (70, 1000)] {
            let x = ramp(shape, -30.0, 30.0)?;
            assert_close(&silu(&ours(&x)).expect("rows"), &x.silu()?, 4e-6);
            assert_close(&gelu_tanh(&ours(&x)).expect("rows"), &x.gelu()?, 4e-6);
            let up = noise(shape, 1)?;
            assert_close(&swiglu(&ours(&x), &ours(&up)).expect("one shape"), &(x.silu()? * &up)?, 4e-6);
            assert_close(&relu_squared(&ours(&x)).expect("rows"), &x.relu()?.sqr()?, 0.0);
        }
        Ok(())
    }
}
