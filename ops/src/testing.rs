//! Tensors to test with, and what counts as equal.

use candle_core::{DType, Device, Result, Shape, Tensor};

/// Reproducible numbers in [-1, 1), different for every seed.
pub(crate) fn noise(shape: impl Into<Shape>, seed: u32) -> Result<Tensor> {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9E37_79B9) ^ 0x85EB_CA6B;
    let numbers = (0..shape.elem_count()).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    });
    Tensor::from_vec(numbers.collect::<Vec<f32>>(), shape, &Device::Cpu)
}

/// Evenly spaced numbers from `from` to `to`.
pub(crate) fn ramp(shape: impl Into<Shape>, from: f32, to: f32) -> Result<Tensor> {
    let shape = shape.into();
    let last = (shape.elem_count() - 1).max(1) as f64;
    let numbers = Tensor::arange(0u32, shape.elem_count() as u32, &Device::Cpu)?.to_dtype(DType::F64)?;
    numbers.affine(f64::from(to - from) / last, f64::from(from))?.to_dtype(DType::F32)?.reshape(shape)
}

/// Every number within `tolerance` of what is expected, and none of them NaN.
#[track_caller]
pub(crate) fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    let numbers = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("f32");
    for (i, (found, expected)) in numbers(found).into_iter().zip(numbers(expected)).enumerate() {
        assert!((found - expected).abs() <= tolerance, "at {i}: {found}, expected {expected}");
    }
}
