//! Where tensors lie, and what computes with them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::cpu::narrow::multiplies_bf16;
use crate::cuda::{About, Cuda};
use crate::{Compute, DType, Result};

/// Where tensors lie, and what computes with them. Chosen once, when a model is loaded, and handed down from there.
#[derive(Clone, PartialEq, Eq)]
pub struct Device(Kind);

#[derive(Clone)]
enum Kind {
    Cpu(Compute),
    Cuda(Arc<Cuda>),
}

impl Device {
    /// Main memory and the processor's cores, which compute in f32.
    pub fn cpu() -> Device {
        Device::cpu_in(Compute::F32)
    }

    /// The processor, with dense layers in this type. The place is the same: it equals [`Device::cpu`].
    pub fn cpu_in(compute: Compute) -> Device {
        Device(Kind::Cpu(compute))
    }

    /// The same place; a processor computes its dense layers in this type.
    pub fn computing_in(&self, compute: Compute) -> Device {
        match self.0 {
            Kind::Cpu(_) => Device::cpu_in(compute),
            Kind::Cuda(_) => self.clone(),
        }
    }

    /// The type of dense layers on a processor. A GPU has its own and says `F32`: see [`Device::arithmetic`].
    pub fn compute(&self) -> Compute {
        match self.0 {
            Kind::Cpu(compute) => compute,
            Kind::Cuda(_) => Compute::F32,
        }
    }

    /// An NVIDIA GPU, by its place among those of this machine. Weights and activations are kept as bf16, sums are f32.
    ///
    /// `libraries`: a folder that the driver is looked for in first. An error where there is no driver, an old one, or no
    /// such device, in a sentence that names what is missing.
    pub fn cuda(number: usize, libraries: Option<&Path>) -> Result<Device> {
        Ok(Device(Kind::Cuda(Cuda::open(number, libraries, DType::BF16)?)))
    }

    /// As [`Device::cuda`], with everything kept as f32: for comparing with a processor.
    pub fn cuda_in_f32(number: usize, libraries: Option<&Path>) -> Result<Device> {
        Ok(Device(Kind::Cuda(Cuda::open(number, libraries, DType::F32)?)))
    }

    /// How many NVIDIA GPUs there are. An error where there is no driver for them, or an old one.
    pub fn cuda_count(libraries: Option<&Path>) -> Result<usize> {
        crate::cuda::count(libraries)
    }

    /// What is computed in, in words that tell results apart which may differ: `f32`, or `bf16 on sm_90`. `bf16 weights`: on a
    /// processor that widens them, because it does not multiply bf16 itself.
    pub fn arithmetic(&self) -> String {
        match self.as_cuda() {
            None if self.compute() == Compute::Bf16 && !multiplies_bf16() => "bf16 weights".to_owned(),
            None => self.compute().to_string(),
            Some(cuda) => {
                let (major, minor) = cuda.about().capability;
                format!("{} on sm_{major}{minor}", cuda.numbers().to_string().to_lowercase())
            }
        }
    }

    /// Bytes of an activation's number, and whether frames carry the border of zeros that convolutions read.
    pub fn keeping(&self) -> Keeping {
        match self.as_cuda() {
            None => Keeping::PROCESSOR,
            Some(cuda) => Keeping { bytes: cuda.numbers().bytes() as u64, ..Keeping::GPU },
        }
    }

    /// What a GPU says of itself. `None` for the processor.
    pub fn about(&self) -> Option<&About> {
        self.as_cuda().map(|cuda| cuda.about())
    }

    /// Bytes of a GPU's memory that are free now, and bytes in all. `None` for the processor.
    pub fn memory(&self) -> Option<Result<(u64, u64)>> {
        self.as_cuda().map(|cuda| cuda.memory())
    }

    /// Until everything that was asked for is computed: a GPU computes later than it is asked.
    pub fn wait(&self) -> Result<()> {
        self.as_cuda().map_or(Ok(()), |cuda| cuda.wait())
    }

    /// Bytes of a GPU's memory that tensors hold now. `None` for the processor.
    pub fn held_bytes(&self) -> Option<u64> {
        self.as_cuda().map(|cuda| cuda.held())
    }

    /// The GPU, for this crate.
    pub(crate) fn as_cuda(&self) -> Option<&Arc<Cuda>> {
        match &self.0 {
            Kind::Cpu(_) => None,
            Kind::Cuda(cuda) => Some(cuda),
        }
    }

    pub(crate) fn of_cuda(cuda: &Arc<Cuda>) -> Device {
        Device(Kind::Cuda(cuda.clone()))
    }
}

/// How a device keeps what a video remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// Bytes of a number: of a key, a value, a pixel between two convolutions.
    pub bytes: u64,
    /// Frames carry a border of zeros.
    pub borders: bool,
}

impl Keeping {
    /// f32, and the kernels read the borders.
    pub const PROCESSOR: Keeping = Keeping { bytes: 4, borders: true };
    /// bf16, and pixels outside of a frame are not stored.
    pub const GPU: Keeping = Keeping { bytes: 2, borders: false };
}

impl PartialEq for Kind {
    fn eq(&self, other: &Kind) -> bool {
        match (self, other) {
            (Kind::Cpu(_), Kind::Cpu(_)) => true,
            (Kind::Cuda(one), Kind::Cuda(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Kind {}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Cpu(_) => f.write_str("cpu"),
            Kind::Cuda(cuda) => write!(f, "cuda:{}", cuda.number()),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({self})")
    }
}
