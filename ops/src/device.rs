//! Where tensors lie, and what computes with them.

use std::fmt;

/// Where tensors lie, and what computes with them. Chosen once, when a model is loaded, and handed down from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Cpu,
}

impl Device {
    /// Main memory and the processor's cores.
    pub fn cpu() -> Device {
        Device(Kind::Cpu)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Cpu => f.write_str("cpu"),
        }
    }
}
