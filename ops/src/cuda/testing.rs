//! The emulated driver, for tests: built once from `ops/host`, found as a user's driver is found.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::driver::Cuda;
pub(crate) use crate::emulation::Counts;
use crate::{DType, Device, Tensor, emulation};

/// The folder of the emulated driver.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        // This test lies in `target/PROFILE/deps`.
        let test = env::current_exe().expect("a test is a file");
        let target = test.ancestors().nth(3).expect("cargo's folder");
        let built = Command::new("sh").arg(here.join("host/emulated.sh")).arg(target).output().expect("a shell");
        let told = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "the emulated driver is built with g++: {told}");
        PathBuf::from(String::from_utf8(built.stdout).expect("a path").trim())
    })
}

/// One test at a time: a process has one emulated driver, and its counts and faults are for all.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An emulated device whose memory is never used twice, so a read of what was not written gives NaN.
pub(crate) fn device(numbers: DType) -> Device {
    Device::of_cuda(&Cuda::open_with(0, Some(folder()), numbers, false).expect("the emulated device"))
}

/// As [`device`], with memory that is used again, as users have it.
pub(crate) fn device_as_shipped(numbers: DType) -> Device {
    Device::of_cuda(&Cuda::open(0, Some(folder()), numbers).expect("the emulated device"))
}

/// As [`device_as_shipped`] in bf16, beside an emulated cuBLASLt.
pub(crate) fn device_with_library() -> Device {
    let folder = folder().join("with-blas");
    Device::of_cuda(&Cuda::open(0, Some(&folder), DType::BF16).expect("the emulated device"))
}

/// What the emulated driver has counted.
pub(crate) fn counts() -> Counts {
    open();
    emulation::counts().expect("the emulated driver is open")
}

/// Set a fault or a property, see `ops/host/libcuda.cpp`.
pub(crate) fn set(name: &std::ffi::CStr, value: i64) {
    open();
    emulation::set(name, value);
}

fn open() {
    super::library::driver(Some(folder())).expect("the emulated driver");
}

/// These numbers, on the device and as the device keeps activations.
pub(crate) fn there(tensor: &Tensor, device: &Device) -> Tensor {
    let cuda = device.as_cuda().expect("an emulated device");
    let numbers = tensor.to_vec::<f32>().expect("f32");
    let moved = Tensor::from_vec(numbers, tensor.dims(), device).expect("memory");
    moved.as_cuda().expect("there").cast(cuda.numbers()).expect("memory").into()
}

/// The numbers that are left of `tensor` when a device keeps it: rounded to bf16, if it does so.
pub(crate) fn rounded(tensor: &Tensor, numbers: DType) -> Tensor {
    match numbers {
        DType::BF16 => {
            let numbers = tensor.to_vec::<f32>().expect("f32").into_iter();
            let rounded = numbers.map(|number| half::bf16::from_f32(number).to_f32()).collect();
            Tensor::from_vec(rounded, tensor.dims(), &Device::cpu()).expect("one shape")
        }
        _ => tensor.clone(),
    }
}
