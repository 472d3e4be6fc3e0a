//! The only room that knows what a tensor is made of.
//!
//! Models are written in the coarse operations exported here and in nothing else, so that a model file reads the same
//! whatever computes it. Every operation has a plain version on candle that is obviously right; where that is too slow a
//! kernel of ours stands beside it, in the same file, with a test that the two agree.
//!
//! Tensors are f32 and contiguous. There is no batch dimension: a rollout is one video.

pub mod activation;
pub mod attention;
pub mod channel_norm;
pub mod conv;
mod cpu;
pub mod flow;
pub mod linear;
pub mod norm;
pub mod patch;
pub mod pixels;
pub mod relative_attention;
pub mod residual;
pub mod rope;
pub mod spatial_attention;
#[cfg(test)]
mod testing;
pub mod video;

pub use candle_core::{Device, Error, Result, Tensor};
pub use linear::Linear;
