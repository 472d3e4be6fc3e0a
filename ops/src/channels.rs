//! Latents as a network wants them: every channel with a mean of zero and a deviation of one, and back.

use crate::cpu::storage::map_rows;
use crate::cuda;
use crate::error::bail;
use crate::{Result, Tensor};

/// `(x − mean) / deviation`, one mean and deviation a channel. `x`: `(C, F, h, w)`.
pub fn standardise(x: &Tensor, mean: &[f32], deviation: &[f32]) -> Result<Tensor> {
    by_channel(x, mean, deviation, false, |x, mean, deviation| (x - mean) / deviation)
}

/// The opposite of [`standardise`]: `x · deviation + mean`.
pub fn restore(x: &Tensor, mean: &[f32], deviation: &[f32]) -> Result<Tensor> {
    by_channel(x, mean, deviation, true, |x, mean, deviation| x * deviation + mean)
}

fn by_channel(
    x: &Tensor,
    mean: &[f32],
    deviation: &[f32],
    restore: bool,
    one: impl Fn(f32, f32, f32) -> f32 + Sync,
) -> Result<Tensor> {
    let (channels, frames, height, _) = x.dims4()?;
    if mean.len() != channels || deviation.len() != channels {
        bail!("{channels} channels were given {} means and {} deviations", mean.len(), deviation.len());
    }
    if let Some(x) = x.as_cuda() {
        return Ok(cuda::channel_affine(x, mean, deviation, restore)?.into());
    }
    map_rows(x, |row, x, out| {
        let channel = row / (frames * height);
        for (out, x) in out.iter_mut().zip(x) {
            *out = one(*x, mean[channel], deviation[channel]);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn every_channel_has_its_own_mean_and_deviation_and_restoring_undoes_it() -> Result<()> {
        let values: Vec<f32> = (0..2 * 3 * 2 * 5u8).map(f32::from).collect();
        let x = Tensor::from_vec(values.clone(), [2, 3, 2, 5], &Device::cpu())?;
        // Powers of two and whole numbers: nothing is rounded.
        let (mean, deviation) = ([1.0, -4.0], [2.0, 0.5]);
        let standard = standardise(&x, &mean, &deviation)?.to_vec::<f32>()?;
        for (i, (found, x)) in standard.iter().zip(&values).enumerate() {
            let channel = i / 30;
            assert_eq!(*found, (x - mean[channel]) / deviation[channel]);
        }
        let standard = Tensor::from_vec(standard, x.dims(), &Device::cpu())?;
        assert_eq!(restore(&standard, &mean, &deviation)?.to_vec::<f32>()?, values);
        assert!(standardise(&x, &mean[..1], &deviation).is_err());
        Ok(())
    }
}
