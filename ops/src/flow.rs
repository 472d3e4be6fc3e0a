//! Between noise and picture: the arithmetic of a flow `v ≈ noise − clean` at noise level `sigma`.

use crate::cpu::storage::{map_rows, read};
use crate::{Result, Tensor};

/// The clean latent a flow points to: `x − sigma·v`, in f64 as the reference does it.
pub fn clean_from_flow(x: &Tensor, flow: &Tensor, sigma: f32) -> Result<Tensor> {
    along_flow(x, flow, sigma, 0.0)
}

/// From noise level `from` to `to` in a straight line: `x + (to − from)·v`, in f64.
pub fn along_flow(x: &Tensor, flow: &Tensor, from: f32, to: f32) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(1);
    let step = f64::from(to) - f64::from(from);
    read(flow, |flow| {
        map_rows(x, |row, x, out| {
            for ((out, x), flow) in out.iter_mut().zip(x).zip(&flow[row * width..]) {
                *out = (f64::from(*x) + step * f64::from(*flow)) as f32;
            }
        })
    })?
}

/// Back to noise level `sigma`: `(1 − sigma)·clean + sigma·noise`, all of one shape.
pub fn renoise(clean: &Tensor, noise: &Tensor, sigma: f32) -> Result<Tensor> {
    let width = clean.dims().last().copied().unwrap_or(1);
    read(noise, |noise| {
        map_rows(clean, |row, clean, out| {
            for ((out, clean), noise) in out.iter_mut().zip(clean).zip(&noise[row * width..]) {
                *out = (1.0 - sigma) * clean + sigma * noise;
            }
        })
    })?
}
