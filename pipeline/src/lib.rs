//! Conditions in, frames out: the causal LingBot World pipeline, and the clips of Cosmos3.
//!
//! Everything a server needs stands in [`world`]; no tensor crosses that file. [`lingbot`] and [`cosmos3`] draw with a model,
//! [`testcard`] draws with no weights at all.
//!
//! Letters for shapes: `F` latent frames of a chunk, `h×w` latent height and width, `S` tokens (patches) of a latent
//! frame, `N = F·S` tokens of a chunk, `D` model width, `C` channels, `T` video frames.

#![warn(missing_docs)]

pub mod check;
pub mod cosmos3;
pub mod first_frame;
#[cfg(test)]
mod fixture;
pub mod inspect;
pub mod lingbot;
pub mod load;
pub mod noise;
pub mod packed;
pub mod recording;
pub mod team;
pub mod testcard;
pub mod wan;
pub mod world;

pub use ops::threads::set_count as set_threads;
pub use ops::{Compute, Device};

use crate::cosmos3::Cosmos3;
use crate::lingbot::LingBot;
use crate::load::error::LoadError;
use crate::load::family::Family;
use crate::load::model_dir::ModelDir;
use crate::team::Members;
use crate::world::World;

/// The world that `dir` holds, whatever its family, to be computed with on `device`.
pub fn load_world(dir: &ModelDir, device: &Device) -> Result<Box<dyn World>, LoadError> {
    load_world_over_ranks(dir, device, 1)
}

/// As [`load_world`], for a team of `ranks` on threads of the processor, which draws the same bits as one rank. An error for a
/// number of ranks that cannot share the model's heads.
pub fn load_world_over_ranks(dir: &ModelDir, device: &Device, ranks: usize) -> Result<Box<dyn World>, LoadError> {
    load_world_over(dir, &Members::of(device, ranks))
}

/// As [`load_world`], for those who draw it together.
pub fn load_world_over(dir: &ModelDir, members: &Members) -> Result<Box<dyn World>, LoadError> {
    match Family::of(dir)? {
        Family::LingBotWorld => Ok(Box::new(LingBot::load_over(dir, members)?)),
        Family::Cosmos3 => Ok(Box::new(Cosmos3::load_over(dir, members)?)),
    }
}
