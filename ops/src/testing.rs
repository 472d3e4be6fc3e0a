//! Numbers to test with, and what counts as equal. Plain twins are written on candle's tensors, whose operations are many and
//! slow and obviously right.

pub(crate) use candle_core::Result as PlainResult;
pub(crate) use candle_core::Tensor as Plain;
use candle_core::{DType as PlainType, Device as PlainDevice, Shape};

use crate::cpu::simd::Isa;
use crate::{DType, Stored, Tensor};

/// Reproducible numbers in [-1, 1), different for every seed.
pub(crate) fn noise(shape: impl Into<Shape>, seed: u32) -> PlainResult<Plain> {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9E37_79B9) ^ 0x85EB_CA6B;
    let numbers = (0..shape.elem_count()).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    });
    Plain::from_vec(numbers.collect::<Vec<f32>>(), shape, &PlainDevice::Cpu)
}

/// Evenly spaced numbers from `from` to `to`.
pub(crate) fn ramp(shape: impl Into<Shape>, from: f32, to: f32) -> PlainResult<Plain> {
    let shape = shape.into();
    let last = (shape.elem_count() - 1).max(1) as f64;
    let numbers = Plain::arange(0u32, shape.elem_count() as u32, &PlainDevice::Cpu)?.to_dtype(PlainType::F64)?;
    numbers.affine(f64::from(to - from) / last, f64::from(from))?.to_dtype(PlainType::F32)?.reshape(shape)
}

/// A plain tensor as one of ours.
pub(crate) fn ours(plain: &Plain) -> Tensor {
    Tensor::of(plain.clone())
}

/// A weight as a file stores it.
pub(crate) struct Weight {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Weight {
    pub(crate) fn new(values: &[f32], shape: &[usize]) -> Weight {
        Weight { shape: shape.to_vec(), bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    pub(crate) fn of(plain: &Plain) -> Weight {
        let values: Vec<f32> = plain.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32");
        Weight::new(&values, plain.dims())
    }

    pub(crate) fn stored(&self) -> Stored<'_> {
        Stored::new("weight", DType::F32, &self.shape, &self.bytes).expect("as many numbers as the shape has")
    }
}

/// Every number within `tolerance` of what is expected, and none of them NaN.
#[track_caller]
pub(crate) fn assert_close(found: &Tensor, expected: &Plain, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    let expected = ours(expected).to_vec::<f32>().expect("f32");
    for (i, (found, expected)) in found.to_vec::<f32>().expect("f32").into_iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "at {i}: {found}, expected {expected}");
    }
}

/// Results on one instruction set after the other: of those that fuse multiply-adds all must have the same bits.
#[derive(Default)]
pub(crate) struct SameBits(Option<Vec<u32>>);

impl SameBits {
    #[track_caller]
    pub(crate) fn see(&mut self, isa: Isa, found: impl IntoIterator<Item = f32>) {
        if isa == Isa::Plain {
            return;
        }
        let found: Vec<u32> = found.into_iter().map(f32::to_bits).collect();
        assert!(*self.0.get_or_insert_with(|| found.clone()) == found, "{isa:?} gives other bits than the one before");
    }
}
