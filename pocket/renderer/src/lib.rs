//! Procedural low-poly worlds: the pocket model's training data, and the truth that its pictures are compared with.
//!
//! A [`World`] is a seed and a [`Look`] (biome, time of day, weather). It has no edge and no state: the same seed gives
//! the same bytes on every run, thread count and machine.

mod camera;
mod clip;
mod frame;
mod landmark;
mod look;
mod palette;
mod part;
mod prompt;
mod random;
mod region;
mod scatter;
mod sky;
mod terrain;
mod trace;
mod vector;
mod walk;
mod world;

pub use camera::{Intrinsics, Pose};
pub use clip::{Clip, Recipe, Scene, make_clips};
pub use frame::Renderer;
pub use landmark::Landmark;
pub use look::{Biome, Look, Time, Weather};
pub use prompt::prompt;
pub use random::Draws;
pub use region::{Region, Sight};
pub use walk::{BODY_M, FRAMES_PER_LATENT, KEYS, Motion, Start, Step, begin, cleared, poses, stretches};
pub use world::World;
