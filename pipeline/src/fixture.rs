//! Small model directories for tests, written where the system keeps temporary files and removed with the value.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::Value;

use ops::{Device, emulation};

use crate::load::model_dir::ModelDir;
use crate::load::tensor_list::TensorList;

/// So many emulated GPUs that keep everything as f32, with an emulated NCCL between them.
pub(crate) fn gpus(count: usize) -> Vec<Device> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/host/emulated.sh");
    // This test lies in `target/PROFILE/deps`.
    let test = std::env::current_exe().expect("a test is a file");
    let target = test.ancestors().nth(3).expect("cargo's folder");
    let built = Command::new("sh").arg(script).arg(target).output().expect("a shell");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let folder = Path::new(String::from_utf8(built.stdout).expect("a path").trim()).join("with-nccl");
    let open = |number| Device::cuda_in_f32(number, Some(&folder)).expect("an emulated GPU");
    let first = open(0);
    emulation::set(c"DEVICES", count as i64);
    [first].into_iter().chain((1..count).map(open)).collect()
}

pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("causeway-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory of our own");
        TempDir(path)
    }

    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> &TempDir {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("a file stands in a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
        self
    }

    pub(crate) fn open(&self) -> ModelDir {
        ModelDir::open(&self.0).expect("a model directory")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Best effort: a test that failed has something better to say.
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The number at `position` of the tensor `name`: between -2 and 2, and f16 and bf16 both round it.
pub(crate) fn value(name: &str, position: usize) -> f32 {
    let seed = name.bytes().fold(position as u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    (seed.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 22) as f32 - 2.0
}

/// A safetensors file of these tensors. `value_of` names the tensor whose values stand there.
pub(crate) fn file_as(tensors: &TensorList, dtype: Dtype, value_of: impl Fn(&str) -> String) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(name, shape)| {
            let source = value_of(name);
            let numbers = (0..shape.iter().product()).map(|position| value(&source, position));
            match dtype {
                Dtype::F32 => numbers.flat_map(f32::to_le_bytes).collect(),
                Dtype::F16 => numbers.flat_map(|number| f16::from_f32(number).to_le_bytes()).collect(),
                Dtype::BF16 => numbers.flat_map(|number| bf16::from_f32(number).to_le_bytes()).collect(),
                Dtype::U8 => numbers.map(|number| number as u8).collect(),
                other => panic!("no test stores {other}"),
            }
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (name.to_owned(), TensorView::new(dtype, shape.to_vec(), bytes).expect("as many numbers as the shape says"))
    });
    serialize(views, None).expect("tensors of distinct names")
}

pub(crate) fn file(tensors: &TensorList, dtype: Dtype) -> Vec<u8> {
    file_as(tensors, dtype, str::to_owned)
}

/// `{"weight_map": …}` for tensors dealt out to shards.
pub(crate) fn index(shards: &[(&str, &TensorList)]) -> String {
    let map: serde_json::Map<String, Value> = shards
        .iter()
        .flat_map(|(file, tensors)| tensors.iter().map(|(name, _)| (name.to_owned(), (*file).into())))
        .collect();
    serde_json::json!({ "weight_map": map }).to_string()
}
