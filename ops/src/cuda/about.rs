//! What the driver and its devices say of themselves, and what its errors say.

use std::ffi::CStr;
use std::fmt;
use std::path::{Path, PathBuf};

use cudarc::driver::DriverError;
use cudarc::driver::result::{self, device};
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};

use super::kernels::DRIVER_NEEDED;
use super::library;
use crate::error::bail;
use crate::{Error, Result};

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its name, as NVIDIA sells it.
    pub name: String,
    /// Compute capability: `(9, 0)` is sm_90.
    pub capability: (usize, usize),
    /// Bytes of its memory.
    pub memory: u64,
    /// The newest CUDA that the driver knows, as `(13, 0)`.
    pub driver: (usize, usize),
    /// The file of the driver, where the system tells it.
    pub driver_path: Option<PathBuf>,
    /// Multiprocessors.
    pub multiprocessors: usize,
    /// Bytes of shared memory that a block may ask for.
    pub(crate) shared_bytes: usize,
}

/// An error of the driver, after what was tried.
pub(super) fn told(what: impl fmt::Display) -> impl FnOnce(DriverError) -> Error {
    move |error| {
        let words = |text: std::result::Result<&CStr, DriverError>| {
            text.map_or_else(|_| "an unknown error".to_owned(), |text| text.to_string_lossy().into_owned())
        };
        Error::new(format_args!("CUDA: {what}: {} ({})", words(error.error_string()), words(error.error_name())))
    }
}

/// How many devices there are. An error where there is no driver, or one that is too old.
pub(crate) fn count(folder: Option<&Path>) -> Result<usize> {
    version(folder)?;
    match result::init() {
        Err(DriverError(sys::cudaError_enum::CUDA_ERROR_NO_DEVICE)) => return Ok(0),
        answer => answer.map_err(told("starting the driver"))?,
    }
    device::get_count().map(|count| count as usize).map_err(told("counting devices"))
}

/// The newest CUDA that the driver knows. An error if that is too old for the kernels.
pub(super) fn version(folder: Option<&Path>) -> Result<(usize, usize)> {
    library::driver(folder)?;
    let mut version = 0;
    // SAFETY: the library is open, and the driver writes one number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(told("asking for the driver's version"))?;
    let found = (version as usize / 1000, version as usize % 1000 / 10);
    if found < DRIVER_NEEDED {
        let (needed, found) = (Dotted(DRIVER_NEEDED), Dotted(found));
        bail!("the NVIDIA driver knows CUDA {found}; a driver that knows CUDA {needed} or later is needed");
    }
    Ok(found)
}

struct Dotted((usize, usize));

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dotted((major, minor)) = self;
        write!(f, "{major}.{minor}")
    }
}

impl About {
    pub(super) fn of(number: sys::CUdevice, driver: (usize, usize)) -> Result<About> {
        let attribute = |attribute| {
            // SAFETY: the device exists.
            let value = unsafe { device::get_attribute(number, attribute) };
            value.map(|value| value as usize).map_err(told("asking a device about itself"))
        };
        Ok(About {
            name: device::get_name(number).map_err(told("asking a device for its name"))?,
            capability: (
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            // SAFETY: the device exists.
            memory: unsafe { device::total_mem(number) }.map_err(told("asking a device for its memory"))? as u64,
            driver,
            driver_path: library::driver_path(),
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        })
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.capability;
        let gib = self.memory as f64 / f64::from(1 << 30);
        write!(f, "{} (sm_{major}{minor}, {gib:.1} GiB, driver for CUDA {})", self.name, Dotted(self.driver))
    }
}
