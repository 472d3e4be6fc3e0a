//! A GPU held to the processor: each operation, then blocks of a user's own checkpoint, then a chunk.

use std::fmt;
use std::time::{Duration, Instant};

pub use ops::Choice;
pub use ops::check::{Row, Scale, Start, at_start, check, products};
use ops::{Device, Tensor};

use crate::load::error::LoadError;
use crate::load::family::Family;
use crate::load::model_dir::ModelDir;
use crate::world::{Cancel, ChunkInput, ClipAsk, Controls, Held, Step, Timings, WarmUp, World, WorldError};
use crate::{cosmos3, lingbot, load_world};

/// A part of a model, computed on both.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Which one.
    pub name: String,
    /// What it was given.
    pub shape: String,
    /// Root mean square of the difference, as a share of that of the processor's result.
    pub off: f64,
    /// The largest share at which they agree.
    pub bound: f64,
    /// The device's time.
    pub time: Duration,
}

/// A chunk that the device drew of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Its size, and how many video frames it has.
    pub shape: String,
    /// From its inputs to its last pixels.
    pub took: Duration,
    /// The device's own time for it.
    pub timings: Timings,
    /// Video frames.
    pub frames: usize,
    /// Peak signal-to-noise ratio beside the same chunk of the processor, in decibels. `None`: the model is too large for it.
    pub psnr: Option<f64>,
}

/// Why a model was not compared.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It does not draw.
    #[error(transparent)]
    World(#[from] WorldError),
}

impl Part {
    /// Does the device give what the processor gives, but for the rounding of its numbers?
    pub fn agrees(&self) -> bool {
        self.off <= self.bound
    }
}

/// A chunk in bf16 is further from one in f32 than pixels are rounded, and nearer than two videos are: 24 dB were measured of the
/// least of models, over 30 of larger ones.
const PSNR_LEAST: f64 = 20.0;

/// Numbers of a transformer that the processor draws a chunk with in less than a minute.
const SMALL: u64 = 100_000_000;

impl Chunk {
    /// Are its pictures those of the processor, as far as that was asked?
    pub fn agrees(&self) -> bool {
        self.psnr.is_none_or(|psnr| psnr >= PSNR_LEAST)
    }
}

/// The first, the middle and the last block or layer of the transformer in `dir` on `device`, a GPU, against the processor. `tell` is given
/// each as soon as it is known.
pub fn blocks(dir: &ModelDir, device: &Device, mut tell: impl FnMut(&Part)) -> Result<Vec<Part>, ModelError> {
    match Family::of(dir)? {
        Family::LingBotWorld => Ok(lingbot::check::blocks(dir, device, &mut tell)?),
        Family::Cosmos3 => Ok(cosmos3::check::layers(dir, device, &mut tell)?),
    }
}

/// The first, the middle and the last of `count` parts, each called `word`. `run` computes one on a device: what it gives, and the
/// device's time for it.
pub(crate) fn compare(
    (word, count): (&str, usize),
    device: &Device,
    tell: &mut dyn FnMut(&Part),
    run: impl Fn(&Device, usize) -> Result<(Tensor, Duration), LoadError>,
) -> Result<Vec<Part>, LoadError> {
    let last = count - 1;
    let mut indices = vec![0, last / 2, last];
    indices.dedup();
    let compared = indices.into_iter().map(|index| {
        let (expected, _) = run(&Device::cpu(), index)?;
        let (found, time) = run(device, index)?;
        let (name, shape) = (format!("{word} {index} of {count}"), format!("{:?}", found.dims()));
        let part = Part { name, shape, off: off(&found.to_f64()?, &expected.to_f64()?), bound: bound(device), time };
        tell(&part);
        Ok(part)
    });
    compared.collect()
}

/// What bf16 may be off by at the end of a block of some twenty operations, each of which rounds to 1/256: errors add up as
/// squares do, and a residual keeps what came before. In f32 only sums are in another order.
fn bound(device: &Device) -> f64 {
    if device.keeping().bytes == 4 { 1e-4 } else { 1.0 / 32.0 }
}

/// Root mean square of the difference, over that of what was expected. A NaN is as far off as anything.
fn off(found: &[f64], expected: &[f64]) -> f64 {
    let square = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>();
    let difference = square(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let off = (difference / square(&mut expected.iter().copied()).max(f64::MIN_POSITIVE)).sqrt();
    if off.is_nan() { f64::INFINITY } else { off }
}

/// The second chunk of a usual session of the model in `dir`, or a picture of one that draws clips: drawn on `device` and, if the
/// model is small, on the processor.
pub fn chunk(dir: &ModelDir, device: &Device) -> Result<Chunk, ModelError> {
    let is_small = match Family::of(dir)? {
        Family::LingBotWorld => lingbot::check::parameters(dir)? <= SMALL,
        Family::Cosmos3 => cosmos3::check::parameters(dir)? <= SMALL,
    };
    let (mut drawn, rgb) = draw(dir, device)?;
    if is_small {
        let (_, expected) = draw(dir, &Device::cpu())?;
        drawn.psnr = Some(psnr(&rgb, &expected));
    }
    Ok(drawn)
}

fn draw(dir: &ModelDir, device: &Device) -> Result<(Chunk, Vec<u8>), ModelError> {
    let world = load_world(dir, device)?;
    if Family::of(dir)? == Family::Cosmos3 {
        return draw_picture(&*world);
    }
    let init = WarmUp::init(world.card());
    let size = init.size;
    let mut rollout = world.open(init)?;
    let mut rgb = Vec::new();
    // The second one has the frames of all later ones, and memory that was asked for before.
    for index in 0..2 {
        let plan = rollout.plan();
        let held = Controls::from(Held::default().with('w'));
        let input = ChunkInput { controls: Some(vec![held; plan.latent_frames]), ..ChunkInput::default() };
        let (began, mut frames) = (Instant::now(), 0);
        let timings = rollout.generate(&input, &Cancel::default(), &mut |drawn| {
            frames += drawn.count;
            rgb.extend(drawn.rgb);
        })?;
        if index == 1 {
            let shape = format!("{} frames of {size}", frames);
            return Ok((Chunk { shape, took: began.elapsed(), timings, frames, psnr: None }, rgb));
        }
    }
    unreachable!("the second chunk is returned")
}

fn draw_picture(world: &dyn World) -> Result<(Chunk, Vec<u8>), ModelError> {
    let mut init = WarmUp::init(world.card());
    init.size = world.card().clips.picture_size;
    let shape = format!("a picture of {}", init.size);
    let began = Instant::now();
    let mut clip = world.clip(ClipAsk::new(init, 1, Vec::new()))?;
    let (mut rgb, mut timings) = (Vec::new(), Timings::default());
    loop {
        let step = clip.step(&Cancel::default(), &mut |frames| rgb.extend(frames.rgb))?;
        timings += step.timings();
        if let Step::Done(_) = step {
            return Ok((Chunk { shape, took: began.elapsed(), timings, frames: 1, psnr: None }, rgb));
        }
    }
}

/// Peak signal-to-noise ratio in decibels; infinite for the same bytes, negative for videos of different lengths.
fn psnr(one: &[u8], other: &[u8]) -> f64 {
    if one.len() != other.len() {
        return f64::NEG_INFINITY;
    }
    let squares: f64 = one.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    20.0 * 255f64.log10() - 10.0 * (squares / one.len().max(1) as f64).log10()
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Part { name, shape, off, bound, time } = self;
        let told = if self.agrees() { "agrees" } else { "WRONG" };
        let ms = time.as_secs_f64() * 1e3;
        write!(f, "{name:<24} {shape:<30} {told:<6} {:>8.3} of the bound {ms:>10.3} ms", off / bound)
    }
}

impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Chunk { shape, took, timings, frames, psnr } = self;
        let seconds = took.as_secs_f64();
        let told = if self.agrees() { "drawn" } else { "WRONG" };
        write!(
            f,
            "{:<24} {shape:<30} {told:<6} {seconds:.3} s, {:.1} frames a second",
            "a chunk",
            *frames as f64 / seconds
        )?;
        let device = [timings.dit, timings.vae].map(|time| time.as_secs_f64());
        write!(f, "; the device {:.3} s for the transformer, {:.3} s for the decoder", device[0], device[1])?;
        match psnr {
            Some(psnr) => write!(f, "; {psnr:.1} dB beside the processor's"),
            None => write!(f, "; too large to be drawn on the processor, too"),
        }
    }
}
