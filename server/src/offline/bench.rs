//! `causeway bench`: how fast a world is on this machine: opening, text, transformer, decoder, whole chunks, pictures, and each
//! operation as a share of the most that the machine can do.
//!
//! Everything is measured once a round, in turn: what slows the machine down for a while slows all of it, and not one row.
//! The way through a socket is measured after that ([`socket`]).

pub mod report;
pub mod socket;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pipeline::Compute;
use pipeline::world::{
    Cancel, Card, ChunkInput, Controls, Frames, Held, Init, Operation, Peaks, Picture, Rollout, Size, Timings, WarmUp,
    Work, World,
};

use self::report::{Measured, Rate, Report, Row};
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

/// A short operation is done again and again for so long each round: a clock is no finer than it must be, and a thread wakes
/// late.
const TOGETHER: Duration = Duration::from_millis(2);

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
    let Peaks { units, copy } = Peaks::here();
    let mut peaks = repeated(units.into_iter().chain([copy]))?;
    let mut operations = repeated(world.operations(&init).context("preparing the operations")?)?;
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
        peaks.iter_mut().chain(&mut operations).try_for_each(Repeated::measure)?;
        let share = (began.elapsed().as_secs_f64() / request.time.as_secs_f64().max(f64::MIN_POSITIVE))
            .min((round + 1) as f64 / ROUNDS_MIN as f64)
            .min(1.0);
        progress.show((100.0 * share) as usize, Estimate::of(share, began.elapsed()));
    }
    drop(progress);
    let origin = world.origin();
    let mut rows = vec![
        Row::of("open", samples.open),
        Row::of("first chunk", samples.first_chunk),
        Row::of("chunk, window full", samples.chunk),
        Row::of("  transformer", samples.dit),
        Row::of("  decoder", samples.vae),
        Row::of("a new prompt", samples.text),
        Row::of("a frame as JPEG", samples.jpeg),
        Row::of("a frame as WebP", samples.webp),
    ];
    let best = Best::of(&peaks);
    rows.extend(peaks.into_iter().chain(operations).map(|operation| operation.row(&best)));
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
        rows,
    })
}

/// A grey picture as a file, where this world begins with one.
///
/// # Errors
/// If the world does not draw this size.
pub fn grey_picture(card: &Card, size: Option<Size>) -> anyhow::Result<Option<Vec<u8>>> {
    if !card.needs_first_frame {
        return Ok(None);
    }
    let size = card.choose_size(size)?;
    Ok(Some(pictures::jpeg(&vec![128; size.frame_bytes() as usize], size, QUALITY)?))
}

/// An operation, and what it took.
struct Repeated<'a> {
    operation: Operation<'a>,
    /// How often it is done each round.
    times: usize,
    /// Of one time.
    samples: Vec<Duration>,
}

/// Each once, which touches its memory, and once to see how often it fits into a round.
fn repeated<'a>(operations: impl IntoIterator<Item = Operation<'a>>) -> anyhow::Result<Vec<Repeated<'a>>> {
    let prepare = |mut operation: Operation<'a>| {
        operation.run(1).with_context(|| operation.name().to_owned())?;
        let began = Instant::now();
        operation.run(1).with_context(|| operation.name().to_owned())?;
        let took = began.elapsed().max(Duration::from_nanos(100));
        let times = (TOGETHER.as_secs_f64() / took.as_secs_f64()).ceil() as usize;
        Ok(Repeated { operation, times, samples: Vec::new() })
    };
    operations.into_iter().map(prepare).collect()
}

impl Repeated<'_> {
    fn measure(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.operation.run(self.times).with_context(|| self.operation.name().to_owned())?;
        self.samples.push(began.elapsed() / self.times as u32);
        Ok(())
    }

    /// Work in a second, at the median.
    fn rate(&self) -> Option<(f64, Work)> {
        let work = self.operation.work()?;
        let (Work::Operations(amount) | Work::Bytes(amount)) = work;
        let mut samples = self.samples.clone();
        samples.sort();
        Some((amount / samples.get(samples.len() / 2)?.as_secs_f64().max(f64::MIN_POSITIVE), work))
    }

    fn row(self, best: &Best) -> Row {
        let rate = self.rate().map(|(rate, work)| {
            let (unit, most) = match work {
                Work::Operations(_) => ("Gop/s", best.operations(self.operation.compute())),
                Work::Bytes(_) => ("GB/s", best.bytes),
            };
            Rate { each_second: rate / 1e9, unit: unit.to_owned(), share: rate / most.max(f64::MIN_POSITIVE) }
        });
        Row { rate, ..Row::of(self.operation.name(), self.samples) }
    }
}

/// The most that this machine was seen to do in a second, in each type that it has a unit for, and in memory.
struct Best {
    operations: Vec<(Compute, f64)>,
    bytes: f64,
}

impl Best {
    fn of(peaks: &[Repeated<'_>]) -> Best {
        let mut best = Best { operations: Vec::new(), bytes: 0.0 };
        for peak in peaks {
            match peak.rate() {
                Some((rate, Work::Operations(_))) => best.operations.push((peak.operation.compute(), rate)),
                Some((rate, Work::Bytes(_))) => best.bytes = rate,
                None => {}
            }
        }
        best
    }

    /// In this type. Where the processor has no unit for it, numbers are widened to f32, whose unit is the first.
    fn operations(&self, compute: Compute) -> f64 {
        let of_type = self.operations.iter().find(|(unit, _)| *unit == compute);
        of_type.or(self.operations.first()).map_or(0.0, |(_, rate)| *rate)
    }
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
        let rate = |name: &str| report.rows.iter().find(|row| row.name.starts_with(name))?.rate.clone();
        // The peaks are a share of themselves.
        let (f32s, copy) = (rate("f32").expect("a rate"), rate("copy").expect("a rate"));
        assert_eq!((f32s.unit.as_str(), copy.unit.as_str()), ("Gop/s", "GB/s"));
        assert!((f32s.share - 1.0).abs() < 1e-9 && (copy.share - 1.0).abs() < 1e-9, "{report}");
        assert!(rate("open").is_none());
        let chunk = report.rows.iter().find(|row| row.name == "chunk, window full").expect("a row");
        assert!(chunk.median_ms >= 20.0 && chunk.p95_ms >= chunk.median_ms, "{report}");
        assert_eq!((report.measured.size.as_str(), report.frames_a_chunk), ("128x96", 12));
    }
}
