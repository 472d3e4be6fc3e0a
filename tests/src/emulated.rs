//! A CUDA driver without a GPU: `ops/host/libcuda.cpp`, built once and found as a user's driver is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ops::Device;
use pipeline::load::model_dir::ModelDir;
use serde_json::json;

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

/// So many emulated GPUs that keep everything as f32, with an emulated NCCL between them.
pub fn gpus_in_f32(count: usize) -> Vec<Device> {
    let folder = cuda_folder().join("with-nccl");
    let open = |number| Device::cuda_in_f32(number, Some(&folder)).expect("an emulated GPU");
    let first = open(0);
    ops::emulation::set(c"DEVICES", count as i64);
    [first].into_iter().chain((1..count).map(open)).collect()
}

/// The pocket world at `side`×`side`, in chunks of two latent frames and `steps` steps: a copy below `folder`.
pub fn small_pocket(folder: &Path, side: u32, steps: u32) -> ModelDir {
    small_pocket_of(folder, [side, side], steps)
}

/// As [`small_pocket`], so wide and so high.
pub fn small_pocket_of(folder: &Path, sides: [u32; 2], steps: u32) -> ModelDir {
    // A folder for each process: tests that run at once write none of each other's files.
    let folder = folder.join(format!("small-pocket-{}", std::process::id()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' crate lies in the repository");
    copy(&root.join("pocket/weights"), &folder);
    let recipe = folder.join("causeway.json");
    let mut changed: serde_json::Value = serde_json::from_slice(&fs::read(&recipe).expect("a recipe")).expect("JSON");
    changed["size"] = json!(sides);
    changed.as_object_mut().expect("an object").remove("quick_steps");
    for (key, value) in [("chunk", 2), ("window", 3), ("steps", steps), ("condition_frames", 13)] {
        changed[key] = value.into();
    }
    fs::write(recipe, changed.to_string()).expect("a recipe");
    ModelDir::open(&folder).expect("a model")
}

/// The same world, which keeps no pictures by their place: those stand in the host's memory.
pub fn forgetting(dir: ModelDir) -> ModelDir {
    let recipe = Path::new(dir.name()).join("causeway.json");
    let mut changed: serde_json::Value = serde_json::from_slice(&fs::read(&recipe).expect("a recipe")).expect("JSON");
    changed.as_object_mut().expect("an object").remove("memory").expect("a world that remembers");
    fs::write(&recipe, changed.to_string()).expect("a recipe");
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).expect("a copy");
        }
    }
}
