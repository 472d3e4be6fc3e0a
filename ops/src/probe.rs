//! Operations on random numbers, of shapes that a model says, so that they can be measured one by one.
//!
//! A probe holds all that its operation needs, and counts the work from the shapes: multiplications and additions where the
//! arithmetic bounds it, bytes read and written where the memory does.

use crate::attention::attention;
use crate::conv::Conv;
use crate::cpu::narrow::multiplies_bf16;
use crate::cpu::softmax::softmax;
use crate::frame_stack::{FrameShape, FrameStack};
use crate::norm::{layer_norm_modulate, rms_norm};
use crate::residual::add_gated;
use crate::rope::{Grid, Rotary};
use crate::spatial_attention::spatial_attention;
use crate::threads::{among_workers, for_each_chunk};
use crate::{Compute, DType, Device, KeyValues, Linear, Result, Stored, Tensor, activation, channel_norm};

/// An operation that can be done again and again.
pub struct Probe {
    name: String,
    work: Work,
    compute: Compute,
    run: Box<dyn FnMut() -> Result<()> + Send>,
}

/// What a probe does each time it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Multiplications and additions.
    Operations(f64),
    /// Bytes read and written, each number once.
    Bytes(f64),
}

/// A model's epsilon, which changes no time.
const EPS: f64 = 1e-6;

const F32: f64 = 4.0;

impl Probe {
    /// `run` does `work`.
    pub fn new(name: impl Into<String>, work: Work, run: impl FnMut() -> Result<()> + Send + 'static) -> Probe {
        Probe { name: name.into(), work, compute: Compute::F32, run: Box::new(run) }
    }

    /// The same, of the unit for this type.
    pub(crate) fn on_unit(self, compute: Compute) -> Probe {
        Probe { compute, ..self }
    }

    /// The operation and its shape.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The work of one run.
    pub fn work(&self) -> Work {
        self.work
    }

    /// The same, computed in this type.
    pub fn computed_in(self, compute: Compute) -> Probe {
        let is_widened = compute == Compute::Bf16 && !multiplies_bf16();
        Probe { compute: if is_widened { Compute::F32 } else { compute }, ..self }
    }

    /// The type of the unit that multiplies: f32 where bf16 is widened.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Do it so many times, as a pass does it: from one of the threads that compute.
    pub fn run(&mut self, times: usize) -> Result<()> {
        among_workers(|| (0..times).try_for_each(|_| (self.run)()))
    }

    /// A dense layer in this type: `(rows, inputs)` → `(rows, outputs)`.
    pub fn linear([rows, inputs, outputs]: [usize; 3], compute: Compute) -> Result<Probe> {
        let (weight, bias) = (bytes(outputs * inputs, 1), bytes(outputs, 2));
        let (weight, bias) = (stored(&weight, &[outputs, inputs])?, stored(&bias, &[outputs])?);
        let layer = Linear::new(&weight, Some(&bias), &Device::cpu_in(compute))?;
        let x = numbers(&[rows, inputs], 3)?;
        let work = Work::Operations(2.0 * (rows * inputs * outputs) as f64);
        let name = format!("linear {rows}x{inputs}x{outputs}, {compute}");
        Ok(Probe::new(name, work, move || layer.apply(&x).map(drop)).computed_in(compute))
    }

    /// Attention of `rows` queries to `keys` keys, of which `block` lie together, in `heads` heads of `head_dim`; in a narrow type
    /// as a window keeps them. Whole blocks alone are taken then.
    pub fn attention(
        [rows, keys, block]: [usize; 3],
        [heads, head_dim]: [usize; 2],
        compute: Compute,
    ) -> Result<Probe> {
        let width = heads * head_dim;
        let block = block.clamp(1, keys.max(1));
        let name = format!("attention {rows} to {keys}, {heads} heads of {head_dim}");
        let q = numbers(&[rows, width], 1)?;
        if compute != Compute::F32 {
            let blocks = keys / block;
            let mut kept = KeyValues::packed(blocks, heads);
            for index in 0..blocks {
                let made = |seed: u32| numbers(&[block, width], seed + index as u32);
                kept.write(index, &made(10)?, &made(10_000)?)?;
            }
            let seen: Vec<usize> = (0..blocks).collect();
            let work = Work::Operations(4.0 * (rows * blocks * block * width) as f64);
            let probe = Probe::new(name + ", bf16", work, move || kept.attend(&q, &seen).map(drop));
            return Ok(probe.computed_in(Compute::Bf16));
        }
        let lengths = (0..keys.div_ceil(block)).map(|index| block.min(keys - index * block));
        let made = |seed: u32| lengths.clone().zip(seed..).map(move |(length, seed)| numbers(&[length, width], seed));
        let (k, v) = (made(10).collect::<Result<Vec<_>>>()?, made(10_000).collect::<Result<Vec<_>>>()?);
        let work = Work::Operations(4.0 * (rows * keys * width) as f64);
        Ok(Probe::new(name, work, move || {
            let (k, v): (Vec<_>, Vec<_>) = (k.iter().collect(), v.iter().collect());
            attention(&q, &k, &v, heads).map(drop)
        }))
    }

    /// A causal convolution over a full window: `frames`×`side`×`side` taps, one picture of output. `side`: 1 or 3. In bf16 where the
    /// processor multiplies it, else in f32.
    pub fn convolution(shape: Convolution, compute: Compute) -> Result<Probe> {
        let Convolution { height, width, inputs, outputs, frames, side } = shape;
        let taps = frames * side * side;
        let (weight, bias) = (bytes(outputs * inputs * taps, 1), bytes(outputs, 2));
        let weight = stored(&weight, &[outputs, inputs, frames, side, side])?;
        let conv = Conv::new(&weight, &stored(&bias, &[outputs])?, &Device::cpu_in(compute))?;
        let picture = FrameShape { height, width, channels: inputs, border: side / 2 };
        let x = stack(picture, frames, 3);
        let work = Work::Operations(2.0 * (height * width * inputs * outputs * taps) as f64);
        let name = format!("convolution {frames}x{side}x{side}, {width}x{height}, {inputs} to {outputs}, {compute}");
        let probe =
            Probe::new(name, work, move || conv.apply_windows(&x, std::slice::from_ref(&(0..frames)), None).map(drop));
        Ok(probe.computed_in(compute))
    }

    /// The attention inside one picture of the autoencoder.
    pub fn spatial_attention(height: usize, width: usize, channels: usize) -> Probe {
        let x = stack(FrameShape { height, width, channels: 3 * channels, border: 0 }, 1, 1);
        let pixels = (height * width) as f64;
        let work = Work::Operations(4.0 * pixels * pixels * channels as f64);
        Probe::new(format!("attention in a picture, {width}x{height}x{channels}"), work, move || {
            spatial_attention(&x).map(drop)
        })
    }

    /// The norm over a pixel's channels.
    pub fn channel_norm(height: usize, width: usize, channels: usize) -> Result<Probe> {
        let gamma = bytes(channels, 1);
        let norm = channel_norm::ChannelNorm::new(&stored(&gamma, &[channels])?, &Device::cpu())?;
        let x = stack(FrameShape { height, width, channels, border: 0 }, 1, 2);
        let work = moved(2 * height * width * channels);
        Ok(Probe::new(format!("channel norm, {width}x{height}x{channels}"), work, move || norm.apply(&x).map(drop)))
    }

    /// What models do to each row of `(rows, width)`, and its heads' rotation: norms, rotation, activations, residual.
    pub fn of_rows(rows: usize, width: usize, inner: usize, head_dim: usize) -> Result<Vec<Probe>> {
        let (x, y) = (numbers(&[rows, width], 1)?, numbers(&[rows, width], 2)?);
        let (scale, shift) = (numbers(&[width], 3)?, numbers(&[width], 4)?);
        let grid = Grid { first_latent_frame: 0, frames: 1, rows: 1, columns: rows };
        let rotary = Rotary::new(grid, head_dim, &Device::cpu())?;
        let wide = numbers(&[rows, inner], 5)?;
        let twice = |width: usize| moved(2 * rows * width);
        let (a, b, c) = (x.clone(), x.clone(), x.clone());
        let (gain, gate) = (scale.clone(), shift.clone());
        let wide_too = wide.clone();
        Ok(vec![
            Probe::new(format!("layer norm, modulated, {rows}x{width}"), twice(width), move || {
                layer_norm_modulate(&a, &scale, &shift, EPS).map(drop)
            }),
            Probe::new(format!("RMS norm, {rows}x{width}"), twice(width), move || rms_norm(&b, &gain, EPS).map(drop)),
            Probe::new(format!("rotation, {rows}x{width}"), twice(width), move || rotary.apply(&c).map(drop)),
            Probe::new(format!("GELU, {rows}x{inner}"), twice(inner), move || activation::gelu_tanh(&wide).map(drop)),
            Probe::new(format!("SiLU, {rows}x{inner}"), twice(inner), move || activation::silu(&wide_too).map(drop)),
            Probe::new(format!("gated residual, {rows}x{width}"), moved(3 * rows * width), move || {
                add_gated(&x, &y, &gate).map(drop)
            }),
        ])
    }

    /// Softmax of each row of `(rows, length)`, in place.
    pub fn softmax(rows: usize, length: usize) -> Result<Probe> {
        let mut scores = numbers(&[rows, length], 1)?.to_vec::<f32>()?;
        Ok(Probe::new(format!("softmax, {rows}x{length}"), moved(2 * rows * length), move || {
            for_each_chunk(&mut scores, length, 16, |_, row| softmax(row));
            Ok(())
        }))
    }
}

/// The shape of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Convolution {
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Frames of a full window.
    pub frames: usize,
    /// Pixels of the kernel, each way.
    pub side: usize,
}

/// So many numbers, read or written.
fn moved(numbers: usize) -> Work {
    Work::Bytes(F32 * numbers as f64)
}

/// Reproducible numbers in [-1, 1), different for every seed: a linear congruence (Numerical Recipes).
fn values(count: usize, seed: u32) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) ^ 0x85EB_CA6B;
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    })
}

fn numbers(shape: &[usize], seed: u32) -> Result<Tensor> {
    Tensor::from_vec(values(shape.iter().product(), seed).collect::<Vec<f32>>(), shape, &Device::cpu())
}

fn bytes(count: usize, seed: u32) -> Vec<u8> {
    values(count, seed).flat_map(f32::to_le_bytes).collect()
}

fn stored<'a>(bytes: &'a [u8], shape: &[usize]) -> Result<Stored<'a>> {
    Stored::new("a probe's weight", DType::F32, shape, bytes)
}

/// Frames of noise. Their border is noise too, which takes no longer than zeros.
fn stack(shape: FrameShape, count: usize, seed: u32) -> FrameStack {
    let frames = (seed..).take(count).map(|seed| values(shape.values(), seed).collect()).collect();
    FrameStack::of(shape, &Device::cpu(), frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_runs_on_its_shape_and_counts_its_work() {
        let small = Convolution { height: 6, width: 8, inputs: 4, outputs: 5, frames: 3, side: 3 };
        let picture = Convolution { frames: 1, side: 1, ..small };
        let mut probes = vec![
            (Probe::linear([7, 8, 9], Compute::F32), 2.0 * 7.0 * 8.0 * 9.0),
            (Probe::linear([7, 8, 9], Compute::Int8), 2.0 * 7.0 * 8.0 * 9.0),
            (Probe::attention([3, 10, 4], [2, 4], Compute::F32), 4.0 * 3.0 * 10.0 * 8.0),
            (Probe::attention([3, 10, 5], [2, 4], Compute::Bf16), 4.0 * 3.0 * 10.0 * 8.0),
            (Probe::convolution(small, Compute::F32), 2.0 * 48.0 * 4.0 * 5.0 * 27.0),
            (Probe::convolution(picture, Compute::Bf16), 2.0 * 48.0 * 4.0 * 5.0),
            (Ok(Probe::spatial_attention(4, 5, 3)), 4.0 * 400.0 * 3.0),
        ];
        for (probe, operations) in &mut probes {
            let probe = probe.as_mut().expect("a probe");
            assert_eq!(probe.work(), Work::Operations(*operations), "{}", probe.name());
            probe.run(2).expect("two runs");
        }
        let rows = Probe::of_rows(5, 12, 20, 6).expect("probes");
        let others = [Probe::softmax(3, 7).expect("a probe"), Probe::channel_norm(4, 4, 8).expect("a probe")];
        for mut probe in rows.into_iter().chain(others) {
            assert!(matches!(probe.work(), Work::Bytes(bytes) if bytes > 0.0), "{}", probe.name());
            probe.run(2).expect("two runs");
        }
    }
}
