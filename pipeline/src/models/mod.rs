//! The networks: one file each, fields named as in the published checkpoints.

mod conv;
pub mod block;
pub mod dit;
pub mod text;
pub mod umt5;
pub mod vae;
