//! Dense layers.

use super::{Result, Tensor};
use crate::weights::{LoadError, Weights};

/// `y = x·Wᵀ + b`, with the weight as checkpoints store it: `(out, in)`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight`: `(out, in)`, `bias`: `(out)`.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Linear {
        Linear { weight, bias }
    }

    /// Reads `weight` and `bias` at this place of a checkpoint.
    pub fn load(weights: &Weights, inputs: usize, outputs: usize) -> std::result::Result<Linear, LoadError> {
        Ok(Linear { weight: weights.get("weight", (outputs, inputs))?, bias: Some(weights.get("bias", outputs)?) })
    }

    /// Reads `weight` alone.
    pub fn load_without_bias(weights: &Weights, inputs: usize, outputs: usize) -> std::result::Result<Linear, LoadError> {
        Ok(Linear { weight: weights.get("weight", (outputs, inputs))?, bias: None })
    }

    /// `x`: `(N, in)` → `(N, out)`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}
