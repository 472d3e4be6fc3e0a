//! Every operation that models call, and what a check gives it.

use super::{Apply, Case, Make, Scale, made_numbers};
use crate::activation::{Activation, gelu_tanh, relu_squared, silu, swiglu};
use crate::attention::{Heads, attention, causal_attention, grouped_attention};
use crate::channel_norm::ChannelNorm;
use crate::channels::{restore, standardise};
use crate::conv::Conv;
use crate::cuda::fast_attention;
use crate::flow::{along_flow, renoise, weighted_sum};
use crate::norm::{layer_norm, layer_norm_modulate, rms_norm};
use crate::patch::{patchify, unpatchify};
use crate::relative_attention::{DistanceTable, relative_attention};
use crate::residual::{add_gated, add_to_rows_from, scale_shift};
use crate::rope::{Grid, Rotary};
use crate::rope_halves::HalvesRotary;
use crate::shortcut::{Resize, add_averaged, add_repeated};
use crate::spatial_attention::spatial_attention;
use crate::{DType, Device, FrameStack, Linear, Result, Stored, Tensor, Then, pixels};

/// Tokens of a latent frame, down and across; heads of 128; the width inside the feed-forward.
fn transformer(scale: Scale) -> ((usize, usize), usize, usize) {
    match scale {
        Scale::Small => ((3, 4), 1, 72),
        Scale::Brief => ((10, 13), 2, 264),
        Scale::Real => ((30, 52), 12, 8960),
    }
}

/// Rows, and inputs and outputs of the layers of a transformer.
pub(super) fn products(scale: Scale) -> (usize, [[usize; 2]; 3]) {
    let ((rows, columns), heads, inner) = transformer(scale);
    let width = 128 * heads;
    (rows * columns, [[width, width], [width, inner], [inner, width]])
}

/// A dense layer with made weights.
pub(super) fn layer(device: &Device, inputs: usize, outputs: usize) -> Result<Linear> {
    let (weight, bias) = (Made::new(&[outputs, inputs], 7), Made::new(&[outputs], 8));
    Linear::new(&weight.stored()?, Some(&bias.stored()?), device)
}

pub(super) fn cases(scale: Scale) -> Vec<Case> {
    let (grid, heads, inner) = transformer(scale);
    // Tokens of a prompt; pixels of a level of the autoencoder.
    let (text, side) = match scale {
        Scale::Small => (5, (6, 8)),
        Scale::Brief => (77, (10, 14)),
        Scale::Real => (512, (60, 104)),
    };
    let (tokens, width) = (grid.0 * grid.1, heads * 128);
    let channels = match scale {
        Scale::Small => 16,
        Scale::Brief => 40,
        Scale::Real => 384,
    };
    let operations = |rows: usize, inputs: usize, outputs: usize| 2 * (rows * inputs * outputs) as u64;
    let mut cases = Vec::new();
    let mut add = |operation, inputs: &[&[usize]], vectors: &[&[usize]], operations, on: Make| {
        let shapes = |shapes: &[&[usize]]| shapes.iter().map(|shape| shape.to_vec()).collect();
        let (inputs, vectors) = (shapes(inputs), shapes(vectors));
        cases.push(Case { operation, inputs, vectors, on, operations, replaceable: None });
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
    let turn_normed: Make = Box::new(move |device| {
        let rotary = Rotary::new(place, 128, device)?;
        Ok(Box::new(move |x, v| rotary.apply_to_normed(&x[0], &v[0], 1e-6)))
    });
    add("RMS norm and positions", &[wide], &[vector], 0, turn_normed);
    add("gated sum", &[wide, wide], &[vector], 0, plain(|x, v| add_gated(&x[0], &x[1], &v[0])));
    add("scale and shift", &[wide; 3], &[], 0, plain(|x, _| scale_shift(&x[0], &x[1], &x[2])));
    add("SiLU", &[wide], &[], 0, plain(|x, _| silu(&x[0])));
    add("GELU", &[&[tokens, inner]], &[], 0, plain(|x, _| gelu_tanh(&x[0])));
    for (operation, inputs, outputs) in [("dense layer", width, inner), ("dense layer back", inner, width)] {
        let made: Make = Box::new(move |device| {
            let layer = layer(device, inputs, outputs)?;
            Ok(Box::new(move |x, _| layer.apply(&x[0])))
        });
        add(operation, &[&[tokens, inputs]], &[], operations(tokens, inputs, outputs), made);
    }
    let activated: Make = Box::new(move |device| {
        let layer = layer(device, width, inner)?;
        Ok(Box::new(move |x, _| layer.apply_then(&x[0], Then::Activate(Activation::GeluTanh))))
    });
    add("dense layer and GELU", &[wide], &[], operations(tokens, width, inner), activated);
    let gated: Make = Box::new(move |device| {
        let layer = layer(device, inner, width)?;
        Ok(Box::new(move |x, v| {
            let gated = layer.apply_then(&x[1], Then::AddGated(&x[0], &v[0]))?;
            layer.apply_then(&x[1], Then::Add(&gated))
        }))
    });
    let narrow: &[usize] = &[tokens, inner];
    add("dense layer, gated, added", &[wide, narrow], &[vector], 2 * operations(tokens, inner, width), gated);
    let see = plain(move |x, _| attention(&x[0], &[&x[1], &x[3]], &[&x[2], &x[4]], heads));
    add("attention to the window", &[wide; 5], &[], 2 * operations(tokens, width, 2 * tokens), see);
    let prompt: &[usize] = &[text, width];
    let read = plain(move |x, _| attention(&x[0], &[&x[1]], &[&x[2]], heads));
    add("attention to the prompt", &[wide, prompt, prompt], &[], 2 * operations(tokens, width, text), read);
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
    add("causal convolution", &[pixels], &[], operations(area, 6 * 9 * channels, channels), conv);
    let double: Make = Box::new(move |device| {
        let (weight, bias) = (Made::new(&[channels / 2, channels, 3, 3], 11), Made::new(&[channels / 2], 12));
        let conv = Conv::upsampling(&weight.stored()?, &bias.stored()?, device)?;
        Ok(Box::new(move |x, _| conv.apply(&FrameStack::from_tensor(&x[0])?.bordered(), None)?.to_tensor()))
    });
    add("doubling convolution", &[pixels], &[], operations(3 * area, 16 * channels, channels / 2), double);
    let norm: Make = Box::new(move |device| {
        let norm = ChannelNorm::new(&Made::new(&[channels], 13).stored()?, device)?;
        Ok(Box::new(move |x, _| norm.silu(&FrameStack::from_tensor(&x[0])?.into())?.to_tensor()))
    });
    add("norm over channels", &[pixels], &[], 0, norm);
    let small: &[usize] = &[3 * channels, 1, side.0 / 2, side.1 / 2];
    let see = plain(|x, _| spatial_attention(&FrameStack::from_tensor(&x[0])?)?.to_tensor());
    add("attention of pixels", &[small], &[], 2 * operations(area / 4, channels, area / 4), see);
    let rgb: Vec<u8> = (0..3 * area).map(|i| (i * 37 % 251) as u8).collect();
    let bytes: Make = Box::new(move |device| {
        let rgb = rgb.clone();
        let device = device.clone();
        // Through bf16 and back a byte may be one less, and no more.
        Ok(Box::new(move |_, _| {
            let bytes = pixels::to_rgb8(&pixels::from_rgb8(&rgb, side.0, side.1, &device)?)?;
            Tensor::from_vec(bytes.into_iter().map(f32::from).collect(), [3 * area], &Device::cpu())
        }))
    });
    add("pixels", &[], &[], 0, bytes);
    let norms: [f32; 3] = [0.1, -0.3, 0.7];
    let three: &[usize] = &[3, 1, side.0, side.1];
    let standard = plain(move |x, _| restore(&standardise(&x[0], &norms, &[1.0, 2.0, 0.5])?, &norms, &[0.5, 1.0, 2.0]));
    add("standardised channels", &[three], &[], 0, standard);
    let halve: Make = Box::new(move |device| {
        let (weight, bias) = (Made::new(&[channels, channels, 3, 3], 14), Made::new(&[channels], 15));
        let conv = Conv::downsampling(&weight.stored()?, &bias.stored()?, device)?;
        Ok(Box::new(move |x, _| {
            let frames = FrameStack::from_tensor(&x[0])?;
            conv.apply(&if conv.border() == 1 { frames.bordered() } else { frames }, None)?.to_tensor()
        }))
    });
    add("halving convolution", &[pixels], &[], operations(3 * area / 4, 9 * channels, channels), halve);
    let heads64 = Heads { queries: 4, keys: 2 };
    let (queries, keys): (&[usize], &[usize]) = (&[tokens, 4 * 64], &[tokens, 2 * 64]);
    let grouped = plain(move |x, _| grouped_attention(&x[0], &[&x[1]], &[&x[2]], heads64));
    add("attention in groups", &[queries, keys, keys], &[], 2 * operations(tokens, 256, tokens), grouped);
    let causal = plain(move |x, _| causal_attention(&x[0], &x[1], &x[2], heads64));
    add("causal attention", &[queries, keys, keys], &[], operations(tokens, 256, tokens), causal);
    let two: &[usize] = &[tokens, 96];
    let narrow = plain(move |x, _| attention(&x[0], &[&x[1]], &[&x[2]], 2));
    add("attention of 48", &[two; 3], &[], 2 * operations(tokens, 96, tokens), narrow);
    let text_rows: &[usize] = &[text, 256];
    let relative: Make = Box::new(move |_| {
        let table = Made::new(&[32, 4], 16);
        let table = DistanceTable::new(&table.stored()?)?;
        Ok(Box::new(move |x, _| {
            let bias = table.for_rows(text, |distance| distance.unsigned_abs() * 3 % 32);
            relative_attention(&x[0], &x[1], &x[2], &bias)
        }))
    });
    add("attention by distance", &[text_rows; 3], &[], 2 * operations(text, 256, text), relative);
    let angles: Vec<f32> = (0..tokens * 32).map(|i| i as f32 * 0.37).collect();
    let halves: Make = Box::new(move |device| {
        let rotary = HalvesRotary::new(&angles, 32, device)?;
        Ok(Box::new(move |x, v| rotary.apply(&rotary.apply_to_normed(&x[0], &v[0], 1e-6)?)))
    });
    add("positions by halves", &[queries], &[&[64]], 0, halves);
    add("SwiGLU", &[queries; 2], &[], 0, plain(|x, _| swiglu(&x[0], &x[1])));
    add("squared ReLU", &[queries], &[], 0, plain(|x, _| relu_squared(&x[0])));
    add("a row added", &[wide], &[vector], 0, plain(move |x, v| add_to_rows_from(&x[0], tokens / 3, &v[0])));
    let sum = plain(|x, _| weighted_sum(&[(0.5, &x[0]), (-1.25, &x[1]), (2.0, &x[2])]));
    add("weighted sum", &[latent; 3], &[], 0, sum);
    let (block, large) = (Resize { time: 2, side: 2 }, [channels, 3, side.0, side.1]);
    let averaged = plain(move |x, _| {
        add_averaged(FrameStack::from_tensor(&x[0])?, &FrameStack::from_tensor(&x[1])?, block)?.to_tensor()
    });
    add("averaging shortcut", &[&[channels, 2, side.0 / 2, side.1 / 2], &large], &[], 0, averaged);
    let repeated = plain(move |x, _| {
        add_repeated(FrameStack::from_tensor(&x[0])?, &FrameStack::from_tensor(&x[1])?, block)?.to_tensor()
    });
    add("repeating shortcut", &[&large, &[channels, 2, side.0 / 2, side.1 / 2]], &[], 0, repeated);
    // The kernel of each width of heads can be put aside.
    let widths = [
        ("attention to the window", 128),
        ("attention to the prompt", 128),
        ("attention in groups", 64),
        ("causal attention", 64),
        ("attention by distance", 64),
        ("attention of 48", 48),
    ];
    for case in &mut cases {
        let width = widths.iter().find(|(operation, _)| *operation == case.operation);
        case.replaceable = width.and_then(|(_, width)| fast_attention(*width));
    }
    cases
}

/// An operation without weights.
fn plain(apply: impl Fn(&[Tensor], &[Tensor]) -> Result<Tensor> + Clone + 'static) -> Make {
    Box::new(move |_| Ok(Box::new(apply.clone()) as Apply))
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
