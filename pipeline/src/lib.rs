//! Conditions in, frames out: the causal LingBot World pipeline.
//!
//! Everything a server needs stands in [`world`]; no tensor crosses that file. [`lingbot`] draws with a model,
//! [`testcard`] draws with no weights at all.
//!
//! Letters for shapes: `F` latent frames of a chunk, `h×w` latent height and width, `S` tokens (patches) of a latent
//! frame, `N = F·S` tokens of a chunk, `D` model width, `C` channels, `T` video frames.

pub mod first_frame;
#[cfg(test)]
mod fixture;
pub mod inspect;
pub mod lingbot;
pub mod load;
pub mod noise;
pub mod recording;
pub mod testcard;
pub mod wan;
pub mod world;
