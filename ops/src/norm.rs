//! Normalisation over the model width.

use crate::cpu::simd::{LANES, dispatched, dot, fma, sum_lanes};
use crate::cpu::storage::{map_rows, read};
use crate::cuda;
use crate::tensor::{On, on};
use crate::{Result, Tensor};

/// `LN(x)·(1 + scale) + shift` with `LN(x) = (x − mean) / √(var + eps)`, biased variance.
///
/// `x`: `(N, D)`, `scale`, `shift`: `(D)`.
pub fn layer_norm_modulate(x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f64) -> Result<Tensor> {
    match on("modulated layer norm", [x, scale, shift])? {
        On::Cpu => layer_norm(x, &scale.plus(1.0)?, shift, eps),
        On::Cuda([x, scale, shift]) => Ok(cuda::layer_norm(x, scale, shift, 1.0, eps)?.into()),
    }
}

/// `LN(x)·weight + bias`, row by row.
///
/// `x`: `(N, D)`, `weight`, `bias`: `(D)`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if let On::Cuda([x, weight, bias]) = on("layer norm", [x, weight, bias])? {
        return Ok(cuda::layer_norm(x, weight, bias, 0.0, eps)?.into());
    }
    read(weight, |weight| {
        read(bias, |bias| map_rows(x, |_, x, out| layer_norm_row(x, weight, bias, eps as f32, out)))
    })??
}

/// `x / √(mean(x²) + eps) · gamma`, row by row: over the whole width, before it is split into heads.
///
/// `x`: `(N, D)`, `gamma`: `(D)`.
pub fn rms_norm(x: &Tensor, gamma: &Tensor, eps: f64) -> Result<Tensor> {
    if let On::Cuda([x, gamma]) = on("RMS norm", [x, gamma])? {
        return Ok(cuda::rms_norm(x, gamma, eps)?.into());
    }
    read(gamma, |gamma| map_rows(x, |_, x, out| rms_norm_row(x, gamma, eps as f32, out)))?
}

dispatched!(fn layer_norm_row(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) = layer_norm_lanes);
dispatched!(fn rms_norm_row(x: &[f32], gamma: &[f32], eps: f32, out: &mut [f32]) = rms_norm_lanes);
dispatched!(
    /// [`rms_norm`] of one row.
    pub(crate) fn rms_norm_in_place(row: &mut [f32], gamma: &[f32], eps: f32) = rms_norm_in_place_lanes
);

#[inline(always)]
fn layer_norm_lanes<const FMA: bool>(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let count = x.len() as f32;
    let mean = sum(x) / count;
    // Two passes: the one-pass form loses the variance of rows with a large mean.
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x - mean;
    }
    let scale = 1.0 / (dot::<FMA>(out, out) / count + eps).sqrt();
    for ((out, &weight), &bias) in out.iter_mut().zip(weight).zip(bias) {
        *out = fma::<FMA>(*out * scale, weight, bias);
    }
}

#[inline(always)]
fn rms_norm_lanes<const FMA: bool>(x: &[f32], gamma: &[f32], eps: f32, out: &mut [f32]) {
    let scale = rms_scale::<FMA>(x, eps);
    for ((out, &x), &gamma) in out.iter_mut().zip(x).zip(gamma) {
        *out = x * scale * gamma;
    }
}

#[inline(always)]
fn rms_norm_in_place_lanes<const FMA: bool>(row: &mut [f32], gamma: &[f32], eps: f32) {
    let scale = rms_scale::<FMA>(row, eps);
    for (x, &gamma) in row.iter_mut().zip(gamma) {
        *x = *x * scale * gamma;
    }
}

#[inline(always)]
fn rms_scale<const FMA: bool>(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot::<FMA>(x, x) / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for i in 0..LANES {
            lanes[i] += x[i];
        }
    }
    sum_lanes(lanes) + rest.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use candle_core::D;

    use super::*;
    use crate::testing::{PlainResult, assert_close, noise, ours};

    #[test]
    fn they_agree_with_the_plain_versions() -> PlainResult<()> {
        for (rows, width) in [(1, 1), (5, 7), (9, 64), (33, 1536)] {
            let x = (noise((rows, width), 1)? + 3.0)?;
            let (weight, bias) = (noise(width, 2)?, noise(width, 3)?);

            let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
            let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-6)?.sqrt()?;
            let plain = centred.broadcast_div(&deviation)?.broadcast_mul(&weight)?.broadcast_add(&bias)?;
            let (ours_x, gain, shift) = (ours(&x), ours(&weight), ours(&bias));
            assert_close(&layer_norm(&ours_x, &gain, &shift, 1e-6).expect("rows"), &plain, 2e-5);
            let scale = gain.plus(-1.0).expect("numbers");
            assert_close(&layer_norm_modulate(&ours_x, &scale, &shift, 1e-6).expect("rows"), &plain, 2e-5);

            let root = (x.sqr()?.mean_keepdim(D::Minus1)? + 1e-6)?.sqrt()?;
            let plain = x.broadcast_div(&root)?.broadcast_mul(&weight)?;
            assert_close(&rms_norm(&ours_x, &gain, 1e-6).expect("rows"), &plain, 2e-5);
        }
        Ok(())
    }
}
