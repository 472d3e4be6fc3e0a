//! `causeway bench`: how fast a world is on this machine, without a network: opening, text, transformer, decoder, whole
//! chunks, and pictures.
//!
//! Everything is measured once a round, in turn: what slows the machine down for a while slows all of it, and not one row.

pub mod report;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pipeline::world::{
    Cancel, ChunkInput, Controls, Frames, Held, Init, Picture, Rollout, Size, Timings, WarmUp, World,
};

use self::report::{Measured, Report, Row};
use super::machine::Machine;
use super::progress::{Estimate, Progress};
use crate::media::pictures;

/// What to measure, and for how long.
#[derive(Debug)]
pub struct Request {
    /// Width and height in pixels; `None`: the world's own.
    pub size: Option<Size>,
    /// Rounds begin for so long, after the warm-up.
    pub time: Duration,
    /// Threads that compute.
    pub threads: usize,
    /// The program: version, commit, features.
    pub program: String,
    /// How long the world took to load.
    pub loaded: Duration,
}

/// Fewer tell no noise; a large model takes minutes for them.
const ROUNDS_MIN: usize = 3;

/// More narrow the noise no further than the machine allows.
const ROUNDS_MAX: usize = 1000;

/// As sessions have it that name none.
const QUALITY: u8 = 50;

/// Larger than the caches of most processors: what is measured is the memory.
const COPY_BYTES: usize = 64 << 20;

/// The prompts that take turns: a new one is encoded each round.
const PROMPTS: [&str; 2] = ["a green meadow under a blue sky", "a city at night, in the rain"];

/// The samples of each row.
#[derive(Default)]
struct Samples {
    open: Vec<Duration>,
    first_chunk: Vec<Duration>,
    chunk: Vec<Duration>,
    dit: Vec<Duration>,
    vae: Vec<Duration>,
    text: Vec<Duration>,
    jpeg: Vec<Duration>,
    webp: Vec<Duration>,
    copy: Vec<Duration>,
}

/// Measure, with progress on standard error.
///
/// # Errors
/// If the world draws no sessions, or none of this size; if it fails.
pub fn bench(world: &dyn World, request: &Request) -> anyhow::Result<Report> {
    let card = world.card();
    ensure!(
        card.clips.steerable,
        "{} draws clips alone: `causeway generate --profile-dir DIR` says where their time goes",
        card.name
    );
    let usual = WarmUp::init(card);
    let size = card.choose_size(request.size)?;
    let grey = |_| Picture { size, rgb: vec![128; size.frame_bytes() as usize] };
    let init = Init { size, first_frame: usual.first_frame.map(grey), ..usual };
    world.warm_up().context("warming up")?;
    // A session that has gone on for a while: its window is full.
    let mut walk = world.open(init.clone()).context("opening a rollout")?;
    while walk.plan().first_latent_frame < init.window {
        draw(walk.as_mut(), None)?;
    }
    let (source, mut target) = (vec![1_u8; COPY_BYTES], vec![0_u8; COPY_BYTES]);
    let mut samples = Samples::default();
    let mut frames_a_chunk = 0;
    let progress = Progress::new(100);
    let began = Instant::now();
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS_MIN && began.elapsed() >= request.time {
            break;
        }
        let opening = Instant::now();
        let mut rollout = world.open(init.clone()).context("opening a rollout")?;
        samples.open.push(opening.elapsed());
        samples.first_chunk.push(draw(rollout.as_mut(), None)?.took);
        drop(rollout);
        samples.text.push(draw(walk.as_mut(), Some(PROMPTS[round % 2]))?.timings.text);
        let chunk = draw(walk.as_mut(), None)?;
        samples.chunk.push(chunk.took);
        samples.dit.push(chunk.timings.dit);
        samples.vae.push(chunk.timings.vae);
        let frames: Vec<&[u8]> =
            chunk.frames.iter().flat_map(|batch| batch.rgb.chunks_exact(size.frame_bytes() as usize)).collect();
        frames_a_chunk = frames.len();
        samples.jpeg.push(each(&frames, |rgb| pictures::jpeg(rgb, size, QUALITY))?);
        samples.webp.push(each(&frames, |rgb| pictures::webp(rgb, size, QUALITY))?);
        let copying = Instant::now();
        target.copy_from_slice(black_box(&source));
        black_box(&mut target);
        samples.copy.push(copying.elapsed());
        let share = (began.elapsed().as_secs_f64() / request.time.as_secs_f64().max(f64::MIN_POSITIVE))
            .min((round + 1) as f64 / ROUNDS_MIN as f64)
            .min(1.0);
        progress.show((100.0 * share) as usize, Estimate::of(share, began.elapsed()));
    }
    drop(progress);
    let origin = world.origin();
    Ok(Report {
        program: request.program.clone(),
        processor: Machine::this().processor,
        measured: Measured {
            world: origin.world,
            weights: origin.weights,
            compute: origin.compute,
            size: size.to_string(),
            window: init.window,
            threads: request.threads,
        },
        frames_a_chunk,
        frames_a_second: card.fps,
        load_ms: 1000.0 * request.loaded.as_secs_f64(),
        rows: vec![
            Row::of("open", samples.open),
            Row::of("first chunk", samples.first_chunk),
            Row::of("chunk, window full", samples.chunk),
            Row::of("  transformer", samples.dit),
            Row::of("  decoder", samples.vae),
            Row::of("a new prompt", samples.text),
            Row::of("a frame as JPEG", samples.jpeg),
            Row::of("a frame as WebP", samples.webp),
            Row::of("a copy of 64 MiB", samples.copy),
        ],
    })
}

/// A chunk that was drawn.
struct Drawn {
    took: Duration,
    timings: Timings,
    frames: Vec<Frames>,
}

/// Draw a chunk with a key held, as somebody who walks.
fn draw(rollout: &mut dyn Rollout, prompt: Option<&str>) -> anyhow::Result<Drawn> {
    let held = Controls::from(Held::default().with('w'));
    let controls = Some(vec![held; rollout.plan().latent_frames]);
    let input = ChunkInput { prompt: prompt.map(str::to_owned), controls, ..ChunkInput::default() };
    let mut frames = Vec::new();
    let began = Instant::now();
    let timings = rollout.generate(&input, &Cancel::default(), &mut |batch| frames.push(batch)).context("drawing")?;
    Ok(Drawn { took: began.elapsed(), timings, frames })
}

/// The mean time that a frame takes.
fn each(frames: &[&[u8]], encode: impl Fn(&[u8]) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for rgb in frames {
        black_box(encode(rgb)?);
    }
    Ok(began.elapsed() / frames.len().max(1) as u32)
}

#[cfg(test)]
mod tests {
    use pipeline::testcard::Testcard;

    use super::*;

    fn request() -> Request {
        Request {
            size: Some(Size { width: 128, height: 96 }),
            time: Duration::ZERO,
            threads: 1,
            program: "causeway".into(),
            loaded: Duration::ZERO,
        }
    }

    #[test]
    fn every_part_is_measured_as_often_and_a_chunk_takes_as_long_as_it_took() {
        let pace = Duration::from_millis(20);
        let report = bench(&Testcard::new(pace), &request()).expect("the test card draws");
        assert!(report.rows.iter().all(|row| row.count == ROUNDS_MIN), "{report}");
        let chunk = report.rows.iter().find(|row| row.name == "chunk, window full").expect("a row");
        assert!(chunk.median_ms >= 20.0 && chunk.p95_ms >= chunk.median_ms, "{report}");
        assert_eq!((report.measured.size.as_str(), report.frames_a_chunk), ("128x96", 12));
    }
}
