//! What a type costs in pictures: walks of the pocket world in each type beside what the renderer draws along the same path.
//!
//! ```text
//! cargo run --release -p tests --bin likeness
//! ```
//!
//! A walk begins with the renderer's own picture and prompt, in a world of a seed that training never saw, from noise of its own
//! that all types share. It prints the mean decibels to the truth some frames ahead, and by how much a type differs from f32 on the
//! same walk: mean, and the standard error of that mean.

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use pipeline::world::{Cancel, ChunkInput, Controls, Init, Picture, Size};
use pipeline::{Compute, Device};
use renderer::{Biome, Clip, Intrinsics, Look, Step, Time, Weather, World};
use server::offline::action_script;

#[derive(Parser)]
#[command(about = "Measure what a type costs in pictures, against the renderer's truth")]
struct Args {
    /// Walks through each of the eight biomes
    #[arg(long, default_value_t = 4)]
    walks: usize,
    /// Types beside f32
    #[arg(long, value_delimiter = ',', default_value = "bf16,int8")]
    compute: Vec<String>,
}

/// Worlds that training never saw are counted from here (`pocket/training/data.py`).
const HELD_OUT: u64 = 1_000_000_000;

/// Held keys, in the latent frames after the first: the walks take turns.
const PATHS: [&str; 4] = ["w*12", "wl*6,w*6", "j*4,w*8", "w*4,wj*4,s*4"];

/// Frames ahead at which the evaluation of the pocket world measures.
const AHEAD: [usize; 4] = [4, 8, 16, 48];

/// A walk as the renderer draws it.
struct Walk {
    seed: u64,
    path: &'static str,
    prompt: String,
    frames: Vec<Vec<u8>>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let names = args.compute.iter().map(|name| name.parse().map_err(|()| anyhow!("--compute {name:?} is no type")));
    let types = names.collect::<Result<Vec<Compute>>>()?;
    let walks = truth(args.walks)?;
    ensure!(!walks.is_empty(), "--walks is at least 1");
    let plain = likeness(Compute::F32, &walks)?;
    println!(
        "{} walks, dB to the renderer's picture, frames ahead: {AHEAD:?}, and the mean of all frames",
        walks.len()
    );
    println!("{:5} {}", "f32", row(&columns(&plain)));
    for compute in types {
        let found = likeness(compute, &walks)?;
        println!("{:5} {}", compute.to_string(), row(&columns(&found)));
        let off: Vec<_> = columns(&found)
            .iter()
            .zip(columns(&plain))
            .map(|(found, plain)| found.iter().zip(plain).map(|(a, b)| a - b).collect::<Vec<f64>>())
            .collect();
        let told = off.iter().map(|off| format!("{:+7.3} ± {:.3}", mean(off), standard_error(off)));
        println!("      less f32, walk by walk: {}", told.collect::<Vec<_>>().join("  "));
    }
    Ok(())
}

/// The pocket world's own size and lens.
fn truth(each: usize) -> Result<Vec<Walk>> {
    let lens = Intrinsics::from_fov(96, 64, 75.0)?;
    let mut walks = Vec::new();
    for (number, &biome) in Biome::ALL.iter().enumerate() {
        for walk in 0..each {
            let look = Look { biome, time: Time::ALL[(number + walk) % Time::ALL.len()], weather: Weather::Clear };
            let (seed, path) = (HELD_OUT + (number * each + walk) as u64, PATHS[walk % PATHS.len()]);
            let clip = Clip::walk(&World::new(seed, look), lens, 2, Step::default().parse(path)?, 24);
            let prompt = clip.scenes.first().context("a walk shows a world")?.prompt.clone();
            walks.push(Walk { seed, path, prompt, frames: clip.frames });
        }
    }
    Ok(walks)
}

/// The decibels of each frame of each walk, drawn in this type.
fn likeness(compute: Compute, walks: &[Walk]) -> Result<Vec<Vec<f64>>> {
    let world = pipeline::load_world(&server::pocket::dir(), &Device::cpu_in(compute))?;
    let card = world.card().clone();
    let (sink, window) = card.choose_window(None, None)?;
    let size = Size { width: 96, height: 64 };
    ensure!(
        card.default_size == size && card.chunk == 1,
        "the world that ships draws {size}, a latent frame at a time"
    );
    let mut all = Vec::new();
    for walk in walks {
        let mut rollout = world.open(Init {
            prompt: walk.prompt.clone(),
            first_frame: Some(Picture { size, rgb: walk.frames[0].clone() }),
            size,
            seed: walk.seed,
            sink,
            window,
            first_chunk: None,
            condition_frames: None,
        })?;
        let mut drawn = Vec::new();
        let held = action_script::parse(&format!("-,{}", walk.path)).map_err(anyhow::Error::msg)?;
        for held in held {
            let input = ChunkInput { controls: Some(vec![Controls::from(held)]), ..ChunkInput::default() };
            rollout.generate(&input, &Cancel::default(), &mut |frames| drawn.extend(frames.rgb))?;
        }
        ensure!(drawn.len() == walk.frames.len() * size.frame_bytes() as usize, "as many frames as the truth has");
        all.push(drawn.chunks(size.frame_bytes() as usize).zip(&walk.frames).map(|(a, b)| decibels(a, b)).collect());
    }
    Ok(all)
}

/// Of each walk the frames of `AHEAD`, then the mean of all that were drawn.
fn columns(walks: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let ahead = AHEAD.iter().map(|frame| walks.iter().map(|walk| walk[*frame]).collect());
    ahead.chain([walks.iter().map(|walk| mean(&walk[1..])).collect()]).collect()
}

fn row(columns: &[Vec<f64>]) -> String {
    columns.iter().map(|column| format!("{:7.3}", mean(column))).collect::<Vec<_>>().join(" ")
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

fn standard_error(numbers: &[f64]) -> f64 {
    let (mean, count) = (mean(numbers), numbers.len() as f64);
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    (squares / (count - 1.0).max(1.0) / count).sqrt()
}

fn decibels(one: &[u8], other: &[u8]) -> f64 {
    let squares: f64 = one.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    20.0 * 255f64.log10() - 10.0 * (squares / one.len() as f64).max(1e-9).log10()
}
