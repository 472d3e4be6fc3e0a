//! The memory of a causal video transformer between chunks: keys and values.
//!
//! A video is made chunk by chunk; a *chunk* is a few *latent frames*. Attention sees the chunk being made and a
//! *window* of earlier frames: the first few, pinned for ever (the *sink*), and the most recent ones. [`Window`] says
//! in integers which frames those are and where each one lies; [`RollingKvCache`] keeps their keys and values;
//! [`PromptKvCache`] keeps a prompt's.
//!
//! Surprising, and the reason everything here is short: keys are stored already rotated by their absolute position and
//! attention inside the window is unmasked, so the order in which frames lie in memory means nothing. A new frame is
//! written where the frame it pushes out was. Nothing is ever shifted.

#![warn(missing_docs)]

mod prompt;
mod rolling;
mod window;

pub use prompt::PromptKvCache;
pub use rolling::{KvShape, KvView, RollingKvCache};
pub use window::{Window, WindowError};
