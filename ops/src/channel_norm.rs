//! Wan's norm over the channels of a pixel, with the SiLU that follows it in every residual block.
//!
//! `x / max(‖x‖₂, 1e-12) · √C · γ`: a root-mean-square norm, but with the epsilon as a floor of the norm.

use rayon::prelude::*;

use crate::bands::Band;
use crate::cpu::simd::{dispatched, exp};
use crate::cuda::{self, CudaTensor};
use crate::error::bail;
use crate::frame_stack::{FrameShape, FrameStack};
use crate::{Device, Result, Stored};

/// A norm over the channels of each pixel, ready to apply.
#[derive(Clone)]
pub struct ChannelNorm {
    /// `√C · γ`
    gain: Vec<f32>,
    /// The same on a GPU, if that is where frames lie.
    on_cuda: Option<CudaTensor>,
}

impl ChannelNorm {
    /// `gamma`: any shape with one value a channel.
    pub fn new(gamma: &Stored, device: &Device) -> Result<ChannelNorm> {
        let mut gain = gamma.to_vec()?;
        let root = (gain.len() as f32).sqrt();
        gain.iter_mut().for_each(|g| *g *= root);
        let there = |cuda| CudaTensor::from_f32(cuda, &gain, &[gain.len()]);
        let on_cuda = device.as_cuda().map(there).transpose()?;
        Ok(ChannelNorm { gain, on_cuda })
    }

    /// Norm, then SiLU, with a border: ready for a 3×3 convolution. The border holds the neighbours' rows, normed too.
    pub fn silu(&self, x: &Band) -> Result<FrameStack> {
        if let Some(frames) = self.on_cuda(x.rows(), 1, true)? {
            return Ok(frames);
        }
        let mut normed = self.map_rows(x.rows(), 1, norm_silu);
        let shape = normed.shape();
        for (t, frame) in normed.frames_mut().enumerate() {
            x.edges(t).for_each(|(row, values)| norm_silu(values, &self.gain, &mut frame[shape.any_row_range(row)]));
        }
        Ok(normed)
    }

    /// The norm alone, without a border.
    pub fn apply(&self, x: &FrameStack) -> Result<FrameStack> {
        match self.on_cuda(x, 0, false)? {
            Some(frames) => Ok(frames),
            None => Ok(self.map_rows(x, 0, norm)),
        }
    }

    /// `None` if the frames lie in main memory.
    fn on_cuda(&self, x: &FrameStack, border: usize, silu: bool) -> Result<Option<FrameStack>> {
        assert_eq!(x.shape().channels, self.gain.len(), "a norm fits its channels");
        match (x.frames_on_cuda(), &self.on_cuda) {
            (None, None) => Ok(None),
            (Some(frames), Some(gain)) => {
                let shape = FrameShape { border, ..x.shape() };
                Ok(Some(FrameStack::of_cuda(shape, x.device(), cuda::frames::channel_norm(frames, gain, silu)?)))
            }
            _ => bail!("a norm over channels was given frames on {}, and its weights lie elsewhere", x.device()),
        }
    }

    fn map_rows(&self, x: &FrameStack, border: usize, row: fn(&[f32], &[f32], &mut [f32])) -> FrameStack {
        assert_eq!(x.shape().channels, self.gain.len(), "a norm fits its channels");
        let bare = x.shape();
        let shape = FrameShape { border, ..bare };
        let frames = x.frames().iter().map(|frame| {
            let mut out = vec![0.0; shape.values()];
            let rows = &mut out[border * shape.row()..][..shape.height * shape.row()];
            rows.par_chunks_mut(shape.row()).with_min_len(8).enumerate().for_each(|(y, out)| {
                let inner = border * shape.channels;
                let out = &mut out[inner..inner + shape.width * shape.channels];
                row(&frame[bare.row_range(y)], &self.gain, out);
            });
            out
        });
        FrameStack::of(shape, x.device(), frames.collect())
    }
}

dispatched!(fn norm_silu(x: &[f32], gain: &[f32], out: &mut [f32]) = norm_silu_body);
dispatched!(fn norm(x: &[f32], gain: &[f32], out: &mut [f32]) = norm_body);

#[inline(always)]
fn norm_silu_body<const FMA: bool>(x: &[f32], gain: &[f32], out: &mut [f32]) {
    norm_then(x, gain, out, |y| y / (1.0 + exp::<FMA>(-y)));
}

#[inline(always)]
fn norm_body<const FMA: bool>(x: &[f32], gain: &[f32], out: &mut [f32]) {
    norm_then(x, gain, out, |y| y);
}

#[inline(always)]
fn norm_then(x: &[f32], gain: &[f32], out: &mut [f32], then: impl Fn(f32) -> f32) {
    // Sixteen channels at a time, in arrays: a loop over all the channels of one pixel is too short to be unrolled
    // well.
    let (gains, last_gains) = gain.as_chunks::<16>();
    for (x, out) in x.chunks_exact(gain.len()).zip(out.chunks_exact_mut(gain.len())) {
        let (xs, last_xs) = x.as_chunks::<16>();
        let (outs, last_outs) = out.as_chunks_mut::<16>();
        let scale = 1.0 / sum_of_squares(xs, last_xs).sqrt().max(1e-12);
        for ((out, x), gain) in outs.iter_mut().zip(xs).zip(gains) {
            for i in 0..16 {
                out[i] = then(x[i] * scale * gain[i]);
            }
        }
        for ((out, x), gain) in last_outs.iter_mut().zip(last_xs).zip(last_gains) {
            *out = then(x * scale * gain);
        }
    }
}

#[inline(always)]
fn sum_of_squares(xs: &[[f32; 16]], last: &[f32]) -> f32 {
    // Sixteen sums side by side, then added in pairs: one running sum could not become a vector.
    let mut sums = [0f32; 16];
    for x in xs {
        for i in 0..16 {
            sums[i] += x[i] * x[i];
        }
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0] + last.iter().map(|x| x * x).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Plain, PlainResult, Weight, ours};
    use candle_core::Device;

    #[test]
    fn norm_and_silu_agree_with_the_formula() {
        for (channels, height, width) in [(1, 1, 1), (3, 2, 5), (16, 3, 4), (24, 9, 7), (37, 5, 2)] {
            let mut values: Vec<f32> =
                (0..channels * 2 * height * width).map(|i| ((i * 37 % 101) as f32 - 50.0) / 9.0).collect();
            // One pixel of one frame is all zero: its norm is the floor, not a division by zero.
            (0..channels).for_each(|c| values[c * 2 * height * width] = 0.0);
            let x = Plain::from_vec(values, (channels, 2, height, width), &Device::Cpu).expect("sizes fit");
            let gamma = Plain::arange(1f32, channels as f32 + 1.0, &Device::Cpu).expect("a range");
            let plain = || -> PlainResult<(Plain, Plain)> {
                let norm = x.sqr()?.sum_keepdim(0)?.sqrt()?.maximum(1e-12)?;
                let y = x.broadcast_div(&norm)?.affine((channels as f64).sqrt(), 0.0)?;
                let y = y.broadcast_mul(&gamma.reshape((channels, 1, 1, 1))?)?;
                Ok((y.clone(), (&y / (y.neg()?.exp()? + 1.0)?)?))
            };
            let (normed, silu) = plain().expect("plain");
            let op = ChannelNorm::new(&Weight::of(&gamma).stored(), &crate::Device::cpu()).expect("a vector");
            let video = FrameStack::from_tensor(&ours(&x)).expect("four dimensions");
            let check = |found: FrameStack, plain: Plain| {
                let found = found.to_tensor().expect("back");
                let scale = plain.abs().expect("abs").max_all().expect("max").to_scalar::<f32>().expect("one").max(1.0);
                let off = (found.cpu("a test").expect("main memory") - plain)
                    .expect("same shape")
                    .abs()
                    .expect("abs")
                    .max_all()
                    .expect("max");
                assert!(off.to_scalar::<f32>().expect("one") < 1e-6 * scale, "{channels}x{height}x{width}: {off}");
            };
            check(op.apply(&video).expect("frames"), normed);
            check(op.silu(&video.into()).expect("frames"), silu);
        }
    }
}
