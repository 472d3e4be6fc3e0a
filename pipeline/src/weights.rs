//! Checkpoints: safetensors files seen as one set of named tensors, cast to f32 one at a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use candle_core::{Device, Shape, Tensor};

/// All tensors of one network under their published names.
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    /// Names that were asked for: what is left over at the end does not belong.
    taken: RefCell<BTreeSet<String>>,
}

/// One place in a checkpoint: `blocks.0.self_attn`, say.
#[derive(Clone)]
pub struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
}

/// What is wrong with a model directory, and where.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{file}: {reason}")]
    File { file: String, reason: String },
    #[error("{file}: tensor {tensor} is missing; expected shape {expected:?}")]
    Missing { file: String, tensor: String, expected: Vec<usize> },
    #[error("{file}: tensor {tensor} has shape {found:?}; expected {expected:?}")]
    Shape { file: String, tensor: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("{file}: tensor {tensor} (shape {found:?}) is not part of this model")]
    Extra { file: String, tensor: String, found: Vec<usize> },
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Checkpoint {
    /// The tensors of one safetensors file, already read.
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, LoadError> {
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        Ok(Checkpoint { tensors: tensors.into_iter().collect(), taken: RefCell::default() })
    }

    pub fn root(&self) -> Weights<'_> {
        Weights { checkpoint: self, prefix: String::new() }
    }

    /// An error if a tensor was never asked for.
    pub fn finish(&self) -> Result<(), LoadError> {
        let taken = self.taken.borrow();
        match self.tensors.iter().find(|(name, _)| !taken.contains(*name)) {
            Some((name, tensor)) => {
                Err(LoadError::Extra { file: String::new(), tensor: name.clone(), found: tensor.dims().to_vec() })
            }
            None => Ok(()),
        }
    }
}

impl<'a> Weights<'a> {
    /// The place `name` below this one. `name` may hold dots or be a number.
    pub fn at(&self, name: impl Display) -> Weights<'a> {
        Weights { checkpoint: self.checkpoint, prefix: self.path(name) }
    }

    /// The tensor `name` here, as f32. Its shape must be exactly `shape`.
    pub fn get(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor, LoadError> {
        let name = self.path(name);
        let shape = shape.into();
        let tensor = self.checkpoint.tensors.get(&name).ok_or_else(|| LoadError::Missing {
            file: String::new(),
            tensor: name.clone(),
            expected: shape.dims().to_vec(),
        })?;
        if tensor.shape() != &shape {
            return Err(LoadError::Shape {
                file: String::new(),
                tensor: name,
                expected: shape.dims().to_vec(),
                found: tensor.dims().to_vec(),
            });
        }
        let tensor = tensor.to_dtype(candle_core::DType::F32)?;
        self.checkpoint.taken.borrow_mut().insert(name);
        Ok(tensor)
    }

    /// Leave the tensor `name` unread, if it is here: it says again what another one said.
    pub fn skip(&self, name: &str) {
        self.checkpoint.taken.borrow_mut().insert(self.path(name));
    }

    /// Is there a tensor of this name here?
    pub fn has(&self, name: &str) -> bool {
        self.checkpoint.tensors.contains_key(&self.path(name))
    }

    fn path(&self, name: impl Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }
}
