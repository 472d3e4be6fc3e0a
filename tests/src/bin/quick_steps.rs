//! How soft a walk through the pocket world becomes when some of its chunks are drawn in fewer steps.
//!
//! The same walk from every picture of its gallery, with a change of keys each second: first in as many steps as the recipe
//! says, then with some chunks in fewer. The measure is the mean gradient, as in `pocket/training/walks.py`: the mean
//! difference of neighbouring grey levels across, plus the same down. It does not tell a tree from a stripe, so a sheet of
//! pictures is written too: look at it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use image::{RgbImage, imageops};
use pipeline::world::{Cancel, ChunkInput, Controls, GalleryItem, Held, Init, Picture, Size, World};
use tests::key_press::quantile;

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    /// Chunks of each walk; four are a second
    #[arg(long, default_value_t = 80)]
    chunks: usize,
    /// `STEPS:APART`: every so many chunks one in so many steps; `STEPS:keys`: those in which the keys change
    #[arg(long, value_delimiter = ',', default_value = "4:2,6:2,8:2,10:2")]
    settings: Vec<Setting>,
    /// Worlds of the gallery, by the beginning of their name; all if none is given
    #[arg(long, value_delimiter = ',')]
    worlds: Vec<String>,
    /// Where the sheet of pictures goes: a PNG
    #[arg(long)]
    sheet: Option<PathBuf>,
}

/// Which chunks are drawn in how many steps.
#[derive(Debug, Clone, Copy)]
struct Setting {
    steps: usize,
    /// `None`: where the keys change.
    apart: Option<usize>,
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Setting, String> {
        let read = || {
            let (steps, apart) = text.split_once(':')?;
            let apart = if apart == "keys" { None } else { Some(apart.parse().ok()?) };
            Some(Setting { steps: steps.parse().ok()?, apart })
        };
        read().ok_or_else(|| format!("{text}: STEPS:APART or STEPS:keys"))
    }
}

/// Held for a second each, in turn.
const KEYS: [&str; 10] = ["w", "wl", "w", "wj", "w", "l", "w", "wd", "", "j"];
const CHUNKS_A_SECOND: usize = 4;

impl Setting {
    fn steps(self, chunk: usize) -> Option<usize> {
        let apart = self.apart.unwrap_or(CHUNKS_A_SECOND);
        chunk.is_multiple_of(apart).then_some(self.steps).filter(|_| chunk > 0)
    }
}

/// One walk: the gradient of each chunk's last frame, that frame, and how long the chunk took.
struct Walk {
    gradients: Vec<f64>,
    frames: Vec<RgbImage>,
    took: Vec<Duration>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let world = pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu())?;
    let wanted = |item: &&GalleryItem| {
        args.worlds.is_empty() || args.worlds.iter().any(|name| item.name.starts_with(name.as_str()))
    };
    let card = world.card().clone();
    let items: Vec<_> = card.gallery.iter().filter(wanted).collect();
    let usual = items.iter().map(|item| walk(&*world, item, args.chunks, |_| None)).collect::<Result<Vec<_>>>()?;
    let usual_ms = middle(usual.iter().flat_map(|walk| walk.took.iter().copied()));
    println!("in all steps: a chunk in {usual_ms:.0} ms");
    let mut rows: Vec<Vec<&RgbImage>> = usual.iter().map(shown).collect();
    let mut walks = Vec::new();
    for &setting in &args.settings {
        let found = items
            .iter()
            .map(|item| walk(&*world, item, args.chunks, |chunk| setting.steps(chunk)))
            .collect::<Result<Vec<_>>>()?;
        walks.push((setting, found));
    }
    for (setting, found) in &walks {
        let is_quick = |chunk: usize| setting.steps(chunk).is_some();
        let parts = |walk: &Walk, part: &dyn Fn(usize) -> bool| {
            let of: Vec<f64> =
                (0..args.chunks).filter(|&chunk| part(chunk)).map(|chunk| walk.gradients[chunk]).collect();
            of.iter().sum::<f64>() / of.len() as f64
        };
        let shares: Vec<f64> =
            found.iter().zip(&usual).map(|(walk, usual)| parts(walk, &|_| true) / parts(usual, &|_| true)).collect();
        let beside: Vec<f64> = found
            .iter()
            .map(|walk| parts(walk, &is_quick) / parts(walk, &|chunk| chunk > 0 && !is_quick(chunk)))
            .collect();
        let quick_took = found.iter().flat_map(|walk| (0..args.chunks).filter(|&c| is_quick(c)).map(|c| walk.took[c]));
        let names = items.iter().zip(&shares).map(|(item, share)| format!("{} {share:.2}", item.name));
        println!(
            "{setting:?}: {:.0} ms; gradient of the walk {:.3} of that in all steps (mean), worst {:.2}; of quick chunks \
             {:.3} of the others'; {}",
            middle(quick_took),
            shares.iter().sum::<f64>() / shares.len() as f64,
            shares.iter().copied().fold(f64::INFINITY, f64::min),
            beside.iter().sum::<f64>() / beside.len() as f64,
            names.collect::<Vec<_>>().join(", ")
        );
        rows.extend(found.iter().map(shown));
    }
    if let Some(path) = &args.sheet {
        sheet(&rows, items.len()).save(path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn middle(took: impl Iterator<Item = Duration>) -> f64 {
    quantile(took.map(|took| 1000.0 * took.as_secs_f64()), 0.5)
}

fn walk(world: &dyn World, item: &GalleryItem, chunks: usize, steps: impl Fn(usize) -> Option<usize>) -> Result<Walk> {
    let picture = image::load_from_memory(&item.file).with_context(|| item.name.clone())?.into_rgb8();
    let size = Size { width: picture.width(), height: picture.height() };
    let card = world.card();
    let (sink, window) = card.choose_window(None, None)?;
    let init = Init {
        prompt: item.prompt.clone(),
        first_frame: Some(Picture { size, rgb: picture.into_raw() }),
        size: card.default_size,
        seed: 42,
        sink,
        window,
        first_chunk: None,
        condition_frames: None,
    };
    let mut rollout = world.open(init)?;
    let mut walk = Walk { gradients: Vec::new(), frames: Vec::new(), took: Vec::new() };
    for chunk in 0..chunks {
        let held = KEYS[chunk / CHUNKS_A_SECOND % KEYS.len()].chars().fold(Held::default(), Held::with);
        let controls = Some(vec![Controls::from(held); rollout.plan().latent_frames]);
        let input = ChunkInput { steps: steps(chunk), controls, ..ChunkInput::default() };
        let (began, mut last) = (Instant::now(), None);
        rollout.generate(&input, &Cancel::default(), &mut |frames| {
            let bytes = frames.size.frame_bytes() as usize;
            let rgb = frames.rgb[frames.rgb.len() - bytes..].to_vec();
            last = RgbImage::from_raw(frames.size.width, frames.size.height, rgb);
        })?;
        walk.took.push(began.elapsed());
        let last = last.context("a chunk without a frame")?;
        walk.gradients.push(gradient(&last));
        walk.frames.push(last);
    }
    Ok(walk)
}

/// The mean difference of neighbouring grey levels (Rec. 601), across and down, added.
fn gradient(picture: &RgbImage) -> f64 {
    let grey = |x: u32, y: u32| {
        let [r, g, b] = picture.get_pixel(x, y).0.map(f64::from);
        0.299 * r + 0.587 * g + 0.114 * b
    };
    let (width, height) = picture.dimensions();
    let mean = |dx: u32, dy: u32| {
        let pairs = (0..height - dy).flat_map(|y| (0..width - dx).map(move |x| (x, y)));
        let sum: f64 = pairs.map(|(x, y)| (grey(x + dx, y + dy) - grey(x, y)).abs()).sum();
        sum / f64::from((width - dx) * (height - dy))
    };
    mean(1, 0) + mean(0, 1)
}

/// Pairs of neighbours: a chunk in which keys change, and the one after it.
fn shown(walk: &Walk) -> Vec<&RgbImage> {
    let last = walk.frames.len() - 2;
    [1, 3, 6, 9, 12, 15, 18]
        .into_iter()
        .map(|second| second * CHUNKS_A_SECOND)
        .filter(|&chunk| chunk <= last)
        .flat_map(|chunk| [&walk.frames[chunk], &walk.frames[chunk + 1]])
        .collect()
}

/// For each world one row a setting, the first in all steps; twice as large.
fn sheet(rows: &[Vec<&RgbImage>], worlds: usize) -> RgbImage {
    let (width, height) = rows[0][0].dimensions();
    let settings = rows.len() / worlds;
    let mut sheet = RgbImage::new(width * rows[0].len() as u32, (height * settings as u32 + 6) * worlds as u32);
    for world in 0..worlds {
        for setting in 0..settings {
            let y = (height * settings as u32 + 6) * world as u32 + height * setting as u32;
            for (column, picture) in rows[setting * worlds + world].iter().enumerate() {
                imageops::replace(&mut sheet, *picture, (width * column as u32).into(), y.into());
            }
        }
    }
    imageops::resize(&sheet, 2 * sheet.width(), 2 * sheet.height(), imageops::FilterType::Nearest)
}
