//! The command line: a picture or a clip, the contact sheet, first frames, and training clips.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, Parser, Subcommand};
use image::RgbImage;
use indicatif::ProgressBar;
use rayon::prelude::*;
use renderer::{Biome, Clip, Intrinsics, Look, Motion, Recipe, Step, Time, Weather, World, make_clips};

#[derive(Parser)]
#[command(
    about = "Procedural low-poly worlds: pictures, walks and training clips",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    walk: WalkArgs,
}

#[derive(Subcommand)]
enum Command {
    /// All 64 looks on one sheet.
    Grid {
        #[arg(long, default_value = "grid.png")]
        out: PathBuf,
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[command(flatten)]
        picture: PictureArgs,
    },
    /// First frames with prompts: the best views of every biome.
    Gallery {
        #[arg(long)]
        out: PathBuf,
        /// Pictures of each biome.
        #[arg(long, default_value_t = 4)]
        count: usize,
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[command(flatten)]
        picture: PictureArgs,
    },
    /// Training clips of consecutive seeds.
    Clips {
        /// Folder of `clip-SEED.safetensors`; finished ones are kept, so a stopped run goes on.
        #[arg(long, required_unless_present = "stdout")]
        out: Option<PathBuf>,
        /// Write clips to standard output instead, each after its length (8 bytes, little-endian).
        #[arg(long, conflicts_with = "out")]
        stdout: bool,
        #[arg(long)]
        count: u64,
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Latent frames a clip; each but the first is 4 video frames.
        #[arg(long, default_value_t = 16)]
        latents: usize,
        /// Share of clips that switch worlds on the way.
        #[arg(long, default_value_t = 0.2)]
        switches: f32,
        /// Latent frames over which a switch fades; 0 cuts.
        #[arg(long, default_value_t = 0)]
        fade: usize,
        /// Draw each clip's field of view from 60° to 90° instead of using --fov.
        #[arg(long)]
        vary_fov: bool,
        #[command(flatten)]
        picture: PictureArgs,
        #[command(flatten)]
        step: StepArgs,
    },
}

#[derive(Args)]
struct PictureArgs {
    /// Width x height in pixels.
    #[arg(long, default_value = "192x128", value_parser = size)]
    size: (usize, usize),
    /// Horizontal field of view in degrees.
    #[arg(long, default_value_t = 75.0)]
    fov: f64,
    /// Rays a pixel.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    spp: u8,
}

#[derive(Args)]
struct StepArgs {
    /// Metres, and degrees, a held key goes in one latent frame.
    #[arg(long, default_value_t = 1.0)]
    move_m: f64,
    #[arg(long, default_value_t = 10.0)]
    yaw_deg: f64,
    #[arg(long, default_value_t = 4.0)]
    pitch_deg: f64,
}

#[derive(Args)]
struct WalkArgs {
    #[arg(long, default_value = "meadow")]
    biome: Biome,
    #[arg(long, default_value = "noon")]
    time: Time,
    #[arg(long, default_value = "clear")]
    weather: Weather,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keys held in each latent frame, such as `w*12,wl*6,,j`; empty draws one picture.
    #[arg(long, default_value = "")]
    path: String,
    /// A .png or .webp picture, a .webp animation, a .safetensors clip, or a folder of PNGs.
    #[arg(long, default_value = "walk.webp")]
    out: PathBuf,
    /// Write raw RGB8 frames to standard output instead.
    #[arg(long)]
    stdout: bool,
    #[command(flatten)]
    picture: PictureArgs,
    #[command(flatten)]
    step: StepArgs,
}

fn size(text: &str) -> Result<(usize, usize)> {
    let (width, height) = text.split_once('x').context("a size is WIDTHxHEIGHT")?;
    Ok((width.parse()?, height.parse()?))
}

impl PictureArgs {
    fn lens(&self) -> Result<Intrinsics> {
        Intrinsics::from_fov(self.size.0, self.size.1, self.fov)
    }
}

impl StepArgs {
    fn step(&self) -> Step {
        Step { move_m: self.move_m, yaw_deg: self.yaw_deg, pitch_deg: self.pitch_deg }
    }
}

fn main() -> Result<()> {
    let Cli { command, walk: args } = Cli::parse();
    match command {
        None => walk(&args),
        Some(Command::Grid { out, seed, picture }) => grid(&out, seed, &picture),
        Some(Command::Gallery { out, count, seed, picture }) => gallery(&out, count, seed, &picture),
        Some(Command::Clips { out, stdout: _, count, seed, latents, switches, fade, vary_fov, picture, step }) => {
            ensure!((1..=1024).contains(&latents), "--latents is {latents}, but must be 1 to 1024");
            let fov = if vary_fov { [60.0, 90.0] } else { [picture.fov as f32; 2] };
            let samples = usize::from(picture.spp);
            let recipe =
                Recipe { lens: picture.lens()?, samples, latents, step: step.step(), switches, fade, fov_deg: fov };
            clips(&recipe, out.as_deref(), seed, count)
        }
    }
}

fn walk(args: &WalkArgs) -> Result<()> {
    let look = Look { biome: args.biome, time: args.time, weather: args.weather };
    let motions = args.step.step().parse(&args.path).context("--path")?;
    let world = World::new(args.seed, look);
    let clip = Clip::walk(&world, args.picture.lens()?, usize::from(args.picture.spp), motions, 24);
    if args.stdout {
        return clip.frames.iter().try_for_each(|frame| stdout().write_all(frame)).context("writing frames");
    }
    let (width, height) = (clip.lens.width as u32, clip.lens.height as u32);
    match args.out.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => std::fs::write(&args.out, clip.to_bytes()?)?,
        Some("webp") if clip.frames.len() > 1 => {
            let mut config = webp::WebPConfig::new().map_err(|()| anyhow!("libwebp has no default settings"))?;
            config.quality = 85.0;
            let mut encoder = webp::AnimEncoder::new(width, height, &config);
            for (n, frame) in clip.frames.iter().enumerate() {
                encoder.add_frame(webp::AnimFrame::from_rgb(frame, width, height, (n * 1000 / 16) as i32));
            }
            let file = encoder.try_encode().map_err(|error| anyhow!("encoding WebP: {error:?}"))?;
            std::fs::write(&args.out, &*file)?;
        }
        Some(_) if clip.frames.len() > 1 => {
            bail!("{} cannot hold a walk: use .webp, .safetensors or a folder", args.out.display())
        }
        Some(_) => picture(&clip.frames[0], clip.lens)?.save(&args.out)?,
        None => {
            std::fs::create_dir_all(&args.out)?;
            for (n, frame) in clip.frames.iter().enumerate() {
                picture(frame, clip.lens)?.save(args.out.join(format!("{n:05}.png")))?;
            }
        }
    }
    println!("{}: {} frames, \"{}\"", args.out.display(), clip.frames.len(), clip.scenes[0].prompt);
    Ok(())
}

fn picture(frame: &[u8], lens: Intrinsics) -> Result<RgbImage> {
    RgbImage::from_raw(lens.width as u32, lens.height as u32, frame.to_vec()).context("a frame of another size")
}

fn first_frame(seed: u64, look: Look, args: &PictureArgs, lens: Intrinsics) -> Clip {
    Clip::walk(&World::new(seed, look), lens, usize::from(args.spp), vec![Motion::default()], 24)
}

fn grid(out: &Path, seed: u64, args: &PictureArgs) -> Result<()> {
    let lens = args.lens()?;
    let looks: Vec<Look> = Look::all().collect();
    let frames: Vec<Clip> =
        looks.par_iter().enumerate().map(|(n, &look)| first_frame(seed + n as u64, look, args, lens)).collect();
    let (width, height) = (lens.width as u32, lens.height as u32);
    let mut sheet = RgbImage::new(8 * width, 8 * height);
    for (n, clip) in (0u32..).zip(&frames) {
        image::imageops::replace(
            &mut sheet,
            &picture(&clip.frames[0], lens)?,
            i64::from(n % 8 * width),
            i64::from(n / 8 * height),
        );
    }
    sheet.save(out)?;
    println!("{}", out.display());
    Ok(())
}

fn gallery(out: &Path, count: usize, seed: u64, args: &PictureArgs) -> Result<()> {
    let lens = args.lens()?;
    std::fs::create_dir_all(out)?;
    let mut index = serde_json::Map::new();
    for &biome in Biome::ALL {
        for n in 0..count {
            let look = Look { biome, time: Time::ALL[(n + 1) % Time::ALL.len()], weather: Weather::Clear };
            let clip = first_frame(seed + n as u64, look, args, lens);
            let name = format!("{}-{}-{}.png", biome.name(), look.time.name(), clip.seed);
            picture(&clip.frames[0], lens)?.save(out.join(&name))?;
            index.insert(
                name,
                serde_json::json!({"prompt": clip.scenes[0].prompt, "biome": biome.name(),
                "time": look.time.name(), "weather": look.weather.name(), "seed": clip.seed}),
            );
        }
    }
    std::fs::write(out.join("prompts.json"), serde_json::to_vec_pretty(&index)?)?;
    println!("{}: {} pictures", out.display(), index.len());
    Ok(())
}

fn clips(recipe: &Recipe, out: Option<&Path>, seed: u64, count: u64) -> Result<()> {
    let file = |folder: &Path, seed: u64| folder.join(format!("clip-{seed:08}.safetensors"));
    let mut done = 0;
    if let Some(folder) = out {
        std::fs::create_dir_all(folder)?;
        while done < count && file(folder, seed + done).exists() {
            done += 1;
        }
    }
    let bar = ProgressBar::new(count - done);
    make_clips(recipe, seed + done, count - done, |clip| {
        let bytes = clip.to_bytes()?;
        match out {
            Some(folder) => {
                // Renamed when whole: a stopped run leaves no half clip under a clip's name.
                let part = folder.join("clip.part");
                std::fs::write(&part, bytes)?;
                std::fs::rename(part, file(folder, clip.seed))?;
            }
            None => {
                stdout().write_all(&(bytes.len() as u64).to_le_bytes())?;
                stdout().write_all(&bytes)?;
            }
        }
        bar.inc(1);
        Ok(())
    })?;
    bar.finish();
    Ok(())
}
