//! Where drawn frames go: numbered pictures in a folder, an animation or a film. Nothing that was there is lost unasked.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use pipeline::world::{Frames, Size};

use crate::media::webp_animation::Animation;
use crate::media::{h264, mp4, pictures, quantiser};
use crate::whole_file::{Existing, WholeFile, check_place};

/// A video on its way to the disk.
pub enum Film {
    /// `00000.png`, `00001.png` and so on; each is there whole or not at all.
    Pngs {
        /// Where they go.
        folder: PathBuf,
        /// Of each.
        size: Size,
        /// The number of the next.
        next: usize,
    },
    /// One file, that has its name only when it is finished.
    Webp(Animation),
    /// One file, too: a client of the video API gets the same bytes.
    Mp4(Box<mp4::Film<WholeFile>>),
}

/// What `--out` can be.
const ALLOWED: &str = "a folder for PNG files, a .webp or an .mp4 file";

/// Whether frames can go to `path`, as far as can be said before any is drawn.
///
/// # Errors
/// If it is a file of a kind that is not written here; if pictures or a file are there already and `existing` keeps them:
/// the end of a longer walk behind a shorter one would look like a part of it.
pub fn check(path: &Path, existing: Existing) -> anyhow::Result<()> {
    match path.extension().and_then(|ending| ending.to_str()) {
        _ if path.as_os_str().is_empty() => bail!("--out is empty: {ALLOWED}"),
        Some("mp4") if !h264::AVAILABLE => bail!("--out {}: this build has no video encoder", path.display()),
        Some("webp" | "mp4") => check_place(path, existing),
        // A file of a kind that we do not write should not become a folder of that name.
        Some(ending) if !path.is_dir() => {
            bail!("--out {}: {ALLOWED}, not .{ending}", path.display())
        }
        _ => {
            let there = numbered(path)?.len();
            ensure!(
                there == 0 || existing == Existing::Replace,
                "--out {}: {there} numbered pictures are there already; --force replaces them",
                path.display()
            );
            Ok(())
        }
    }
}

impl Film {
    /// Begin a video of frames of `size`. Numbered pictures of an earlier one are removed with the first frame, if they may
    /// be replaced.
    pub fn create(path: &Path, existing: Existing, size: Size, fps: u32) -> anyhow::Result<Film> {
        check(path, existing)?;
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("webp") => return Ok(Film::Webp(Animation::create(path, existing, size, fps)?)),
            Some("mp4") => {
                let (file, quality) = (WholeFile::create(path, existing)?, quantiser::default_quality(size));
                let film = mp4::Film::begin(file, size, f64::from(fps), quantiser::of_quality(quality))?;
                return Ok(Film::Mp4(Box::new(film)));
            }
            _ => {}
        }
        std::fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Film::Pngs { folder: path.to_owned(), size, next: 0 })
    }

    /// Add the next frames.
    pub fn push(&mut self, frames: &Frames) -> anyhow::Result<()> {
        for rgb in frames.rgb.chunks_exact(frames.size.frame_bytes() as usize) {
            match self {
                Film::Webp(animation) => animation.push(rgb)?,
                Film::Mp4(film) => film.push(rgb)?,
                Film::Pngs { folder, size, next } => {
                    if *next == 0 {
                        for picture in numbered(folder)? {
                            std::fs::remove_file(&picture)
                                .with_context(|| format!("removing {}", picture.display()))?;
                        }
                    }
                    let path = folder.join(format!("{next:05}.png"));
                    let mut file = WholeFile::create(&path, Existing::Replace)?;
                    let png = pictures::png(rgb, *size)?;
                    file.write_all(&png).with_context(|| format!("writing {}", path.display()))?;
                    file.finish()?;
                    *next += 1;
                }
            }
        }
        Ok(())
    }

    /// What encoding is called in a profile.
    pub fn span(&self) -> &'static str {
        match self {
            Film::Mp4(_) => "encode_mp4",
            Film::Webp(_) => "encode_webp",
            Film::Pngs { .. } => "encode_png",
        }
    }

    /// The last frame is there.
    pub fn finish(self) -> anyhow::Result<()> {
        match self {
            Film::Webp(animation) => animation.finish(),
            Film::Mp4(film) => film.finish()?.finish(),
            Film::Pngs { .. } => Ok(()),
        }
    }
}

/// Pictures in `folder` that are named as ours are: five digits or more. Empty where there is no folder.
fn numbered(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("reading the folder {}", folder.display()))?,
    };
    let mut pictures = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("reading the folder {}", folder.display()))?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".png"));
        if number.is_some_and(|number| number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit())) {
            pictures.push(path);
        }
    }
    Ok(pictures)
}
