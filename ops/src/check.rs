//! A GPU held to the processor: each operation that models call, on both, with the largest error and the time it took.
//!
//! Our kernels were executed in emulation before they met a GPU. So a user's own machine judges them, before it draws a
//! frame that somebody believes.

use std::fmt;
use std::time::{Duration, Instant};

use crate::activation::{gelu_tanh, silu};
use crate::attention::attention;
use crate::channel_norm::ChannelNorm;
use crate::conv::Conv;
use crate::cuda::CudaTensor;
use crate::error::bail;
use crate::flow::{along_flow, renoise};
use crate::norm::{layer_norm, layer_norm_modulate, rms_norm};
use crate::patch::{patchify, unpatchify};
use crate::residual::{add_gated, scale_shift};
use crate::rope::{Grid, Rotary};
use crate::spatial_attention::spatial_attention;
use crate::{DType, Device, FrameStack, Linear, Result, Stored, Tensor};

/// How large the tensors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// A few thousand numbers: for emulated devices.
    Small,
    /// A latent frame of LingBot World 1.3B at 832×480.
    Real,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub operation: &'static str,
    /// What it was given.
    pub shape: String,
    /// The largest error, in units of what is allowed at that place: at most 1 where the device agrees.
    pub worst: f64,
    /// The fastest of a few runs on the device.
    pub time: Duration,
    /// Multiplications and additions of one run, where they are what it costs.
    pub operations: u64,
}

impl Row {
    /// Does the device give what the processor gives?
    pub fn agrees(&self) -> bool {
        self.worst <= 1.0
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { operation, shape, worst, time, operations } = self;
        let told = if self.agrees() { "agrees" } else { "WRONG" };
        write!(
            f,
            "{operation:<24} {shape:<30} {told:<6} {worst:>8.3} of the bound {:>10.3} ms",
            time.as_secs_f64() * 1e3
        )?;
        match *operations {
            0 => Ok(()),
            count => write!(f, " {:>8.2} TFLOP/s", count as f64 / time.as_secs_f64() / 1e12),
        }
    }
}

/// Runs on the device; the fastest is told.
const RUNS: usize = 3;

/// Every operation of LingBot World on `device`, a GPU, against the processor. `tell` is given each row as soon as it is known. An
/// operation that cannot be run at all is an error.
pub fn check(device: &Device, scale: Scale, mut tell: impl FnMut(&Row)) -> Result<Vec<Row>> {
    let Some(cuda) = device.as_cuda() else { bail!("a processor is what others are compared with: name a GPU") };
    let numbers = cuda.numbers();
    let mut rows = Vec::new();
    for case in cases(scale) {
        let Case { operation, inputs, vectors, on, operations } = case;
        let made = |shapes: &[Vec<usize>], seed: u32| -> Result<Vec<Tensor>> {
            let one = |(index, shape): (usize, &Vec<usize>)| {
                let values = made_numbers(shape.iter().product(), seed + index as u32);
                Tensor::from_vec(values.collect(), shape, &Device::cpu())
            };
            shapes.iter().enumerate().map(one).collect()
        };
        let (x, v) = (made(&inputs, 1)?, made(&vectors, 100)?);
        let expected = on(&Device::cpu())?(&x, &v)?;
        let there = |tensors: &[Tensor], dtype: DType| -> Result<Vec<Tensor>> {
            let one = |tensor: &Tensor| -> Result<Tensor> {
                let moved = CudaTensor::from_f32(cuda, &tensor.to_vec::<f32>()?, tensor.dims())?;
                Ok(moved.cast(dtype)?.into())
            };
            tensors.iter().map(one).collect()
        };
        let (x, v) = (there(&x, numbers)?, there(&v, DType::F32)?);
        let (mut time, mut found, apply) = (Duration::MAX, None, on(device)?);
        for _ in 0..RUNS {
            cuda.wait()?;
            let started = Instant::now();
            let result = apply(&x, &v)?;
            cuda.wait()?;
            time = time.min(started.elapsed());
            // The first one is looked at: later ones lie in memory that held a right result already.
            found.get_or_insert(result);
        }
        let found = found.expect("it was run");
        let shape = inputs.first().map(|shape| format!("{shape:?}")).unwrap_or_default();
        let row = Row { operation, shape, worst: worst(&found, &expected, numbers)?, time, operations };
        tell(&row);
        rows.push(row);
    }
    Ok(rows)
}

/// The largest error, in units of what is allowed: two roundings of the result's root mean square and one of the number itself.
fn worst(found: &Tensor, expected: &Tensor, numbers: DType) -> Result<f64> {
    if found.dims() != expected.dims() {
        bail!("{:?} came out, and not {:?}", found.dims(), expected.dims());
    }
    let (found, expected) = (found.to_f64()?, expected.to_f64()?);
    let root = (expected.iter().map(|x| x * x).sum::<f64>() / expected.len().max(1) as f64).sqrt();
    let unit = if numbers == DType::F32 { 1e-5 } else { 1.0 / 256.0 };
    let errors = found.iter().zip(&expected).map(|(found, expected)| {
        let error = (found - expected).abs() / (unit * (2.0 * root + expected.abs()) + 1e-6);
        // A NaN is worse than anything.
        if error.is_nan() { f64::INFINITY } else { error }
    });
    Ok(errors.fold(0.0, f64::max))
}

/// An operation, and what it is given.
struct Case {
    operation: &'static str,
    /// In the type of activations.
    inputs: Vec<Vec<usize>>,
    /// In f32.
    vectors: Vec<Vec<usize>>,
    /// Weights are made once on a device, and then applied.
    on: Make,
    operations: u64,
}

/// An operation with its weights on one device: tensors in the type of activations, then vectors in f32.
type Apply = Box<dyn Fn(&[Tensor], &[Tensor]) -> Result<Tensor>>;
type Make = Box<dyn Fn(&Device) -> Result<Apply>>;

/// An operation without weights.
fn plain(apply: impl Fn(&[Tensor], &[Tensor]) -> Result<Tensor> + Clone + 'static) -> Make {
    Box::new(move |_| Ok(Box::new(apply.clone())))
}

fn cases(scale: Scale) -> Vec<Case> {
    // Tokens of a latent frame, width, heads of 128, feed-forward; pixels of a level of the autoencoder.
    let (grid, heads, inner, text, side) = match scale {
        Scale::Small => ((3, 4), 1, 72, 5, (6, 8)),
        Scale::Real => ((30, 52), 12, 8960, 512, (60, 104)),
    };
    let (tokens, width, channels) = (grid.0 * grid.1, heads * 128, if scale == Scale::Small { 16 } else { 384 });
    let products = |rows: usize, inputs: usize, outputs: usize| 2 * (rows * inputs * outputs) as u64;
    let mut cases = Vec::new();
    let mut add = |operation, inputs: &[&[usize]], vectors: &[&[usize]], operations, on: Make| {
        let shapes = |shapes: &[&[usize]]| shapes.iter().map(|shape| shape.to_vec()).collect();
        cases.push(Case { operation, inputs: shapes(inputs), vectors: shapes(vectors), on, operations });
    };
    let (wide, vector): (&[usize], &[usize]) = (&[tokens, width], &[width]);
    add("layer norm", &[wide], &[vector, vector], 0, plain(|x, v| layer_norm(&x[0], &v[0], &v[1], 1e-6)));
    let modulate = plain(|x, v| layer_norm_modulate(&x[0], &v[0], &v[1], 1e-6));
    add("modulated layer norm", &[wide], &[vector, vector], 0, modulate);
    add("RMS norm", &[wide], &[vector], 0, plain(|x, v| rms_norm(&x[0], &v[0], 1e-6)));
    let place = Grid { first_latent_frame: 1000, frames: 1, rows: grid.0, columns: grid.1 };
    let turn: Make = Box::new(move |device| {
        let rotary = Rotary::new(place, 128, device)?;
        Ok(Box::new(move |x, _| rotary.apply(&x[0])))
    });
    add("rotary positions", &[wide], &[], 0, turn);
    add("gated sum", &[wide, wide], &[vector], 0, plain(|x, v| add_gated(&x[0], &x[1], &v[0])));
    add("scale and shift", &[wide; 3], &[], 0, plain(|x, _| scale_shift(&x[0], &x[1], &x[2])));
    add("SiLU", &[wide], &[], 0, plain(|x, _| silu(&x[0])));
    add("GELU", &[&[tokens, inner]], &[], 0, plain(|x, _| gelu_tanh(&x[0])));
    for (operation, inputs, outputs) in [("dense layer", width, inner), ("dense layer back", inner, width)] {
        let layer: Make = Box::new(move |device| {
            let (weight, bias) = (Made::new(&[outputs, inputs], 7), Made::new(&[outputs], 8));
            let layer = Linear::new(&weight.stored()?, Some(&bias.stored()?), device)?;
            Ok(Box::new(move |x, _| layer.apply(&x[0])))
        });
        add(operation, &[&[tokens, inputs]], &[], products(tokens, inputs, outputs), layer);
    }
    let see = plain(move |x, _| attention(&x[0], &[&x[1], &x[3]], &[&x[2], &x[4]], heads));
    add("attention to the window", &[wide; 5], &[], 2 * products(tokens, width, 2 * tokens), see);
    let prompt: &[usize] = &[text, width];
    let read = plain(move |x, _| attention(&x[0], &[&x[1]], &[&x[2]], heads));
    add("attention to the prompt", &[wide, prompt, prompt], &[], 2 * products(tokens, width, text), read);
    let latent: &[usize] = &[16, 1, 2 * grid.0, 2 * grid.1];
    let patches = plain(move |x, _| unpatchify(&patchify(&x[0])?, 2 * grid.0, 2 * grid.1));
    add("patches", &[latent], &[], 0, patches);
    add("step along a flow", &[latent, latent], &[], 0, plain(|x, _| along_flow(&x[0], &x[1], 0.9, 0.25)));
    add("mixing with noise", &[latent, latent], &[], 0, plain(|x, _| renoise(&x[0], &x[1], 0.3)));
    let (pixels, area): (&[usize], usize) = (&[channels, 3, side.0, side.1], side.0 * side.1);
    let conv: Make = Box::new(move |device| {
        let (weight, bias) = (Made::new(&[channels, channels, 3, 3, 3], 9), Made::new(&[channels], 10));
        let conv = Conv::new(&weight.stored()?, &bias.stored()?, device)?;
        Ok(Box::new(move |x, _| {
            conv.apply_windows(&FrameStack::from_tensor(&x[0])?.bordered(), &[0..1, 0..2, 0..3], None)?.to_tensor()
        }))
    });
    // One frame, then two, then three of the kernel's.
    add("causal convolution", &[pixels], &[], products(area, 6 * 9 * channels, channels), conv);
    let double: Make = Box::new(move |device| {
        let (weight, bias) = (Made::new(&[channels / 2, channels, 3, 3], 11), Made::new(&[channels / 2], 12));
        let conv = Conv::upsampling(&weight.stored()?, &bias.stored()?, device)?;
        Ok(Box::new(move |x, _| conv.apply(&FrameStack::from_tensor(&x[0])?.bordered(), None)?.to_tensor()))
    });
    add("doubling convolution", &[pixels], &[], products(3 * area, 16 * channels, channels / 2), double);
    let norm: Make = Box::new(move |device| {
        let norm = ChannelNorm::new(&Made::new(&[channels], 13).stored()?, device)?;
        Ok(Box::new(move |x, _| norm.silu(&FrameStack::from_tensor(&x[0])?.into())?.to_tensor()))
    });
    add("norm over channels", &[pixels], &[], 0, norm);
    let small: &[usize] = &[3 * channels, 1, side.0 / 2, side.1 / 2];
    let see = plain(|x, _| spatial_attention(&FrameStack::from_tensor(&x[0])?)?.to_tensor());
    add("attention of pixels", &[small], &[], 2 * products(area / 4, channels, area / 4), see);
    cases
}

/// Reproducible numbers in [-1, 1), as a device keeps them.
fn made_numbers(count: usize, seed: u32) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) ^ 0x85EB_CA6B;
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        half::bf16::from_f32((state >> 8) as f32 / 8_388_608.0 - 1.0).to_f32()
    })
}

/// A weight as a file has it.
struct Made {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Made {
    /// Numbers whose products with many others add up to about 1.
    fn new(shape: &[usize], seed: u32) -> Made {
        let inputs: usize = shape.iter().skip(1).product();
        let scale = 1.0 / (inputs.max(1) as f32).sqrt();
        let scaled =
            made_numbers(shape.iter().product(), seed).map(|number| half::bf16::from_f32(number * scale).to_f32());
        Made { shape: shape.to_vec(), bytes: scaled.flat_map(f32::to_le_bytes).collect() }
    }

    fn stored(&self) -> Result<Stored<'_>> {
        Stored::new("a weight of the check", DType::F32, &self.shape, &self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::testing::{alone, device, set};

    #[test]
    fn a_device_that_computes_rightly_agrees_and_one_kernel_that_never_runs_is_found() {
        let _alone = alone();
        let gpu = device(DType::BF16);
        let mut told = 0;
        let rows = check(&gpu, Scale::Small, |_| told += 1).expect("every operation");
        assert_eq!(told, rows.len());
        let wrong: Vec<_> = rows.iter().filter(|row| !row.agrees()).collect();
        assert!(wrong.is_empty() && rows.len() > 15, "{wrong:?}");
        // The cast of the first input, then the first runs of the first, the third and the fourth operation.
        for launch in [1, 2, 10, 14] {
            set(c"SKIP_LAUNCH", launch);
            let rows = check(&gpu, Scale::Small, |_| {}).expect("every operation");
            let wrong = rows.iter().filter(|row| !row.agrees()).count();
            assert_eq!(wrong, 1, "launch {launch} did nothing");
            set(c"SKIP_LAUNCH", 0);
        }
    }

    #[test]
    fn a_processor_is_not_held_to_itself() {
        assert!(check(&Device::cpu(), Scale::Small, |_| {}).expect_err("no GPU").to_string().contains("name a GPU"));
    }
}
