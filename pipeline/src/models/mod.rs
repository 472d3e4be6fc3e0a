//! The networks: one file each, fields named as in the published checkpoints.

pub mod block;
mod conv;
pub mod dit;
pub mod text;
pub mod umt5;
pub mod vae;
