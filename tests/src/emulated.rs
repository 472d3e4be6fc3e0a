//! A CUDA driver without a GPU: `ops/host/libcuda.cpp`, built once and found as a user's driver is found.

use std::path::{Path, PathBuf};
use std::process::Command;

use ops::Device;

/// The folder of the emulated driver, for `--cuda-libs`.
pub fn cuda_folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' crate lies in the repository");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let built = Command::new("sh").arg(root.join("ops/host/emulated.sh")).arg(target).output().expect("a shell");
    let told = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the emulated driver is built with g++: {told}");
    PathBuf::from(String::from_utf8(built.stdout).expect("a path").trim())
}

/// An emulated GPU that keeps everything as f32, so that it differs from a processor by the order of sums alone.
pub fn gpu_in_f32() -> Device {
    Device::cuda_in_f32(0, Some(&cuda_folder())).expect("the emulated GPU")
}

/// An emulated GPU as users have it: everything is kept as bf16.
pub fn gpu() -> Device {
    Device::cuda(0, Some(&cuda_folder())).expect("the emulated GPU")
}
