//! Bytes and encoding time of a walk as H.264 beside JPEG, at the same likeness to what was drawn (SSIM of the luma).
//!
//! ```text
//! cargo run --release -p tests --bin film_size                                        the pocket world's walk
//! renderer --size 832x480 --path 'w*12,wl*6,w*6' --stdout | film_size --size 832x480  any frames: RGB8, one after the other
//! ```
//!
//! For each quality of JPEG it says what H.264 takes for the same likeness, between the two nearest quantisers.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use openh264::decoder::Decoder;
use pipeline::world::{Cancel, Frames, Held, Size, Step};
use server::media::h264::FrameEncoder;
use server::media::pictures::{Encoding, Format};
use tests::{mp4, pocket_walk};

#[derive(Parser)]
#[command(about = "Measure what a walk takes as H.264 beside JPEG")]
struct Args {
    /// Frames come from standard input in this size; otherwise the pocket world draws them
    #[arg(long)]
    size: Option<Size>,
    /// Chunks that the pocket world draws
    #[arg(long, default_value_t = 40)]
    chunks: usize,
}

/// What a walk took in one encoding.
#[derive(Clone, Copy)]
struct Took {
    bytes: f64,
    likeness: f64,
    each: Duration,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (size, frames) = match args.size {
        Some(size) => (size, given(size)?),
        None => drawn(args.chunks)?,
    };
    println!("{} frames of {size}", frames.len());
    let films: Vec<_> = (12..=42).step_by(2).map(|quantiser| film(&frames, size, quantiser)).collect::<Result<_>>()?;
    println!("JPEG  bytes/frame    SSIM  ms/frame   H.264 bytes/frame  ms/frame  of JPEG");
    for quality in [50, 75, 85, 92] {
        let jpeg = pictures(&frames, size, quality)?;
        let Some((bytes, each)) = at(&films, jpeg.likeness) else {
            println!("{quality:4}  {:11.0}  {:.4}  no quantiser is as like", jpeg.bytes, jpeg.likeness);
            continue;
        };
        println!(
            "{quality:4}  {:11.0}  {:.4}  {:8.2}   {bytes:17.0}  {:8.2}  {:7.2}",
            jpeg.bytes,
            jpeg.likeness,
            jpeg.each.as_secs_f64() * 1e3,
            each.as_secs_f64() * 1e3,
            bytes / jpeg.bytes
        );
    }
    Ok(())
}

fn given(size: Size) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    std::io::stdin().lock().read_to_end(&mut all)?;
    let frame = size.frame_bytes() as usize;
    ensure!(!all.is_empty() && all.len() % frame == 0, "{} bytes are not whole frames of {size}", all.len());
    Ok(all.chunks_exact(frame).map(<[u8]>::to_vec).collect())
}

/// A walk of the pocket world: ahead, with turns.
fn drawn(chunks: usize) -> Result<(Size, Vec<Vec<u8>>)> {
    let world = pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu())?;
    let card = world.card().clone();
    let size = card.default_size;
    let ahead = Held::default().with('w');
    let ask = pocket_walk::ask(&card, chunks, |chunk| if chunk % 16 < 12 { ahead } else { ahead.with('l') })?;
    let mut clip = world.clip(ask).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut frames = Vec::new();
    let mut keep = |drawn: Frames| {
        frames.extend(drawn.rgb.chunks_exact(size.frame_bytes() as usize).map(<[u8]>::to_vec));
    };
    while let Step::More(_) = clip.step(&Cancel::default(), &mut keep)? {}
    Ok((size, frames))
}

fn pictures(frames: &[Vec<u8>], size: Size, quality: u8) -> Result<Took> {
    let encoding = Encoding::new(Format::Jpeg { quality }, size, None);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let began = Instant::now();
    let mut files = Vec::new();
    for rgb in frames {
        let batches = runtime.block_on(encoding.batches(&Frames { rgb: rgb.clone(), count: 1, size }.into()))?;
        files.push(batches.into_iter().next().context("a frame gives a picture")?.payload);
    }
    let each = began.elapsed() / frames.len() as u32;
    let mut likeness = 0.0;
    for (file, rgb) in files.iter().zip(frames) {
        likeness += ssim(&luma(rgb), &luma(image::load_from_memory(file)?.into_rgb8().as_raw()), size);
    }
    let bytes = files.iter().map(|file| file.len()).sum::<usize>() as f64 / frames.len() as f64;
    Ok(Took { bytes, likeness: likeness / frames.len() as f64, each })
}

fn film(frames: &[Vec<u8>], size: Size, quantiser: u8) -> Result<Took> {
    let mut encoder = FrameEncoder::new(size, 16.0, quantiser)?;
    let began = Instant::now();
    let units = frames.iter().map(|rgb| encoder.encode(rgb)).collect::<Result<Vec<_>>>()?;
    let each = began.elapsed() / frames.len() as u32;
    let mut decoder = Decoder::new()?;
    let mut likeness = 0.0;
    for (unit, rgb) in units.iter().zip(frames) {
        let decoded = decoder.decode(&unit.annex_b)?.context("a frame was not shown")?;
        likeness += ssim(&luma(rgb), &luma(&mp4::rgb(&decoded, size).rgb), size);
    }
    let bytes = units.iter().map(|unit| unit.annex_b.len()).sum::<usize>() as f64 / frames.len() as f64;
    Ok(Took { bytes, likeness: likeness / frames.len() as f64, each })
}

/// Bytes and time at this likeness, between the two films beside it. The films become coarser.
fn at(films: &[Took], likeness: f64) -> Option<(f64, Duration)> {
    let [better, worse] = films.array_windows().find(|[a, b]| a.likeness >= likeness && likeness >= b.likeness)?;
    let share = (better.likeness - likeness) / (better.likeness - worse.likeness).max(1e-9);
    Some((
        better.bytes * (worse.bytes / better.bytes).powf(share),
        better.each.mul_f64(1.0 - share) + worse.each.mul_f64(share),
    ))
}

fn luma(rgb: &[u8]) -> Vec<f64> {
    rgb.as_chunks::<3>()
        .0
        .iter()
        .map(|&[r, g, b]| 0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b))
        .collect()
}

/// The mean structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004) over windows of 8x8, 4 apart.
fn ssim(a: &[f64], b: &[f64], size: Size) -> f64 {
    const SIDE: usize = 8;
    const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
    let (width, height) = (size.width as usize, size.height as usize);
    let (mut total, mut windows) = (0.0, 0);
    for top in (0..=height - SIDE).step_by(4) {
        for left in (0..=width - SIDE).step_by(4) {
            let [mut sum_a, mut sum_b, mut aa, mut bb, mut ab] = [0.0; 5];
            for row in top..top + SIDE {
                for (x, y) in a[row * width + left..][..SIDE].iter().zip(&b[row * width + left..][..SIDE]) {
                    sum_a += x;
                    sum_b += y;
                    aa += x * x;
                    bb += y * y;
                    ab += x * y;
                }
            }
            let count = (SIDE * SIDE) as f64;
            let (mean_a, mean_b) = (sum_a / count, sum_b / count);
            let (var_a, var_b) = (aa / count - mean_a * mean_a, bb / count - mean_b * mean_b);
            let both = ab / count - mean_a * mean_b;
            total += (2.0 * mean_a * mean_b + C1) * (2.0 * both + C2)
                / ((mean_a * mean_a + mean_b * mean_b + C1) * (var_a + var_b + C2));
            windows += 1;
        }
    }
    total / f64::from(windows)
}
