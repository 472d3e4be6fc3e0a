//! A GPU held to the processor: each operation that models call, on both, with the largest error and the time it took.
//!
//! Our kernels were executed in emulation before they met a GPU. So a user's own machine judges them, before it draws a
//! frame that somebody believes.

mod cases;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::cases::cases;
use crate::cuda::{Cuda, CudaTensor};
use crate::error::bail;
use crate::{Choice, DType, Device, Linear, Result, Tensor};

/// How large the tensors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// A few thousand numbers: for emulated devices.
    Small,
    /// More than one tile of every kernel, and a tail: before a GPU draws.
    Brief,
    /// A latent frame of LingBot World 1.3B at 832×480.
    Real,
}

impl Scale {
    /// Runs on the device; the fastest is told.
    fn runs(self) -> usize {
        if self == Scale::Brief { 1 } else { 3 }
    }
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

/// Every operation that models call on `device`, a GPU, against the processor. `tell` is given each row as soon as it is known.
/// An operation that cannot be run at all is an error.
pub fn check(device: &Device, scale: Scale, mut tell: impl FnMut(&Row)) -> Result<Vec<Row>> {
    let cuda = gpu(device)?;
    let row = |case: Case| {
        let row = case.row(cuda, device, scale.runs())?;
        tell(&row);
        Ok(row)
    };
    cases(scale).into_iter().map(row).collect()
}

/// What a GPU was found to do before it draws.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Start {
    /// Operations that disagree with the processor: nothing may be drawn with this GPU.
    pub wrong: Vec<Row>,
    /// Operations that disagreed until a slower kernel of ours was put in place of the fast one; with the fast one's name.
    pub replaced: Vec<(Row, &'static str)>,
    /// Operations that were looked at.
    pub count: usize,
}

/// The short form of [`check`], in seconds: before a GPU draws for anybody. Where a kernel computes wrongly and another of ours
/// does the same, the other one is used from now on.
pub fn at_start(device: &Device) -> Result<Start> {
    let cuda = gpu(device)?;
    let mut start = Start::default();
    for case in cases(Scale::Brief) {
        start.count += 1;
        let row = case.row(cuda, device, Scale::Brief.runs())?;
        if row.agrees() {
            continue;
        }
        if let Some(kernel) = case.replaceable {
            cuda.distrust(kernel);
            if case.row(cuda, device, Scale::Brief.runs())?.agrees() {
                start.replaced.push((row, kernel));
                continue;
            }
        }
        start.wrong.push(row);
    }
    Ok(start)
}

/// The products of a transformer of this scale, by our kernel and by cuBLASLt, where that was found: which of the two computes each.
pub fn products(device: &Device, scale: Scale) -> Result<Vec<Choice>> {
    gpu(device)?;
    let (rows, shapes) = cases::products(scale);
    let layer = |[inputs, outputs]: [usize; 2]| cases::layer(device, inputs, outputs);
    let _layers: Vec<Linear> = shapes.into_iter().map(layer).collect::<Result<_>>()?;
    device.choose_products(rows)?;
    Ok(device.products())
}

fn gpu(device: &Device) -> Result<&Arc<Cuda>> {
    match device.as_cuda() {
        Some(cuda) => Ok(cuda),
        None => bail!("a processor is what others are compared with: name a GPU"),
    }
}

impl Case {
    /// The operation on both, on the device `runs` times.
    fn row(&self, cuda: &Arc<Cuda>, device: &Device, runs: usize) -> Result<Row> {
        let numbers = cuda.numbers();
        let made = |shapes: &[Vec<usize>], seed: u32| -> Result<Vec<Tensor>> {
            let one = |(index, shape): (usize, &Vec<usize>)| {
                let values = made_numbers(shape.iter().product(), seed + index as u32);
                Tensor::from_vec(values.collect(), shape, &Device::cpu())
            };
            shapes.iter().enumerate().map(one).collect()
        };
        let (x, v) = (made(&self.inputs, 1)?, made(&self.vectors, 100)?);
        let expected = (self.on)(&Device::cpu())?(&x, &v)?;
        let there = |tensors: &[Tensor], dtype: DType| -> Result<Vec<Tensor>> {
            let one = |tensor: &Tensor| -> Result<Tensor> {
                let moved = CudaTensor::from_f32(cuda, &tensor.to_vec::<f32>()?, tensor.dims())?;
                Ok(moved.cast(dtype)?.into())
            };
            tensors.iter().map(one).collect()
        };
        let (x, v) = (there(&x, numbers)?, there(&v, DType::F32)?);
        let (mut time, mut found, apply) = (Duration::MAX, None, (self.on)(device)?);
        for _ in 0..runs {
            let began = device.moment()?;
            let result = apply(&x, &v)?;
            time = time.min(began.until(&device.moment()?)?);
            // The first one is looked at: later ones lie in memory that held a right result already.
            found.get_or_insert(result);
        }
        let found = found.expect("it was run");
        let shape = self.inputs.first().map(|shape| format!("{shape:?}")).unwrap_or_default();
        let worst = worst(&found, &expected, numbers)?;
        Ok(Row { operation: self.operation, shape, worst, time, operations: self.operations })
    }
}

/// The largest error, in units of what is allowed: two roundings of a root mean square, and one of the number itself. The root is
/// that of the number's row or of the whole result, whichever is larger: where a row looks at few keys its numbers are larger
/// than others, and so is what they are made of.
pub(crate) fn worst(found: &Tensor, expected: &Tensor, numbers: DType) -> Result<f64> {
    if found.dims() != expected.dims() {
        bail!("{:?} came out, and not {:?}", found.dims(), expected.dims());
    }
    let row = expected.dims().last().copied().unwrap_or(1).max(1);
    let (found, expected) = (found.to_f64()?, expected.to_f64()?);
    let root = |numbers: &[f64]| (numbers.iter().map(|x| x * x).sum::<f64>() / numbers.len().max(1) as f64).sqrt();
    let whole = root(&expected);
    let unit = if numbers == DType::F32 { 1e-5 } else { 1.0 / 256.0 };
    let mut worst = 0f64;
    for (found, expected) in found.chunks(row).zip(expected.chunks(row)) {
        let root = root(expected).max(whole);
        for (found, expected) in found.iter().zip(expected) {
            let error = (found - expected).abs() / (unit * (2.0 * root + expected.abs()) + 1e-6);
            // A NaN is worse than anything.
            worst = worst.max(if error.is_nan() { f64::INFINITY } else { error });
        }
    }
    Ok(worst)
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
    /// The kernel that another of ours can stand in for.
    replaceable: Option<&'static str>,
}

/// An operation with its weights on one device: tensors in the type of activations, then vectors in f32.
type Apply = Box<dyn Fn(&[Tensor], &[Tensor]) -> Result<Tensor>>;
type Make = Box<dyn Fn(&Device) -> Result<Apply>>;

/// Reproducible numbers in [-1, 1), exact in bf16, as `device` keeps activations.
pub fn made(shape: &[usize], seed: u32, device: &Device) -> Result<Tensor> {
    let numbers: Vec<f32> = made_numbers(shape.iter().product(), seed).collect();
    match device.as_cuda() {
        None => Tensor::from_vec(numbers, shape, device),
        Some(cuda) => Ok(CudaTensor::from_f32(cuda, &numbers, shape)?.cast(cuda.numbers())?.into()),
    }
}

/// Reproducible numbers in [-1, 1), as a device keeps them.
pub(crate) fn made_numbers(count: usize, seed: u32) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) ^ 0x85EB_CA6B;
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        half::bf16::from_f32((state >> 8) as f32 / 8_388_608.0 - 1.0).to_f32()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::testing::{alone, device, set};
    use crate::emulation::plant_wrong_kernel;

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

    /// A kernel that leaves its last block out, as one does whose grid is a block too small.
    #[test]
    fn before_a_gpu_draws_a_wrong_kernel_is_named_or_another_stands_in_for_it() {
        let _alone = alone();
        let healthy = at_start(&device(DType::BF16)).expect("every operation");
        assert_eq!((healthy.wrong, healthy.replaced), (vec![], vec![]));
        let planted = |kernel: &'static std::ffi::CStr| {
            plant_wrong_kernel(kernel);
            let gpu = device(DType::BF16);
            let start = at_start(&gpu).expect("every operation");
            plant_wrong_kernel(c"");
            let wrong: Vec<_> = start.wrong.iter().map(|row| row.operation).collect();
            let replaced: Vec<_> = start.replaced.iter().map(|(row, kernel)| (row.operation, *kernel)).collect();
            (wrong, replaced)
        };
        let (wrong, replaced) = planted(c"linear_bf16");
        let dense = ["dense layer", "dense layer back", "dense layer and GELU", "dense layer, gated, added"];
        assert_eq!((wrong, replaced), (dense.to_vec(), vec![]));
        let (wrong, replaced) = planted(c"attention_48_bf16");
        assert_eq!((wrong, replaced), (vec![], vec![("attention of 48", "attention_48_bf16")]));
        // Once it is put aside, all other operations are computed by the other one.
        let (wrong, replaced) = planted(c"attention_128_bf16");
        assert_eq!((wrong, replaced), (vec![], vec![("attention to the window", "attention_128_bf16")]));
    }

    #[test]
    fn a_processor_is_not_held_to_itself() {
        assert!(check(&Device::cpu(), Scale::Small, |_| {}).expect_err("no GPU").to_string().contains("name a GPU"));
    }
}
