//! Every operation on a device against the one of the same name on the processor, through the whole path: cudarc, a driver,
//! launches, kernels. The driver and the kernels' threads are emulated.

use super::testing::{alone, device, rounded, there};
use crate::activation::{Activation, gelu_tanh, relu_squared, silu, swiglu};
use crate::attention::{Heads, attention, causal_attention, grouped_attention};
use crate::channel_norm::ChannelNorm;
use crate::channels::{restore, standardise};
use crate::conv::Conv;
use crate::flow::{along_flow, clean_from_flow, renoise, weighted_sum};
use crate::norm::{layer_norm, layer_norm_modulate, rms_norm};
use crate::patch::{patchify, patchify_channel_last, unpatchify};
use crate::relative_attention::{DistanceTable, relative_attention};
use crate::residual::{add_gated, add_to_rows_from, scale_shift};
use crate::rope::{Grid, Rotary};
use crate::rope_halves::HalvesRotary;
use crate::shortcut::{Resize, add_averaged, add_repeated};
use crate::spatial_attention::spatial_attention;
use crate::testing::{Weight, noise, ours};
use crate::{DType, Device, FrameStack, Linear, Result, Stored, Tensor, Then, pixels};

/// One operation on both devices, in both types. `inputs` are made on the processor; `operation` is given them, and vectors
/// that stay f32, on its device.
#[track_caller]
fn check(
    inputs: &[&[usize]],
    vectors: &[&[usize]],
    operation: impl Fn(&Device, &[Tensor], &[Tensor]) -> Result<Tensor>,
) {
    let _alone = alone();
    for numbers in [DType::F32, DType::BF16] {
        let gpu = device(numbers);
        let made = |shapes: &[&[usize]], seed: u32| -> Vec<Tensor> {
            let one = |(index, shape): (usize, &&[usize])| ours(&noise(*shape, seed + index as u32).expect("numbers"));
            shapes.iter().enumerate().map(one).collect()
        };
        let x: Vec<Tensor> = made(inputs, 1).iter().map(|tensor| rounded(tensor, numbers)).collect();
        let v = made(vectors, 100);
        let expected = operation(&Device::cpu(), &x, &v).expect("on the processor");
        let x: Vec<Tensor> = x.iter().map(|tensor| there(tensor, &gpu)).collect();
        let v: Vec<Tensor> = v
            .iter()
            .map(|tensor| Tensor::from_vec(tensor.to_vec::<f32>().expect("f32"), tensor.dims(), &gpu).expect("memory"))
            .collect();
        let found = operation(&gpu, &x, &v).expect("on the device");
        close(&found, &expected, numbers, inputs);
    }
}

/// Within two roundings of the row's root mean square, the bound of gpu.md, and of the number itself.
#[track_caller]
fn close(found: &Tensor, expected: &Tensor, numbers: DType, what: impl std::fmt::Debug) {
    assert_eq!(found.dims(), expected.dims(), "{what:?}");
    let (found, expected) = (found.to_f64().expect("numbers"), expected.to_f64().expect("numbers"));
    let root = (expected.iter().map(|x| x * x).sum::<f64>() / expected.len().max(1) as f64).sqrt();
    let unit = if numbers == DType::F32 { 2e-6 } else { 1.0 / 256.0 };
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let bound = unit * (2.0 * root + expected.abs()) + 1e-6;
        assert!(
            (found - expected).abs() <= bound,
            "{what:?} in {numbers}, at {at}: {found}, expected {expected} ± {bound}"
        );
    }
}

/// A weight whose sums of many products stay near 1. Its numbers are bf16 already, as those of most checkpoints.
fn weight(shape: &[usize], seed: u32) -> Weight {
    let inputs: usize = shape.iter().skip(1).product();
    let scale = 1.0 / (inputs.max(1) as f64).sqrt();
    let numbers = ours(&(noise(shape, seed).expect("numbers") * scale).expect("numbers"));
    Weight::new(&rounded(&numbers, DType::BF16).to_vec::<f32>().expect("f32"), shape)
}

#[test]
fn arithmetic_agrees() {
    for shape in [&[1, 1][..], &[3, 7], &[5, 64], &[2, 3, 33]] {
        check(&[shape, shape], &[], |_, x, _| &x[0] + &x[1]);
        check(&[shape, shape], &[], |_, x, _| &x[0] - &x[1]);
        check(&[shape, shape], &[], |_, x, _| &x[0] * &x[1]);
        check(&[shape], &[], |_, x, _| x[0].plus(1.0));
        check(&[shape], &[], |_, x, _| silu(&x[0]));
        check(&[shape], &[], |_, x, _| gelu_tanh(&x[0]));
        check(&[shape], &[], |_, x, _| relu_squared(&x[0]));
        check(&[shape, shape], &[], |_, x, _| swiglu(&x[0], &x[1]));
        check(&[shape, shape], &[], |_, x, _| along_flow(&x[0], &x[1], 0.9, 0.25));
        check(&[shape, shape], &[], |_, x, _| clean_from_flow(&x[0], &x[1], 0.7));
        check(&[shape, shape], &[], |_, x, _| renoise(&x[0], &x[1], 0.3));
        check(&[shape; 3], &[], |_, x, _| weighted_sum(&[(0.5, &x[0]), (-1.25, &x[1]), (2.0, &x[2])]));
    }
}

#[test]
fn what_touches_the_hidden_state_agrees() {
    for (rows, width) in [(1, 2), (5, 24), (9, 130)] {
        let wide: &[usize] = &[rows, width];
        check(&[wide, wide], &[&[width]], |_, x, v| add_gated(&x[0], &x[1], &v[0]));
        check(&[wide; 3], &[], |_, x, _| scale_shift(&x[0], &x[1], &x[2]));
        check(&[wide], &[&[width]], |_, x, v| add_to_rows_from(&x[0], rows / 2, &v[0]));
        check(&[wide], &[&[width], &[width]], |_, x, v| layer_norm(&x[0], &v[0], &v[1], 1e-6));
        check(&[wide], &[&[width], &[width]], |_, x, v| layer_norm_modulate(&x[0], &v[0], &v[1], 1e-6));
        check(&[wide], &[&[width]], |_, x, v| rms_norm(&x[0], &v[0], 1e-6));
    }
}

#[test]
fn positions_are_turned_alike() {
    for (head, heads) in [(12, 2), (48, 1), (128, 3)] {
        let grid = Grid { first_latent_frame: 1000, frames: 2, rows: 2, columns: 3 };
        check(&[&[grid.tokens(), heads * head]], &[], |device, x, _| Rotary::new(grid, head, device)?.apply(&x[0]));
        check(&[&[grid.tokens(), heads * head]], &[&[heads * head]], |device, x, v| {
            Rotary::new(grid, head, device)?.apply_to_normed(&x[0], &v[0], 1e-6)
        });
        let angles: Vec<f32> = (0..grid.tokens() * head / 2).map(|i| i as f32 * 0.37).collect();
        check(&[&[grid.tokens(), heads * head]], &[&[head]], |device, x, v| {
            HalvesRotary::new(&angles, head / 2, device)?.apply_to_normed(&x[0], &v[0], 1e-6)
        });
        check(&[&[grid.tokens(), heads * head]], &[], |device, x, _| {
            HalvesRotary::new(&angles, head / 2, device)?.apply(&x[0])
        });
    }
}

#[test]
fn dense_layers_agree_whole_and_cut_in_two() {
    for (rows, inputs, outputs) in [(1, 1, 1), (5, 3, 16), (24, 192, 130), (70, 72, 50)] {
        let (stored, bias) = (weight(&[outputs, inputs], 2), weight(&[outputs], 3));
        check(&[&[rows, inputs]], &[], |device, x, _| {
            Linear::new(&stored.stored(), Some(&bias.stored()), device)?.apply(&x[0])
        });
        check(&[&[rows, inputs], &[rows, outputs]], &[&[outputs]], |device, x, v| {
            let layer = Linear::new(&stored.stored(), Some(&bias.stored()), device)?;
            let sum = layer.apply_then(&x[0], Then::Add(&x[1]))?;
            layer.apply_then(&x[0], Then::AddGated(&sum, &v[0]))
        });
        for activation in [Activation::Silu, Activation::GeluTanh, Activation::ReluSquared] {
            check(&[&[rows, inputs]], &[], |device, x, _| {
                Linear::new(&stored.stored(), Some(&bias.stored()), device)?
                    .apply_then(&x[0], Then::Activate(activation))
            });
        }
        if inputs > 1 {
            check(&[&[rows, inputs]], &[], |device, x, _| {
                let half = inputs / 2;
                let first = Linear::of_inputs(&stored.stored(), 0..half, None, device)?;
                let second = Linear::of_inputs(&stored.stored(), half..inputs, Some(&bias.stored()), device)?;
                first.apply(&x[0].narrow(1, 0, half)?)? + second.apply(&x[0].narrow(1, half, inputs - half)?)?
            });
        }
    }
}

#[test]
fn attention_agrees_over_blocks_in_groups_and_with_distances() {
    for (rows, heads, dim, blocks) in
        [(1, 1, 12, &[1][..]), (17, 2, 48, &[5, 30]), (20, 1, 64, &[70]), (130, 1, 128, &[9, 40, 2, 31])]
    {
        let width = heads * dim;
        let shapes: Vec<[usize; 2]> = [rows].iter().chain(blocks).chain(blocks).map(|&rows| [rows, width]).collect();
        let shapes: Vec<&[usize]> = shapes.iter().map(|shape| &shape[..]).collect();
        check(&shapes, &[], |_, x, _| {
            let (keys, values) = x[1..].split_at(blocks.len());
            attention(&x[0], &keys.iter().collect::<Vec<_>>(), &values.iter().collect::<Vec<_>>(), heads)
        });
    }
    for dim in [16, 64] {
        let heads = Heads { queries: 4, keys: 2 };
        let (q, k): (&[usize], &[usize]) = (&[11, 4 * dim], &[11, 2 * dim]);
        check(&[q, k, k], &[], |_, x, _| grouped_attention(&x[0], &[&x[1]], &[&x[2]], heads));
        check(&[q, k, k], &[], |_, x, _| causal_attention(&x[0], &x[1], &x[2], heads));
        let table = weight(&[32, 4], 9);
        check(&[q, q, q], &[], |_, x, _| {
            let bias = DistanceTable::new(&table.stored())?.for_rows(11, |distance| (distance.unsigned_abs() * 3) % 32);
            relative_attention(&x[0], &x[1], &x[2], &bias)
        });
    }
}

#[test]
fn rearranging_moves_every_number_to_its_place() {
    let video: &[usize] = &[4, 3, 6, 2];
    check(&[video], &[], |_, x, _| x[0].permute(&[1, 3, 0, 2]));
    check(&[video], &[], |_, x, _| x[0].narrow(2, 1, 4));
    check(&[video], &[], |_, x, _| x[0].narrow(0, 1, 2)?.get(1)?.unsqueeze(1)?.squeeze(1));
    check(&[video], &[], |_, x, _| x[0].pad_with_zeros(2, 1, 2)?.pad_with_zeros(0, 0, 3));
    check(&[video], &[], |_, x, _| patchify(&x[0]));
    check(&[video], &[], |_, x, _| patchify_channel_last(&x[0].narrow(2, 0, 5)?));
    check(&[video], &[], |_, x, _| unpatchify(&x[0].reshape([9, 16])?, 6, 2));
    check(&[video, &[4, 3, 1, 2]], &[], |_, x, _| Tensor::cat(&[&x[0], &x[1]], 2));
    check(&[video, &[2, 3, 6, 2]], &[], |_, x, _| Tensor::cat(&[&x[0], &x[1]], 0)?.copy());
    check(&[&[5, 3], &[2, 3]], &[], |_, x, _| {
        let whole = x[0].copy()?;
        whole.narrow(0, 2, 2)?.overwrite(&x[1])?;
        Ok(whole)
    });
    check(&[video], &[], |_, x, _| pixels::fold(FrameStack::from_tensor(&x[0])?, 2)?.to_tensor());
    check(&[video], &[], |_, x, _| pixels::unfold(FrameStack::from_tensor(&x[0])?, 2)?.to_tensor());
    check(&[video], &[], |_, x, _| standardise(&x[0], &[0.1, 0.2, -0.3, 0.0], &[1.0, 2.0, 0.5, 3.0]));
    check(&[video], &[], |_, x, _| restore(&x[0], &[0.1, 0.2, -0.3, 0.0], &[1.0, 2.0, 0.5, 3.0]));
}

#[test]
fn convolutions_agree_over_windows_strides_and_doublings() {
    type Make = fn(&Stored, &Stored, &Device) -> Result<Conv>;
    let cases: [(&[usize], Make); 6] = [
        (&[10, 5, 3, 3, 3], Conv::new),
        (&[16, 8, 3, 1, 1], Conv::new),
        (&[3, 16, 1, 1], Conv::new),
        (&[7, 8, 3, 3], Conv::new),
        (&[8, 16, 3, 3], Conv::downsampling),
        (&[6, 8, 3, 3], Conv::upsampling),
    ];
    for (shape, make) in cases {
        let (stored, bias) = (weight(shape, 4), weight(&shape[..1], 5));
        let windows: Vec<_> =
            (0..3).map(|t: usize| (t + 1).saturating_sub(if shape.len() == 5 { 3 } else { 1 })..t + 1).collect();
        check(&[&[shape[1], 3, 6, 4]], &[], |device, x, _| {
            let conv = make(&stored.stored(), &bias.stored(), device)?;
            let frames = FrameStack::from_tensor(&x[0])?;
            let frames = if conv.border() == 1 { frames.bordered() } else { frames };
            let once = conv.apply_windows(&frames, &windows, None)?;
            conv.apply_windows(&frames, &windows, Some(&once))?.to_tensor()
        });
    }
}

#[test]
fn shortcuts_around_a_change_of_size_agree_with_missing_frames_too() {
    for (resize, large, small) in
        [(Resize { time: 2, side: 2 }, 3, 6), (Resize { time: 1, side: 2 }, 6, 3), (Resize { time: 2, side: 2 }, 8, 4)]
    {
        for missing in 0..resize.time {
            let (low, high): (&[usize], &[usize]) =
                (&[small, 2, 3, 2], &[large, 2 * resize.time - missing, 3 * resize.side, 2 * resize.side]);
            check(&[low, high], &[], |_, x, _| {
                add_averaged(FrameStack::from_tensor(&x[0])?, &FrameStack::from_tensor(&x[1])?, resize)?.to_tensor()
            });
            if (large * resize.block()).is_multiple_of(small) {
                check(&[high, low], &[], |_, x, _| {
                    add_repeated(FrameStack::from_tensor(&x[0])?, &FrameStack::from_tensor(&x[1])?, resize)?.to_tensor()
                });
            }
        }
    }
}

#[test]
fn norms_and_attention_of_pixels_agree() {
    for channels in [3, 16, 40] {
        let gamma = weight(&[channels], 6);
        check(&[&[channels, 2, 3, 5]], &[], |device, x, _| {
            let (norm, frames) = (ChannelNorm::new(&gamma.stored(), device)?, FrameStack::from_tensor(&x[0])?);
            norm.apply(&frames)?.to_tensor()? + norm.silu(&frames.clone().into())?.to_tensor()?
        });
        check(&[&[3 * channels, 2, 3, 5]], &[], |_, x, _| {
            spatial_attention(&FrameStack::from_tensor(&x[0])?)?.to_tensor()
        });
    }
}

#[test]
fn pixels_are_the_same_bytes() {
    let _alone = alone();
    let rgb: Vec<u8> = (0..3 * 4 * 5).map(|i| (i * 37 % 256) as u8).collect();
    let gpu = device(DType::F32);
    let bytes = |device: &Device| {
        let frames = pixels::from_rgb8(&rgb, 4, 5, device).expect("a picture");
        let slice = FrameStack::grey(frames.shape(), 1, device).expect("grey");
        let mut all = frames.clone();
        all.append(slice);
        (pixels::to_rgb8(&all).expect("bytes"), frames.to_tensor().expect("a tensor").to_vec::<f32>().expect("f32"))
    };
    assert_eq!(bytes(&gpu), bytes(&Device::cpu()));
}
