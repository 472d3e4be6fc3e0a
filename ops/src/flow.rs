//! Between noise and picture: the arithmetic of a flow `v ≈ noise − clean` at noise level `sigma`.

use crate::cpu::storage::{Numbers, map_rows, read};
use crate::cuda;
use crate::error::bail;
use crate::tensor::{On, on};
use crate::{Result, Tensor};

/// The clean latent a flow points to: `x − sigma·v`, in f64 as the reference does it.
pub fn clean_from_flow(x: &Tensor, flow: &Tensor, sigma: f32) -> Result<Tensor> {
    along_flow(x, flow, sigma, 0.0)
}

/// From noise level `from` to `to` in a straight line: `x + (to − from)·v`, in f64.
pub fn along_flow(x: &Tensor, flow: &Tensor, from: f32, to: f32) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(1);
    let step = f64::from(to) - f64::from(from);
    if let On::Cuda([x, flow]) = on("a step along a flow", [x, flow])? {
        return Ok(cuda::flow_step(x, flow, step)?.into());
    }
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
    if let On::Cuda([clean, noise]) = on("mixing with noise", [clean, noise])? {
        return Ok(cuda::renoise(clean, noise, sigma)?.into());
    }
    let width = clean.dims().last().copied().unwrap_or(1);
    read(noise, |noise| {
        map_rows(clean, |row, clean, out| {
            for ((out, clean), noise) in out.iter_mut().zip(clean).zip(&noise[row * width..]) {
                *out = (1.0 - sigma) * clean + sigma * noise;
            }
        })
    })?
}

/// `Σ weight·term`, summed in f64: one step of a solver that looks back at several predictions. All of one shape.
pub fn weighted_sum(terms: &[(f64, &Tensor)]) -> Result<Tensor> {
    let Some(((first_weight, first), others)) = terms.split_first() else { bail!("a sum has a term") };
    if let Some((_, other)) = others.iter().find(|(_, other)| other.dims() != first.dims()) {
        bail!("{:?} and {:?} cannot be added", first.dims(), other.dims());
    }
    for (_, other) in others {
        on("a weighted sum", [*first, *other])?;
    }
    if first.as_cuda().is_some() {
        let terms: Vec<_> = terms.iter().filter_map(|(weight, term)| Some((*weight, term.as_cuda()?))).collect();
        return Ok(cuda::weighted_sum(&terms)?.into());
    }
    let others: Vec<(f64, Tensor)> =
        others.iter().map(|(weight, term)| Ok((*weight, term.reshape(term.dims())?))).collect::<Result<_>>()?;
    let numbers = others.iter().map(|(weight, term)| Ok((*weight, Numbers::of(term)?))).collect::<Result<Vec<_>>>()?;
    let width = first.dims().last().copied().unwrap_or(1);
    let numbers: Vec<(f64, &[f32])> = numbers.iter().map(|(weight, term)| (*weight, term.as_slice())).collect();
    map_rows(first, |row, first, out| {
        for (i, (out, first)) in out.iter_mut().zip(first).enumerate() {
            let mut sum = first_weight * f64::from(*first);
            for (weight, term) in &numbers {
                sum += weight * f64::from(term[row * width + i]);
            }
            *out = sum as f32;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlainResult, assert_close, noise, ours};

    #[test]
    fn a_weighted_sum_agrees_with_the_plain_version() -> PlainResult<()> {
        let [x, y, z] = [1, 2, 3].map(|seed| noise((3, 2, 5), seed));
        let (x, y, z) = (x?, y?, z?);
        let plain = (((&x * 0.5)? + (&y * -2.0)?)? + (&z * 1.25)?)?;
        let sum = weighted_sum(&[(0.5, &ours(&x)), (-2.0, &ours(&y)), (1.25, &ours(&z))]).expect("one shape");
        assert_close(&sum, &plain, 1e-6);
        assert_close(&weighted_sum(&[(1.0, &ours(&x))]).expect("one term"), &x, 0.0);
        assert!(weighted_sum(&[]).is_err());
        assert!(weighted_sum(&[(1.0, &ours(&x)), (1.0, &ours(&noise((3, 10), 1)?))]).is_err());
        Ok(())
    }
}
