//! The networks: one file each, fields named as in the published checkpoints.

mod conv;
pub mod vae;
