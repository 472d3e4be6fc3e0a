//! The type that dense layers are computed in, and how their weights are held.

use std::fmt;
use std::str::FromStr;

/// The type that dense layers are computed in on a processor. Their weights are held in it. Everything else is f32: norms,
/// attention, convolutions and sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compute {
    /// Weights and activations in f32.
    F32,
    /// Weights in bf16. Activations, too, where the processor multiplies bf16 itself; elsewhere they stay f32.
    Bf16,
    /// Weights in bytes with a scale an output, activations in bytes with a scale a token.
    Int8,
}

impl Compute {
    /// Every type, widest first.
    pub const ALL: [Compute; 3] = [Compute::F32, Compute::Bf16, Compute::Int8];

    /// Bytes in which a dense layer of this shape holds its weight.
    pub fn weight_bytes(self, outputs: u64, inputs: u64) -> u64 {
        match self {
            Compute::F32 => 4 * outputs * inputs,
            Compute::Bf16 => 2 * outputs * inputs,
            // A scale and a correction an output.
            Compute::Int8 => outputs * inputs + 8 * outputs,
        }
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Compute::F32 => "f32",
            Compute::Bf16 => "bf16",
            Compute::Int8 => "int8",
        })
    }
}

impl FromStr for Compute {
    type Err = ();

    fn from_str(text: &str) -> Result<Compute, ()> {
        Compute::ALL.into_iter().find(|compute| compute.to_string() == text).ok_or(())
    }
}
