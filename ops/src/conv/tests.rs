//! Convolutions beside candle's, in every form, at odd sizes.

use super::*;
use crate::testing::{Plain, PlainResult, SameBits, Weight, ours};
use candle_core::{DType, Device as PlainDevice};

/// Numbers without a pattern that a wrong stride could hide in.
fn noise(shape: &[usize], seed: u64) -> Plain {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values = (0..shape.iter().product::<usize>()).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    });
    Plain::from_vec(values.collect::<Vec<_>>(), shape, &PlainDevice::Cpu).expect("as many as the shape has")
}

/// candle's convolution, frame by frame: the sum over the window's frames of 2-D convolutions.
fn plain(x: &Plain, weight: &Plain, bias: &Plain, frames_out: &[Vec<usize>], stride: usize) -> PlainResult<Plain> {
    let weight = if weight.rank() == 4 { weight.unsqueeze(2)? } else { weight.clone() };
    let (_, _, kt, side, _) = weight.dims5()?;
    let mut out = Vec::new();
    for window in frames_out {
        let mut sum: Option<Plain> = None;
        for (i, &t) in window.iter().enumerate() {
            let tap = weight.narrow(2, kt - window.len() + i, 1)?.squeeze(2)?.contiguous()?;
            let mut frame = x.narrow(1, t, 1)?.squeeze(1)?.unsqueeze(0)?.contiguous()?;
            if stride == 2 {
                frame = frame.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
            }
            let y = frame.conv2d(&tap, if stride == 1 { side / 2 } else { 0 }, stride, 1, 1)?;
            sum = Some(match sum {
                Some(sum) => (sum + y)?,
                None => y,
            });
        }
        out.push(sum.expect("a window has a frame").broadcast_add(&bias.reshape((1, (), 1, 1))?)?.squeeze(0)?);
    }
    Plain::stack(&out, 1)
}

fn assert_close(found: &FrameStack, plain: &Plain, depth: usize, what: &str) {
    let found = found.to_tensor().expect("a tensor");
    assert_eq!(found.dims(), plain.dims(), "{what}");
    let off = (found.cpu("a test").expect("main memory") - plain)
        .expect("same shape")
        .abs()
        .expect("abs")
        .max_all()
        .expect("max");
    let off = off.to_scalar::<f32>().expect("one");
    // Two orders of summing `depth` products of numbers below one; a wrong tap would be off by a thousand times that.
    assert!(off < 1e-7 * depth as f32 + 1e-6, "{what}: off by {off:e}");
}

#[test]
fn a_causal_convolution_agrees_with_candle_at_odd_sizes_on_every_instruction_set() {
    for (inputs, outputs, height, width, count) in [
        (1, 1, 1, 1, 1),
        (3, 16, 5, 7, 2),
        (16, 3, 4, 13, 4),
        (20, 40, 3, 29, 3),
        (33, 50, 7, 6, 2),
        (64, 130, 2, 17, 1),
    ] {
        let x = noise(&[inputs, count, height, width], 1);
        let bias = noise(&[outputs], 2);
        for (kt, k) in [(3, 3), (3, 1), (1, 1)] {
            let weight = noise(&[outputs, inputs, kt, k, k], 3);
            let windows: Vec<Vec<usize>> = (0..count).map(|t| ((t + 1).saturating_sub(kt)..t + 1).collect()).collect();
            let expected = plain(&x, &weight, &bias, &windows, 1).expect("candle");
            let (weight, bias) = (Weight::of(&weight), Weight::of(&bias));
            let conv = Conv::new(&weight.stored(), &bias.stored(), &Device::cpu()).expect("a kernel");
            let mut video = FrameStack::from_tensor(&ours(&x)).expect("a video");
            if conv.border() == 1 {
                video = video.bordered();
            }
            let slices: Vec<_> = windows.iter().map(|w| w[0]..w[0] + w.len()).collect();
            let mut same = SameBits::default();
            for isa in Isa::available() {
                let what = format!("{isa:?} {inputs}->{outputs} {kt}x{k}x{k} at {height}x{width}");
                let once = conv.apply_with(isa, &video, &slices, None).expect("frames");
                same.see(isa, once.frames().iter().flat_map(|frame| frame.iter().copied()));
                assert_close(&once, &expected, inputs * kt * k * k, &what);
                let twice = conv.apply_with(isa, &video, &slices, Some(&once)).expect("frames");
                assert_close(&twice, &(&expected * 2.0).expect("doubled"), 4 * inputs * kt * k * k, &what);
            }
        }
    }
}

#[test]
fn in_bf16_it_agrees_with_candle_on_rounded_numbers_on_every_unit_and_twin() {
    let held = |x: &Plain| x.to_dtype(DType::BF16).and_then(|x| x.to_dtype(DType::F32)).expect("rounded");
    // Widths around a tile of 32 pixels, channels around a word and around the 32 that AMX takes together.
    for (inputs, outputs, height, width, count) in
        [(1, 1, 1, 1, 1), (3, 16, 5, 7, 2), (24, 40, 3, 33, 3), (33, 70, 2, 32, 2), (64, 130, 2, 17, 1)]
    {
        let (x, bias) = (held(&noise(&[inputs, count, height, width], 1)), noise(&[outputs], 2));
        for (kt, k, scale) in [(3, 3, 1), (3, 1, 1), (1, 1, 1), (1, 3, 2)] {
            let weight = held(&noise(&[outputs, inputs, kt, k, k], 3));
            let windows: Vec<Vec<usize>> = (0..count).map(|t| ((t + 1).saturating_sub(kt)..t + 1).collect()).collect();
            let shown =
                if scale == 2 { x.upsample_nearest2d(2 * height, 2 * width).expect("doubled") } else { x.clone() };
            let expected = plain(&shown, &weight, &bias, &windows, 1).expect("candle");
            let (stored, stored_bias) = (Weight::of(&weight), Weight::of(&bias));
            let video = FrameStack::from_tensor(&ours(&x)).expect("a video");
            let video = if k == 3 { video.bordered() } else { video };
            let slices: Vec<_> = windows.iter().map(|w| w[0]..w[0] + w.len()).collect();
            let twins = [Bf16Unit::PlainPairs, Bf16Unit::PlainTiles];
            for unit in Bf16Unit::multiplying().chain(twins) {
                let offset = |p: usize, k: usize| if scale == 2 { (p + k).div_ceil(2) } else { k };
                let what = (&stored.stored(), &stored_bias.stored(), &Device::cpu());
                let conv = Conv::pack_for(Some(unit), what, 1, scale, offset).expect("a kernel");
                let found = conv.apply_with(Isa::Plain, &video, &slices, None).expect("frames");
                // Weights that meet the same input are added before they are rounded: 1/256 of two, at most.
                let depth = inputs * kt * k * k;
                let depth = if scale == 2 { depth * (1 << 15) } else { depth };
                assert_close(
                    &found,
                    &expected,
                    depth,
                    &format!("{unit:?} {inputs}->{outputs} {kt}x{k}x{k}, times {scale}"),
                );
            }
        }
    }
}

#[test]
fn down_and_upsampling_agree_with_padding_and_doubling_the_picture() {
    for (inputs, outputs, height, width, count) in [(2, 5, 2, 2, 1), (16, 16, 6, 10, 3), (24, 48, 8, 26, 2)] {
        let x = noise(&[inputs, count, height, width], 4);
        let (weight, bias) = (noise(&[outputs, inputs, 3, 3], 5), noise(&[outputs], 6));
        let windows: Vec<_> = (0..count).map(|t| vec![t]).collect();
        let video = FrameStack::from_tensor(&ours(&x)).expect("a video").bordered();
        let slices: Vec<_> = (0..count).map(|t| t..t + 1).collect();
        let (stored, stored_bias, device) = (Weight::of(&weight), Weight::of(&bias), Device::cpu());
        for isa in Isa::available() {
            let what = format!("{isa:?} {inputs}->{outputs} at {height}x{width}");
            let down = Conv::downsampling(&stored.stored(), &stored_bias.stored(), &device).expect("a kernel");
            let expected = plain(&x, &weight, &bias, &windows, 2).expect("candle");
            assert_close(&down.apply_with(isa, &video, &slices, None).expect("frames"), &expected, 9 * inputs, &what);
            let up = Conv::upsampling(&stored.stored(), &stored_bias.stored(), &device).expect("a kernel");
            let doubled = x.upsample_nearest2d(2 * height, 2 * width).expect("doubled");
            let expected = plain(&doubled, &weight, &bias, &windows, 1).expect("candle");
            assert_close(&up.apply_with(isa, &video, &slices, None).expect("frames"), &expected, 18 * inputs, &what);
        }
    }
}
