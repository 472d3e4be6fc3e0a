//! cuBLASLt as it is found, tried, refused and used. The library is emulated (`ops/host/libcublasLt.cpp`).

use super::*;
use crate::cuda::testing::{alone, counts, device_with_library, set};
use crate::testing::{Weight, noise, ours};
use crate::{Device, Linear, Then};

const ROWS: usize = 40;

/// A layer with a bias, and what it is given.
struct Given {
    layer: Linear,
    x: Tensor,
    h: Tensor,
    gate: Tensor,
}

fn given(device: &Device) -> Given {
    let rounded = |numbers: &candle_core::Tensor| {
        let numbers = ours(numbers).to_vec::<f32>().expect("f32").into_iter();
        numbers.map(|number| half::bf16::from_f32(number / 5.0).to_f32()).collect::<Vec<f32>>()
    };
    let numbers = |shape: &[usize], seed| rounded(&noise(shape, seed).expect("numbers"));
    let there = |shape: [usize; 2], seed| {
        let tensor = Tensor::from_vec(numbers(&shape, seed), shape, device).expect("memory");
        match device.as_cuda() {
            Some(_) => tensor.as_cuda().expect("there").cast(DType::BF16).expect("memory").into(),
            None => tensor,
        }
    };
    let (weight, bias) = (Weight::new(&numbers(&[56, 24], 1), &[56, 24]), Weight::new(&numbers(&[56], 2), &[56]));
    Given {
        layer: Linear::new(&weight.stored(), Some(&bias.stored()), device).expect("a layer"),
        x: there([ROWS, 24], 3),
        h: there([ROWS, 56], 4),
        gate: Tensor::from_vec(numbers(&[56], 5), [56], device).expect("memory"),
    }
}

/// The layer with each ending.
fn results(Given { layer, x, h, gate }: &Given) -> Result<[Vec<f64>; 4]> {
    Ok([
        layer.apply(x)?.to_f64()?,
        layer.apply_then(x, Then::Activate(Activation::GeluTanh))?.to_f64()?,
        layer.apply_then(x, Then::Add(h))?.to_f64()?,
        layer.apply_then(x, Then::AddGated(h, gate))?.to_f64()?,
    ])
}

#[track_caller]
fn must_be_right(given_there: &Given) {
    let expected = results(&given(&Device::cpu())).expect("on the processor");
    for (found, expected) in results(given_there).expect("on the device").iter().zip(&expected) {
        for (found, expected) in found.iter().zip(expected) {
            // Two roundings to bf16 of numbers near 1.
            assert!((found - expected).abs() <= 0.01 * (1.0 + expected.abs()), "{found}, expected {expected}");
        }
    }
}

#[test]
fn a_library_that_agrees_and_is_faster_computes_products_and_says_so() {
    let _alone = alone();
    let before = counts();
    let device = device_with_library();
    let given = given(&device);
    assert_eq!(device.arithmetic(), "bf16 on sm_80");
    device.choose_products(ROWS).expect("trials");
    let choices = device.products();
    assert_eq!(choices.iter().map(|choice| choice.ending).collect::<Vec<_>>(), Kind::ALL.map(|(_, ending)| ending));
    assert!(choices.iter().all(Choice::is_library), "{choices:?}");
    assert_eq!(device.arithmetic(), "bf16 on sm_80 with cuBLASLt 12.8.4");
    let launches = counts().launches;
    must_be_right(&given);
    assert_eq!(counts().launches - launches, 5, "four products, and a gate of ours behind one");
    // A row alone is ours: the library was not looked at with so few.
    set(c"LT_FAIL", 1);
    given.layer.apply(&given.x.narrow(0, 0, 1).expect("a row")).expect("by our kernel");
    let error = given.layer.apply(&given.x).expect_err("by the library").to_string();
    assert!(
        error.contains("cuBLASLt 12.8.4") && error.contains("libcublasLt.so.12") && error.contains("13"),
        "{error}"
    );
    set(c"LT_FAIL", 0);
    drop((given, device));
    let after = counts();
    assert_eq!((after.bytes, after.allocations - before.allocations), (before.bytes, after.frees - before.frees));
}

#[test]
fn a_library_that_is_wrong_slow_or_fails_leaves_products_to_our_kernels() {
    let _alone = alone();
    let refused = |fault: &std::ffi::CStr, value: i64, said: &str| {
        let device = device_with_library();
        let given = given(&device);
        set(fault, value);
        device.choose_products(ROWS).expect("trials");
        for choice in device.products() {
            assert!(!choice.is_library() && choice.to_string().contains(said), "{choice}");
        }
        // Even where the fault goes away: what did not pass at the start is not used.
        set(fault, 0);
        assert_eq!((device.products().len(), device.arithmetic().as_str()), (4, "bf16 on sm_80"));
        must_be_right(&given);
    };
    refused(c"LT_WRONG", 1, "cuBLASLt computes it wrongly with 8 rows: an error");
    refused(c"LT_WRONG", ROWS as i64, "cuBLASLt computes it wrongly with 40 rows: an error");
    refused(c"LT_NONE", 1, "cuBLASLt has no kernel for it");
    refused(c"LT_FAIL", 1, "cuBLASLt failed: cuBLASLt 12.8.4");
    refused(c"LT_SLOW", 80, "ours: cuBLASLt ");
}

#[test]
fn a_library_of_another_version_is_refused_by_name() {
    let _alone = alone();
    let told = |version: i64, driver: i64| {
        set(c"LT_VERSION", version);
        set(c"DRIVER", driver);
        let device = device_with_library();
        set(c"LT_VERSION", 120_804);
        set(c"DRIVER", 13_000);
        let given = given(&device);
        device.choose_products(ROWS).expect("nothing to try");
        assert_eq!(device.products(), []);
        must_be_right(&given);
        device.libraries().expect("a GPU")
    };
    let old = told(110_401, 13_000);
    assert!(old.contains("libcublasLt.so.12 is not used: it says that it is version 110401"), "{old}");
    let new = told(130_100, 12_080);
    assert!(new.contains("its version 13 needs a driver for CUDA 13; this one knows 12"), "{new}");
    let right = device_with_library().libraries().expect("a GPU");
    assert!(right.starts_with("cuBLASLt 12.8.4 from ") && right.ends_with("libcublasLt.so.12"), "{right}");
    let none = crate::cuda::testing::device(DType::BF16).libraries().expect("a GPU");
    assert!(none.contains("cuBLASLt was not found"), "{none}");
}
