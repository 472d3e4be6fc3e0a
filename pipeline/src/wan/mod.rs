//! What model families made from Wan share: the video autoencoder and the reading of prompts. One file a network, fields
//! named as in the published checkpoints.

mod causal_conv;
pub mod prompt;
pub mod tensors;
pub mod text;
pub mod umt5;
pub mod vae;
