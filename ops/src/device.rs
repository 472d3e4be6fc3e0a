//! Where tensors lie, and what computes with them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cpu::narrow::multiplies_bf16;
use crate::cuda::{About, Choice, Cuda, CudaMoment, rehearse};
use crate::error::bail;
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
                let library = cuda.library_used().map(|library| format!(" with {library}")).unwrap_or_default();
                format!("{} on sm_{major}{minor}{library}", cuda.numbers().to_string().to_lowercase())
            }
        }
    }

    /// Bytes of an activation's number, and whether frames carry the border of zeros that convolutions read.
    pub fn keeping(&self) -> Keeping {
        match self.as_cuda() {
            None => Keeping::processor(self.compute()),
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

    /// Where a GPU's memory is. `None` for the processor.
    pub fn memory_use(&self) -> Option<Result<MemoryUse>> {
        self.as_cuda().map(|cuda| cuda.memory_use())
    }

    /// What tells where a GPU's memory is for as long as the GPU is used: it does not keep it open. `None` for the processor.
    pub fn gauge(&self) -> Option<impl Fn() -> Option<MemoryUse> + Send + Sync + use<>> {
        let cuda = Arc::downgrade(self.as_cuda()?);
        Some(move || cuda.upgrade()?.memory_use().ok())
    }

    /// A model is loaded: what tensors hold now are its weights.
    pub fn loaded(&self) {
        if let Some(cuda) = self.as_cuda() {
            cuda.loaded();
        }
    }

    /// Run `work` on a GPU, some times, and compute nothing: it asks for the memory that it will ask for, and reads back zeros. So the
    /// same work finds its memory later, and a want of memory is told before anything is drawn. On a processor nothing is run.
    pub fn rehearse<E>(&self, work: impl FnMut() -> std::result::Result<(), E>) -> std::result::Result<(), E> {
        self.as_cuda().map_or(Ok(()), |cuda| rehearse(std::slice::from_ref(cuda), work))
    }

    /// Try cuBLASLt, where it was found, on each shape of the dense layers that are loaded, with `rows` rows: it computes those that it
    /// gives as our kernel does, and sooner. Takes at most some seconds; on a processor nothing is done.
    pub fn choose_products(&self, rows: usize) -> Result<()> {
        self.as_cuda().map_or(Ok(()), |cuda| cuda.choose_products(rows))
    }

    /// How each shape that was tried is computed.
    pub fn products(&self) -> Vec<Choice> {
        self.as_cuda().map(|cuda| cuda.product_choices()).unwrap_or_default()
    }

    /// What was found of NVIDIA's libraries beside the driver, in words. `None` for the processor.
    pub fn libraries(&self) -> Option<String> {
        self.as_cuda().map(|cuda| cuda.library_told())
    }

    /// The end of what was asked for until now.
    pub fn moment(&self) -> Result<Moment> {
        match self.as_cuda() {
            None => Ok(Moment(Point::Cpu(Instant::now()))),
            Some(cuda) => Ok(Moment(Point::Cuda(CudaMoment::now(cuda)?))),
        }
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

/// A point in a device's work. A processor has done all that it was asked for; a GPU comes to it later.
pub struct Moment(Point);

enum Point {
    Cpu(Instant),
    Cuda(CudaMoment),
}

impl Moment {
    /// The time that the device took from here to `later`, a moment of the same device. Waits for that, if it has not come.
    pub fn until(&self, later: &Moment) -> Result<Duration> {
        match (&self.0, &later.0) {
            (Point::Cpu(here), Point::Cpu(later)) => Ok(later.saturating_duration_since(*here)),
            (Point::Cuda(here), Point::Cuda(later)) => here.until(later),
            _ => bail!("two devices have no time in common"),
        }
    }
}

/// Where a GPU's memory is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// All that it has.
    pub total: u64,
    /// What the driver says is taken, by this process and by others.
    pub used: u64,
    /// Tensors of the model that was loaded.
    pub weights: u64,
    /// All other tensors: what sessions and clips keep, and while one is drawn what that works with.
    pub sessions: u64,
    /// Memory that no tensor holds and that is kept for the next chunk.
    pub spare: u64,
    /// Pinned main memory, which is not the device's.
    pub pinned: u64,
}

/// How a device keeps what a video remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// Bytes of a number: of a key, a value, a pixel between two convolutions.
    pub bytes: u64,
    /// Frames carry a border of zeros.
    pub borders: bool,
    /// Keys and values of the window are bf16, packed for attention, whatever the other numbers are.
    pub packs_history: bool,
}

impl Keeping {
    /// f32 everywhere, and the kernels read the borders.
    pub const PROCESSOR: Keeping = Keeping { bytes: 4, borders: true, packs_history: false };
    /// bf16, and pixels outside of a frame are not stored.
    pub const GPU: Keeping = Keeping { bytes: 2, borders: false, packs_history: false };

    /// A processor that computes dense layers in this type. In a narrow one it also keeps the window's keys and values so.
    pub const fn processor(compute: Compute) -> Keeping {
        Keeping { packs_history: !matches!(compute, Compute::F32), ..Keeping::PROCESSOR }
    }
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
