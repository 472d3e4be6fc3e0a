//! Our numbers against the reference implementation's.
//!
//! The tests run over `tests/golden/` and, when `CAUSEWAY_GOLDEN_DIR` is set, over the folders `lingbot/`, `pocket/`
//! and `cosmos3/` found there as well: other weights, shapes, windows and seeds. Each check takes its shapes from the
//! files and prints the largest difference and where it is.

mod camera;
mod cosmos3_dit;
mod cosmos3_pipeline;
mod cosmos3_sampler;
mod cosmos3_text;
mod cosmos3_vae;
mod dit;
mod emulated;
mod kv;
mod narrow;
mod pocket;
mod scheduler;
mod text;
mod vae;

use std::collections::BTreeMap;
use std::ops::Index;
use std::path::{Path, PathBuf};

use ops::{DType, Device, Stored, Tensor};
use pipeline::load::weights::Checkpoint;
use pipeline::wan::tensors;
use pipeline::wan::vae::Vae;
use pipeline::wan::vae::config::VaeConfig;
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;

/// Run `check` on every folder of this name.
fn for_each_folder(name: &str, check: impl Fn(&Path)) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let more = std::env::var_os("CAUSEWAY_GOLDEN_DIR").map(PathBuf::from);
    let mut folders: Vec<_> = [Some(own), more].into_iter().flatten().map(|root| root.join(name)).collect();
    folders.retain(|folder| folder.is_dir());
    assert!(!folders.is_empty(), "no folder {name} in tests/golden");
    for folder in folders {
        println!("== {}", folder.display());
        check(&folder);
    }
}

/// One safetensors file: its tensors and the text in its header.
struct Golden {
    name: String,
    file: Vec<u8>,
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

impl Golden {
    fn open(path: &Path) -> Golden {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = tensors.iter().map(|(name, view)| {
            let dtype = DType::named(&view.dtype().to_string()).expect("a type of number that tensors hold");
            let stored = Stored::new(name, dtype, view.shape(), view.data()).expect("as many as the shape has");
            (name.to_owned(), stored.to_tensor(&Device::cpu()).expect("a tensor"))
        });
        let tensors = tensors.collect();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Golden { name, tensors, metadata, file: bytes }
    }

    /// The same, its numbers on `device`.
    fn on(mut self, device: &Device) -> Golden {
        if *device != Device::cpu() {
            for tensor in self.tensors.values_mut().filter(|tensor| tensor.dtype() == DType::F32) {
                let numbers = tensor.to_vec::<f32>().expect("f32");
                *tensor = Tensor::from_vec(numbers, tensor.dims(), device).expect("memory of the device");
            }
        }
        self
    }

    fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// A tensor as f32, as it is stored.
    fn raw(&self, tensor: &str) -> Tensor {
        self[tensor].to_f32().expect("a cast")
    }

    /// A tensor as f32 without its batch dimension of one.
    fn get(&self, tensor: &str) -> Tensor {
        self.raw(tensor).squeeze(0).expect("a batch of one")
    }

    /// The JSON under `key` in the header.
    fn json<T: DeserializeOwned>(&self, key: &str) -> T {
        let text = self.metadata.get(key).unwrap_or_else(|| panic!("{}: no metadata {key}", self.name));
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{}: metadata {key}: {error}", self.name))
    }

    /// The tensor whose name begins so, if there is one.
    fn with_prefix(&self, prefix: &str) -> Option<(&str, &Tensor)> {
        let found = self.tensors.iter().find(|(name, _)| name.starts_with(prefix));
        found.map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// A tensor of bytes.
    fn bytes(&self, tensor: &str) -> Vec<u8> {
        self[tensor].to_vec().unwrap_or_else(|error| panic!("{tensor}: {error}"))
    }

    /// How many tensors are called `prefix{0..}suffix`.
    fn count(&self, prefix: &str, suffix: &str) -> usize {
        (0..).take_while(|i| self.has(&format!("{prefix}{i}{suffix}"))).count()
    }
}

/// A tensor as it is stored.
impl Index<&str> for Golden {
    type Output = Tensor;

    fn index(&self, tensor: &str) -> &Tensor {
        self.tensors.get(tensor).unwrap_or_else(|| panic!("{}: no tensor {tensor}", self.name))
    }
}

/// The autoencoder in this file; it holds nothing else.
fn load_vae(config: &VaeConfig, path: &Path, device: &Device) -> Vae {
    let bytes = std::fs::read(path).expect("weights");
    let checkpoint = Checkpoint::from_bytes(&bytes).expect("safetensors");
    let list = tensors::vae(config);
    let vae = Vae::load(config, &checkpoint.weights(&list, device).expect("every tensor")).expect("a VAE");
    checkpoint.finish(&list).expect("no other tensor");
    vae
}

/// Every number brought into [-1, 1].
fn clamped(tensor: &Tensor) -> Tensor {
    let values = tensor.to_vec::<f32>().expect("f32").into_iter().map(|value| value.clamp(-1.0, 1.0)).collect();
    Tensor::from_vec(values, tensor.dims(), &Device::cpu()).expect("as many")
}

/// The model directory that ships with the project.
fn pocket_weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pocket/weights")
}

/// Pixels are truncated to bytes, so a hair's difference can move one by one: at most one in a thousand, and by no
/// more.
#[track_caller]
fn assert_frames_close(what: &str, found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = |least: u8| found.iter().zip(expected).filter(|(a, b)| a.abs_diff(**b) >= least).count();
    println!("{what:<48} {} of {} bytes differ, {} by more than one", off(1), expected.len(), off(2));
    assert!(
        off(2) == 0 && off(1) * 1000 <= expected.len(),
        "{what}: {} bytes differ, {} by more than one",
        off(1),
        off(2)
    );
}

/// Print the largest difference and where it is, and insist that it is within `tolerance`.
#[track_caller]
fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let (difference, at) = largest_difference(what, found, expected);
    println!("{what:<48} max |Δ| {difference:.1e} at {at:?} of {:?}", expected.dims());
    assert!(difference <= tolerance, "{what}: |Δ| {difference:e} at {at:?} is over {tolerance:e}");
}

/// The size of the difference, as a share of the size of what is expected.
#[track_caller]
fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let numbers = |tensor: &Tensor| tensor.to_f64().expect("numbers");
    let size = |numbers: &[f64]| numbers.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (found, expected) = (numbers(found), numbers(expected));
    let difference: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
    size(&difference) / size(&expected)
}

/// Peak signal-to-noise ratio in decibels.
#[track_caller]
fn psnr(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let squares: f64 = one.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    20.0 * 255f64.log10() - 10.0 * (squares / one.len() as f64).log10()
}

#[track_caller]
fn largest_difference(what: &str, found: &Tensor, expected: &Tensor) -> (f64, Vec<usize>) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let numbers = |t: &Tensor| t.to_f64().expect("numbers");
    let (mut largest, mut at) = (0.0, 0);
    for (i, (found, expected)) in numbers(found).into_iter().zip(numbers(expected)).enumerate() {
        // A NaN is larger than anything.
        let difference = Some((found - expected).abs()).filter(|d| !d.is_nan()).unwrap_or(f64::INFINITY);
        if difference > largest {
            (largest, at) = (difference, i);
        }
    }
    let mut index = Vec::new();
    for &dim in expected.dims().iter().rev() {
        index.insert(0, at % dim);
        at /= dim;
    }
    (largest, index)
}
