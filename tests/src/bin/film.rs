//! Makes the film that README shows: the pictures that `causeway generate` drew, enlarged, with the keys that were held.
//!
//! ```sh
//! causeway generate --image pocket/weights/first_frames/autumn.png --out pictures \
//!     --prompt "an autumn forest with orange trees at noon, near a pagoda" --actions 'w*12,wl*5,w*8,j*6,w*9'
//! cargo run -p tests --bin film -- --pictures pictures --actions 'w*12,wl*5,w*8,j*6,w*9' --out docs/walk.webp
//! ```

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use pipeline::world::{FRAMES_PER_LATENT, Size};
use server::media::webp_animation::Animation;
use server::offline::action_script;
use server::whole_file::Existing;

#[derive(Parser)]
#[command(about = "Enlarge numbered pictures, draw the held keys over them, and write an animated WebP")]
struct Args {
    /// A directory of numbered pictures, as `causeway generate --out DIR` writes it
    #[arg(long)]
    pictures: PathBuf,
    /// What was held, as it was given to `causeway generate`
    #[arg(long, allow_hyphen_values = true)]
    actions: String,
    /// How many times larger the film is than the pictures
    #[arg(long, default_value_t = 3)]
    enlarge: u32,
    #[arg(long, default_value_t = 16)]
    fps: u32,
    #[arg(long)]
    out: PathBuf,
}

/// The keys as they lie on a keyboard: key, column and row of its cap, and what stands on the cap, five by five dots.
const CAPS: [(char, u32, u32, [u8; 5]); 8] = [
    ('w', 1, 0, [0b10001, 0b10001, 0b10101, 0b11011, 0b10001]),
    ('a', 0, 1, [0b01110, 0b10001, 0b11111, 0b10001, 0b10001]),
    ('s', 1, 1, [0b01111, 0b10000, 0b01110, 0b00001, 0b11110]),
    ('d', 2, 1, [0b11110, 0b10001, 0b10001, 0b10001, 0b11110]),
    ('i', 1, 0, [0b00100, 0b01110, 0b10101, 0b00100, 0b00100]),
    ('j', 0, 1, [0b00100, 0b01000, 0b11111, 0b01000, 0b00100]),
    ('k', 1, 1, [0b00100, 0b00100, 0b10101, 0b01110, 0b00100]),
    ('l', 2, 1, [0b00100, 0b00010, 0b11111, 0b00010, 0b00100]),
];

/// Sides of a cap, of the step from one cap to the next, and of the margin at the film's edge, in pixels of the film.
const CAP: u32 = 16;
const STEP: u32 = 18;
const MARGIN: u32 = 6;

const HELD: Rgb<u8> = Rgb([240, 179, 90]);
const FREE: Rgb<u8> = Rgb([30, 36, 48]);
const INK_HELD: Rgb<u8> = Rgb([24, 20, 12]);
const INK_FREE: Rgb<u8> = Rgb([200, 206, 216]);

fn main() -> Result<()> {
    let args = Args::parse();
    let held = action_script::parse(&args.actions).map_err(anyhow::Error::msg).context("--actions")?;
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&args.pictures)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "png"));
    files.sort();
    ensure!(!files.is_empty(), "{} holds no PNG files", args.pictures.display());

    let mut film: Option<Animation> = None;
    for (index, file) in files.iter().enumerate() {
        let picture = image::open(file).with_context(|| file.display().to_string())?.into_rgb8();
        let size = Size { width: picture.width() * args.enlarge, height: picture.height() * args.enlarge };
        let mut frame = resize(&picture, size.width, size.height, FilterType::CatmullRom);
        let held = held.get(index.div_ceil(FRAMES_PER_LATENT)).copied().unwrap_or_default();
        for (key, column, row, dots) in CAPS {
            let left = if "wasd".contains(key) { MARGIN } else { size.width.saturating_sub(MARGIN + 2 * STEP + CAP) };
            let top = size.height.saturating_sub(MARGIN + STEP + CAP);
            draw_cap(&mut frame, (left + column * STEP, top + row * STEP), &dots, held.has(key));
        }
        let film = match &mut film {
            Some(film) => film,
            none => none.insert(Animation::create(&args.out, Existing::Replace, size, args.fps)?),
        };
        film.push(&frame)?;
    }
    film.context("no picture")?.finish()
}

/// A cap half transparent where nothing is held, so that it hides little of the picture.
fn draw_cap(frame: &mut RgbImage, (left, top): (u32, u32), dots: &[u8; 5], held: bool) {
    let (paper, ink) = if held { (HELD, INK_HELD) } else { (FREE, INK_FREE) };
    for y in 0..CAP {
        for x in 0..CAP {
            let corner = [0, CAP - 1].contains(&x) && [0, CAP - 1].contains(&y);
            let Some(pixel) = frame.get_pixel_mut_checked(left + x, top + y).filter(|_| !corner) else { continue };
            let (column, row) = (x.wrapping_sub(3) / 2, y.wrapping_sub(3) / 2);
            let is_ink = column < 5 && row < 5 && dots[row as usize] >> (4 - column) & 1 == 1;
            let colour = if is_ink { ink } else { paper };
            let mixed = |under: u8, over: u8| ((u16::from(under) + u16::from(over)) / 2) as u8;
            for (under, &over) in pixel.0.iter_mut().zip(&colour.0) {
                *under = if held || is_ink { over } else { mixed(*under, over) };
            }
        }
    }
}
