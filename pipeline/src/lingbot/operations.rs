//! The operations that a chunk is made of, of a model's own shapes, to be measured one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use ops::probe::{Convolution, Probe};
use ops::{Compute, Result, pixels};

use super::camera::CameraPath;
use super::config::ModelConfig;
use super::config::transformer::TransformerConfig;
use super::memory::Memory;
use super::memory::config::MemoryConfig;
use super::nets::Nets;
use super::rollout::LingBotRollout;
use super::tensors::PATCH;
use crate::first_frame;
use crate::noise::Noise;
use crate::wan::prompt;
use crate::wan::vae::DecoderState;
use crate::wan::vae::config::VaeConfig;
use crate::world::{
    Cancel, Card, ChunkInput, Controls, Held, Init, Operation, Picture, Rollout, Size, Work, WorldError,
};

/// Tokens of a chunk, and what they look at.
#[derive(Debug, Clone, Copy)]
struct Shape {
    tokens: usize,
    /// Of the full window.
    keys: usize,
    /// Keys that lie together in memory: those of a latent frame.
    block: usize,
    /// Of a prompt.
    text: usize,
}

/// Whole parts first, then each operation of the transformer and of the decoder. On a GPU the parts alone, whose work is not
/// counted: shares are told of the processor's peak.
pub(super) fn operations<'a>(
    nets: &'a Arc<Nets>,
    card: &Card,
    init: &Init,
) -> std::result::Result<Vec<Operation<'a>>, WorldError> {
    let config = &nets.config;
    let shape = Shape::of(config, init);
    let mut all = parts(nets, card, init, shape)?;
    if nets.device.about().is_some() {
        return Ok(all);
    }
    let compute = nets.device.compute();
    let probes = transformer(&config.transformer, shape, compute)?.into_iter().chain(decoder(
        &config.vae,
        latent(config, init.size),
        compute,
    )?);
    // One by one: from an iterator of operations that live for ever a vector of shorter ones cannot be extended.
    for probe in probes {
        all.push(Operation::from(probe));
    }
    Ok(all)
}

impl Shape {
    fn of(config: &ModelConfig, init: &Init) -> Shape {
        let [rows, columns] = latent(config, init.size);
        let block = rows / 2 * (columns / 2);
        let recipe = &config.recipe;
        Shape {
            tokens: block * recipe.chunk,
            keys: block * recipe.stored_frames(init.sink, init.window),
            block,
            text: recipe.text_len,
        }
    }
}

/// Rows and columns of a latent frame.
fn latent(config: &ModelConfig, size: Size) -> [usize; 2] {
    [size.height, size.width].map(|side| side as usize / config.vae.spatial_factor())
}

fn parts<'a>(
    nets: &'a Arc<Nets>,
    card: &Card,
    init: &Init,
    shape: Shape,
) -> std::result::Result<Vec<Operation<'a>>, WorldError> {
    let config = &nets.config;
    let mut rollout = LingBotRollout::open(nets, card, init.clone(), Noise::seeded(init.seed, &nets.device))?;
    let walk = |rollout: &LingBotRollout| {
        let held = Controls::from(Held::default().with('w'));
        ChunkInput { controls: Some(vec![held; rollout.plan().latent_frames]), ..ChunkInput::default() }
    };
    while rollout.plan().first_latent_frame < init.window {
        rollout.chunk_latents(&walk(&rollout), &Cancel::default())?;
    }
    let counted = |operations: f64| nets.device.about().is_none().then_some(Work::Operations(operations));
    let work = counted(pass_operations(&config.transformer, shape));
    let input = walk(&rollout);
    let pass = Operation::new("a pass, window full", work, rollout.pass(&input)?);

    let [height, width] = latent(config, init.size);
    let clean = Noise::seeded(1, &nets.device).draw(&[config.vae.z_dim, 1, height, width])?;
    let mut stream = DecoderState::new();
    let (shapes, folded) = convolutions(&config.vae, [height, width]);
    let work = folded + shapes.iter().map(|(shape, times)| times * operations_of(*shape)).sum::<f64>();
    let mut decode = move || -> std::result::Result<(), WorldError> {
        let team = nets.denoiser.team();
        let video = team.lead(|| nets.vae.decode_over(team, &clean, &mut stream))?;
        pixels::to_rgb8(&video)?;
        Ok(())
    };
    // The first frames of a stream are fewer, and carry less.
    (0..3).try_for_each(|_| decode())?;
    let decode = Operation::new("decode a latent frame", counted(work), decode);

    let text = prompt::clean(&init.prompt);
    let text = Operation::new("encode a prompt", None, move || {
        nets.text.encode(&text)?;
        Ok(nets.device.wait()?)
    });
    let picture = init.first_frame.clone();
    let picture =
        picture.unwrap_or_else(|| Picture { size: init.size, rgb: vec![128; init.size.frame_bytes() as usize] });
    let picture = first_frame::fit(picture, init.size);
    let encode = Operation::new("encode a picture", None, move || {
        let (height, width) = (picture.size.height as usize, picture.size.width as usize);
        let frames = pixels::from_rgb8(&picture.rgb, height, width, &nets.device)?;
        nets.vae.encode(frames, 1)?;
        Ok(nets.device.wait()?)
    });
    let mut parts = vec![pass, decode, text, encode];
    if let Some(memory) = config.recipe.memory {
        parts.push(recall(nets, memory, init.size));
    }
    Ok(parts)
}

/// What a chunk that remembers costs more: three pictures, each turned a little further, are warped into its view and encoded.
fn recall(nets: &Nets, memory: MemoryConfig, size: Size) -> Operation<'_> {
    let turning = vec![Controls::from(Held::default().with('l')); 4];
    let views = CameraPath::new(&nets.config.recipe.camera, size, &nets.device).views(&turning);
    let now = [views[3]];
    let mut kept = Memory::new(memory, size);
    kept.drew(&(0..3), &views[..3]);
    (0..3).for_each(|_| kept.keep(&vec![128; size.frame_bytes() as usize]));
    Operation::new("warp and encode remembered pictures", None, move || {
        if let Some(shown) = kept.look(&(3..4), &now, 0) {
            kept.encode(&nets.vae, &shown, &nets.device)?;
        }
        Ok(nets.device.wait()?)
    })
}

/// Multiplications and additions of a pass, without those that are as many as numbers.
fn pass_operations(config: &TransformerConfig, shape: Shape) -> f64 {
    let Shape { tokens, keys, text, .. } = shape;
    let width = config.width();
    // Queries, keys, values and output of self-attention, queries and output of the prompt's, the feed-forward's two.
    let linear = tokens * (6 * width * width + 2 * width * config.ffn_dim);
    let attention = 2 * tokens * (keys + text) * width;
    let ends = 2 * tokens * PATCH * config.out_channels * width;
    2.0 * (config.num_layers as f64 * (linear + attention) as f64 + ends as f64)
}

/// What enters and leaves the blocks is computed in f32, their layers in `compute`.
fn transformer(config: &TransformerConfig, shape: Shape, compute: Compute) -> Result<Vec<Probe>> {
    let Shape { tokens, keys, block, text } = shape;
    let (width, inner) = (config.width(), config.ffn_dim);
    let (heads, head) = (config.num_attention_heads, config.attention_head_dim);
    let patch = PATCH * config.out_channels;
    let mut probes = vec![
        Probe::linear([tokens, width, width], compute)?,
        Probe::linear([tokens, width, inner], compute)?,
        Probe::linear([tokens, inner, width], compute)?,
        Probe::linear([tokens, patch, width], Compute::F32)?,
        Probe::linear([tokens, width, patch], Compute::F32)?,
        Probe::attention([tokens, keys, block], [heads, head], compute)?,
        Probe::attention([tokens, text, text], [heads, head], Compute::F32)?,
    ];
    probes.extend(Probe::of_rows(tokens, width, inner, head)?);
    probes.push(Probe::softmax(tokens, keys)?);
    Ok(probes)
}

/// The first and the last convolution are computed in f32, bytes in none.
fn decoder(config: &VaeConfig, latent: [usize; 2], compute: Compute) -> Result<Vec<Probe>> {
    let [height, width] = latent;
    let (shapes, _) = convolutions(config, latent);
    let compute = if compute == Compute::Bf16 { compute } else { Compute::F32 };
    let is_outer = |shape: &Convolution| shape.inputs == config.z_dim || shape.outputs == config.picture_channels();
    let probe = |shape: &Convolution| Probe::convolution(*shape, if is_outer(shape) { Compute::F32 } else { compute });
    let mut probes = shapes.keys().map(probe).collect::<Result<Vec<_>>>()?;
    let widest = config.decoder_levels().first().map_or(config.base_dim, |level| level.channels_in);
    probes.push(Probe::spatial_attention(height, width, widest));
    // Where the picture is largest, so is the norm.
    if let Some(last) = shapes.keys().max_by_key(|shape| shape.height * shape.width) {
        probes.push(Probe::channel_norm(last.height, last.width, last.inputs)?);
    }
    Ok(probes)
}

fn operations_of(shape: Convolution) -> f64 {
    let Convolution { height, width, inputs, outputs, frames, side } = shape;
    2.0 * (height * width * inputs * outputs * frames * side * side) as f64
}

/// Each shape of the decoder's convolutions, and how often a latent frame that is not the first takes it; and what those
/// multiply and add that double a picture: each of their output pixels sees 2×2 taps, 4/9 of a 3×3.
fn convolutions(config: &VaeConfig, latent: [usize; 2]) -> (BTreeMap<Convolution, f64>, f64) {
    let [mut height, mut width] = latent;
    let mut all: BTreeMap<Convolution, f64> = BTreeMap::new();
    // Frames that one latent frame has become so far.
    let (mut pictures, mut folded) = (1.0, 0.0);
    let mut add = |height, width, [inputs, outputs]: [usize; 2], [frames, side]: [usize; 2], times: f64| {
        *all.entry(Convolution { height, width, inputs, outputs, frames, side }).or_default() += times;
    };
    let levels = config.decoder_levels();
    let widest = levels[0].channels_in;
    add(height, width, [config.z_dim, widest], [3, 3], 1.0);
    add(height, width, [widest, widest], [3, 3], 4.0);
    add(height, width, [widest, 3 * widest], [1, 1], 1.0);
    add(height, width, [widest, widest], [1, 1], 1.0);
    let mut last = widest;
    for level in &levels {
        let (given, channels) = (level.channels_in, level.channels);
        add(height, width, [given, channels], [3, 3], pictures);
        if given != channels {
            add(height, width, [given, channels], [1, 1], pictures);
        }
        add(height, width, [channels, channels], [3, 3], pictures * (2 * config.num_res_blocks + 1) as f64);
        if level.doubles_time {
            add(height, width, [channels, channels], [3, 1], 2.0 * pictures);
            pictures *= 2.0;
        }
        if level.doubles_size {
            (height, width) = (2 * height, 2 * width);
            folded += pictures * 2.0 * (height * width * channels * level.channels_behind(config) * 4) as f64;
        }
        last = channels;
    }
    add(height, width, [last, config.picture_channels()], [3, 3], pictures);
    (all, folded)
}
