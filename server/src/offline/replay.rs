//! `causeway replay`: a recorded video, drawn again. The same world draws the same bytes, however many threads compute.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use pipeline::recording::{self, Invalid};
use pipeline::world::{Cancel, ChunkInput, ChunkPlan, ClipAsk, Init, Origin, World};
use pipeline::{Compute, Device};
use sha2::{Digest, Sha256};

use super::film::{self, Film};
use super::generate::{Report, draw};
use crate::say::note;
use crate::whole_file::Existing;

/// What to draw again, and where to.
#[derive(Debug)]
pub struct Request {
    /// The recording.
    pub file: PathBuf,
    /// As `generate` has it. `None`: the frames are hashed and dropped.
    pub out: Option<PathBuf>,
    /// Chunks to draw; `None`: all.
    pub until: Option<u32>,
    /// What happens to pictures or a film that are there already.
    pub existing: Existing,
    /// Ends the drawing: what is drawn by then becomes a shorter video.
    pub cancel: Cancel,
}

/// A recording that was read.
#[derive(Debug)]
pub struct Recorded {
    init: Init,
    origin: Option<Origin>,
    inputs: Vec<ChunkInput>,
}

impl Recorded {
    /// The type that the video was computed in, if the recording says so and this processor computes in it.
    pub fn compute(&self) -> Option<Compute> {
        let Origin { compute, .. } = self.origin.as_ref()?;
        Compute::ALL.into_iter().find(|here| Device::cpu_in(*here).arithmetic() == *compute)
    }
}

/// The longest recording that is read: a picture of 40 million pixels, and a day of chunks.
const BYTES_MAX: u64 = 256 << 20;

impl Request {
    /// Read the recording. What is said of a file that was cut off goes to standard error: all chunks before that are
    /// drawn.
    ///
    /// # Errors
    /// If the file cannot be read or is no recording; if its video cannot be written where it should be.
    pub fn read(&self) -> anyhow::Result<Recorded> {
        if let Some(out) = &self.out {
            film::check(out, self.existing)?;
        }
        let name = self.file.display();
        let mut bytes = Vec::new();
        let file = File::open(&self.file).with_context(|| format!("opening {name}"))?;
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("reading {name}"))?;
        ensure!(bytes.len() as u64 <= BYTES_MAX, "{name} is longer than any recording: {BYTES_MAX} bytes are allowed");
        let (init, mut chunks) = recording::read(&bytes).with_context(|| name.to_string())?;
        let origin = chunks.origin.take();
        let most = self.until.map_or(usize::MAX, |until| until as usize);
        let mut inputs = Vec::new();
        for chunk in chunks.take(most) {
            match chunk {
                Ok(input) => inputs.push(input),
                Err(Invalid::Incomplete { at }) => {
                    note(format_args!(
                        "{name} was cut off after byte {at}: the {} chunks before are drawn",
                        inputs.len()
                    ));
                    break;
                }
                Err(invalid) => return Err(invalid).with_context(|| name.to_string()),
            }
        }
        ensure!(!inputs.is_empty(), "{name} holds no whole chunk: there is nothing to draw");
        if let Some(until) = self.until {
            ensure!(inputs.len() == until as usize, "--until {until}: {name} has {} chunks", inputs.len());
        }
        Ok(Recorded { init, origin, inputs })
    }
}

/// Draw it. Gives what was drawn, and a few lines for people: how many frames there were, and their SHA-256, which is the same for the same
/// video.
///
/// # Errors
/// If another world drew the recording; if the video cannot be drawn or written.
pub fn replay(world: &dyn World, recorded: Recorded, request: &Request) -> anyhow::Result<(Report, String)> {
    let Recorded { init, origin, inputs } = recorded;
    let (name, card) = (request.file.display(), world.card());
    if let Some(origin) = origin {
        let here = world.origin();
        if origin != here {
            bail!("{name} was drawn by {}: {} would draw another video", told(&origin), told(&here));
        }
    }
    ensure!(card.clips.steerable, "{} draws no chunks: it cannot draw a recording", card.name);
    let chunking = init.chunking(card);
    let frames = (0..inputs.len()).map(|index| ChunkPlan::new(index, chunking).pixel_frames).sum();
    let mut film = match &request.out {
        Some(out) => Some(Film::create(out, request.existing, init.size, card.fps)?),
        None => None,
    };
    let mut hash = Sha256::new();
    let report = draw(world, ClipAsk::new(init, frames, inputs), &request.cancel, &mut |frames| {
        hash.update(&frames.rgb);
        film.as_mut().map_or(Ok(()), |film| film.push(frames))
    })?;
    if let Some(film) = film {
        film.finish()?;
    }
    let hash = hash.finalize().iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    let out = request.out.as_ref().map_or_else(String::new, |out| format!("\n{}", out.display()));
    let told = format!("{}  sha256 of the frames: {hash}{out}", report.summary());
    Ok((report, told))
}

fn told(Origin { world, weights, compute }: &Origin) -> String {
    format!("{world} (weights {weights}, computed in {compute})")
}
