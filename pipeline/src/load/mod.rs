//! From a model directory to checked configurations and stored tensors. Every file that a model brings is read here.
//!
//! The modules stand on each other in this order: `error`; `stand_in`, `mapping`, `tensor_list`; `file`, `shard`; `model_dir`,
//! `object`; `weights`; `family`, `fingerprint`.

pub mod error;
pub mod family;
pub mod file;
pub(crate) mod fingerprint;
mod mapping;
pub mod model_dir;
mod names;
pub(crate) mod object;
mod shard;
mod stand_in;
pub mod tensor_list;
pub mod weights;
