//! Cosmos3 (NVIDIA): a prompt and perhaps a picture in, a clip or a picture out. Its networks stand here; a directory that
//! holds them is refused until clips can be drawn.
//!
//! One transformer holds two stacks of layers. The first reads the prompt (`understanding.rs`); the second draws
//! (`generation.rs`), and each of its layers looks at the keys and values that the same layer of the first made of the prompt.
//! Names as in the published checkpoints and in diffusers.

pub mod caption;
pub mod config;
pub mod generation;
mod layer;
pub mod mrope;
pub mod prompt;
pub mod schedule;
pub mod solver;
pub mod tensors;
pub mod transformer;
pub mod understanding;
