//! What networks are computed with: tensors, and the coarse operations that models call.
//!
//! Models are written in these operations and in nothing else, so that a model file reads the same whatever computes
//! it. Every operation has a plain version on candle that is obviously right; where that is too slow a kernel of ours
//! stands beside it, in the same file, with a test that the two agree. The storage of a [`Tensor`] is known to this
//! crate alone.
//!
//! Tensors that operations take are f32. There is no batch dimension: a rollout is one video. The letters for shapes
//! are: `F` latent frames of a chunk, `h×w` latent height and width, `N` tokens of a chunk, `D` model width, `C`
//! channels, `T` video frames.

#![warn(missing_docs)]

pub mod activation;
mod arriving;
pub mod attention;
mod bands;
mod blocks;
pub mod channel_norm;
pub mod channels;
pub mod check;
pub mod collective;
mod compute;
pub mod conv;
mod cpu;
mod cuda;
mod device;
mod dtype;
mod embedding;
#[doc(hidden)]
pub mod emulation;
mod error;
pub mod flow;
mod frame_stack;
mod key_values;
mod linear;
pub mod norm;
pub mod patch;
pub mod peak;
pub mod pixels;
pub mod probe;
pub mod relative_attention;
pub mod residual;
pub mod rope;
pub mod rope_halves;
pub mod shortcut;
pub mod spatial_attention;
mod stored;
mod tensor;
#[cfg(test)]
mod testing;
pub mod threads;

pub use arriving::Arriving;
pub use bands::{Band, Bands};
pub use blocks::Blocks;
pub use compute::Compute;
pub use cuda::{About, Choice};
pub use device::{Device, Keeping, MemoryUse, Moment};
pub use dtype::DType;
pub use embedding::Embedding;
pub use error::{Error, Result};
pub use frame_stack::{FrameShape, FrameStack};
pub use key_values::KeyValues;
pub use linear::{Linear, Then};
pub use stored::Stored;
pub use tensor::{Element, Tensor};
