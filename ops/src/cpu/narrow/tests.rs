//! Every unit beside its plain twin, and all of them beside a product in f64.

use std::collections::BTreeSet;

use super::*;
use crate::testing::{PlainResult, Weight, noise};

/// Shapes with odd sides: rows, inputs, outputs. 1030 inputs of bf16 and 1100 of bytes take more than one pass.
const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [5, 3, 16],
    [6, 2, 17],
    [24, 192, 192],
    [7, 1030, 50],
    [100, 64, 130],
    [13, 21, 65],
    [103, 515, 300],
    [2, 1100, 33],
];

fn numbers(shape: (usize, usize), seed: u32) -> Vec<f32> {
    noise(shape, seed).and_then(|noise| noise.flatten_all()?.to_vec1()).expect("f32")
}

fn packed(weight: &[f32], [_, inputs, outputs]: [usize; 3], compute: Compute) -> Narrow {
    let weight = Weight::new(weight, &[outputs, inputs]);
    Narrow::pack(&weight.stored(), 0..inputs, compute).expect("finite weights")
}

/// Where a layer puts its sums.
fn put(outputs: usize) -> impl Fn(Range<usize>, usize, &[f32], &mut [f32]) + Sync {
    move |range, width, sums, out| {
        for (out, sums) in out.chunks_exact_mut(outputs).zip(sums.chunks_exact(width)) {
            out[range.clone()].copy_from_slice(&sums[..range.len()]);
        }
    }
}

fn by_bf16(narrow: &Narrow, unit: Bf16Unit, x: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len() / narrow.inputs * narrow.outputs];
    narrow.apply_bf16(unit, x, &mut out, put(narrow.outputs), |_, _| ());
    out
}

fn by_int8(narrow: &Narrow, unit: Int8Unit, x: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len() / narrow.inputs * narrow.outputs];
    narrow.apply_int8(unit, x, &mut out, put(narrow.outputs), |_, _| ());
    out
}

/// A product in f64 of what `x` and the weight are rounded to.
fn product(
    x: &[f32],
    weight: &[f32],
    [_, inputs, outputs]: [usize; 3],
    round: impl Fn(&[f32]) -> Vec<f64>,
) -> Vec<f64> {
    let weight: Vec<Vec<f64>> = weight.chunks_exact(inputs).map(&round).collect();
    let rows = x.chunks_exact(inputs).map(&round);
    let product: Vec<f64> = rows
        .flat_map(|x| {
            weight.iter().map(move |row| row.iter().zip(&x).map(|(a, b)| a * b).sum::<f64>()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(product.len() % outputs, 0);
    product
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_unit_for_bf16_gives_the_product_of_rounded_numbers_on_odd_shapes() {
    let half = |values: &[f32]| values.iter().map(|value| f64::from(half::bf16::from_f32(*value).to_f32())).collect();
    for shape @ [rows, inputs, outputs] in SHAPES {
        let (x, weight) = (numbers((rows, inputs), 1), numbers((outputs, inputs), 2));
        let narrow = packed(&weight, shape, Compute::Bf16);
        let rounded_x: Vec<f32> = x.iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect();
        let expected = product(&rounded_x, &weight, shape, half);
        for unit in Bf16Unit::available().into_iter().chain([Bf16Unit::PlainPairs, Bf16Unit::PlainTiles]) {
            let found = by_bf16(&narrow, unit, &rounded_x);
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= 1e-6 + 1e-7 * inputs as f64, "{unit:?} {shape:?} at {at}: {found}, not {expected}");
            }
        }
    }
}

#[test]
fn a_unit_that_widens_weights_gives_the_bits_of_f32_where_bf16_holds_the_weights() -> PlainResult<()> {
    use crate::{Device, Linear, Tensor};
    for [rows, inputs, outputs] in SHAPES {
        let x = numbers((rows, inputs), 1);
        let weight: Vec<f32> =
            numbers((outputs, inputs), 2).iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect();
        let stored = Weight::new(&weight, &[outputs, inputs]);
        let whole = Linear::new(&stored.stored(), None, &Device::cpu()).expect("a layer");
        let whole = whole.apply(&Tensor::from_vec(x.clone(), [rows, inputs], &Device::cpu()).expect("rows"));
        let whole = whole.and_then(|whole| whole.to_vec::<f32>()).expect("f32");
        let narrow = packed(&weight, [rows, inputs, outputs], Compute::Bf16);
        let widening = |unit: &Bf16Unit| *unit != Bf16Unit::Plain && format!("{unit:?}").starts_with("Widened");
        for unit in Bf16Unit::available().into_iter().filter(widening) {
            assert_eq!(bits(&by_bf16(&narrow, unit, &x)), bits(&whole), "{unit:?} {rows}x{inputs}x{outputs}");
        }
    }
    Ok(())
}

#[test]
fn every_unit_for_bytes_gives_the_same_bits_and_those_of_whole_numbers() {
    for shape @ [rows, inputs, outputs] in SHAPES {
        let (mut x, weight) = (numbers((rows, inputs), 3), numbers((outputs, inputs), 4));
        // A token that is zero, and one a million times as large as the others.
        x[..inputs].fill(0.0);
        let last = x.len() - inputs;
        x[last..].iter_mut().for_each(|value| *value *= 1e6);
        let narrow = packed(&weight, shape, Compute::Int8);
        let plain = by_int8(&narrow, Int8Unit::Plain, &x);
        for unit in Int8Unit::available().into_iter().chain([Int8Unit::PlainPairs, Int8Unit::PlainTiles]) {
            assert_eq!(bits(&by_int8(&narrow, unit, &x)), bits(&plain), "{unit:?} {shape:?}");
        }
        let quantised = |values: &[f32]| {
            let scale = quantise::scale(values);
            values
                .iter()
                .map(|x| if scale > 0.0 { f64::from((x / scale).round_ties_even() * scale) } else { 0.0 })
                .collect()
        };
        let expected = product(&x, &weight, shape, quantised);
        for (row, (found, expected)) in plain.chunks(outputs).zip(expected.chunks(outputs)).enumerate() {
            let size = x[row * inputs..][..inputs].iter().fold(0f64, |size, x| size.max(f64::from(x.abs())));
            for (found, expected) in found.iter().zip(expected) {
                // A number half way between two bytes may go to the other one here: one step of 1/127 of the largest.
                let tolerance = size * (1e-6 * inputs as f64 + 1.0 / 127.0);
                assert!((f64::from(*found) - expected).abs() <= tolerance, "{shape:?}: {found}, not {expected}");
            }
        }
    }
}

#[test]
fn bytes_at_both_ends_of_their_range_overflow_no_sum() {
    // 66 000 products of the largest bytes: 2³¹ less than one in a hundred away.
    let inputs = 66_000;
    let row = |sign: f32| vec![sign; inputs];
    for (weight, x) in [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)] {
        let narrow = packed(&row(weight), [1, inputs, 1], Compute::Int8);
        for unit in Int8Unit::available().into_iter().chain([Int8Unit::PlainPairs, Int8Unit::PlainTiles]) {
            let found = by_int8(&narrow, unit, &row(x))[0];
            let expected = weight * x * inputs as f32;
            assert!((found - expected).abs() < 0.1, "{unit:?}: {found}, not {expected}");
        }
    }
}

#[test]
fn a_number_that_is_not_finite_reaches_every_output_of_its_row_and_of_no_other() {
    for compute in [Compute::Bf16, Compute::Int8] {
        for wrong in [f32::NAN, f32::INFINITY] {
            let mut x = numbers((8, 40), 5);
            x[3 * 40 + 7] = wrong;
            let narrow = packed(&numbers((20, 40), 6), [8, 40, 20], compute);
            let mut out = vec![0.0; 8 * 20];
            narrow.apply(&x, &mut out, put(20), |_, _| ());
            for (row, out) in out.chunks(20).enumerate() {
                assert!(out.iter().all(|value| value.is_finite() != (row == 3)), "{compute}, {wrong}: row {row}");
            }
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_how_many_threads_share_the_rows() {
    let (x, weight) = (numbers((200, 300), 7), numbers((90, 300), 8));
    for compute in [Compute::Bf16, Compute::Int8] {
        let narrow = packed(&weight, [200, 300, 90], compute);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let mut out = vec![0.0; 200 * 90];
            pool.install(|| narrow.apply(&x, &mut out, put(90), |_, _| ()));
            bits(&out)
        };
        let found: BTreeSet<Vec<u32>> = [1, 2, 3, 7].into_iter().map(on).collect();
        assert_eq!(found.len(), 1, "{compute}");
    }
}

#[test]
fn numbers_are_rounded_to_the_nearest_of_bf16_and_ties_go_to_the_even_one() {
    let values = numbers((1, 5000), 9).into_iter().chain([
        0.0,
        -0.0,
        1.0 + 1.0 / 256.0,
        1.0 + 3.0 / 256.0,
        3.0e38,
        1e-40,
        f32::INFINITY,
    ]);
    for value in values {
        assert_eq!(bf16::rounded(value), half::bf16::from_f32(value).to_bits(), "{value}");
    }
    assert!(half::bf16::from_bits(bf16::rounded(f32::NAN)).is_nan());
}

#[test]
fn weights_that_the_type_cannot_hold_are_refused() {
    let check = |weight: Weight, inputs: usize, compute, said: &str| {
        let error = Narrow::pack(&weight.stored(), 0..inputs, compute).expect_err(said).to_string();
        assert!(error.contains(said), "{error:?} does not say {said:?}");
    };
    check(Weight::new(&[f32::MAX], &[1, 1]), 1, Compute::Bf16, "too large for bf16");
    check(Weight::new(&[f32::NAN], &[1, 1]), 1, Compute::Int8, "NaN");
    check(Weight::new(&vec![0.0; 66_312], &[1, 66_312]), 66_312, Compute::Int8, "at most 66311");
}
