//! From a model directory to checked configurations and tensors. Every file that a model brings is read here.

pub mod model_dir;
pub(crate) mod object;
mod shard;
pub mod weights;
