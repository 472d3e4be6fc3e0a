//! Golden files: safetensors with JSON in their header, and how a result is held against one.

use std::collections::HashMap;
use std::fs;
use std::ops::Index;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::de::DeserializeOwned;

pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    tensors: HashMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

impl File {
    pub(super) fn open(path: &Path) -> File {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).expect("tensors");
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
        File { tensors, metadata: header.metadata().clone().unwrap_or_default(), bytes }
    }

    /// The JSON under `key` in the header.
    pub(super) fn metadata<T: DeserializeOwned>(&self, key: &str) -> T {
        let json = self.metadata.get(key).unwrap_or_else(|| panic!("no {key} in the metadata"));
        serde_json::from_str(json).unwrap_or_else(|error| panic!("metadata {key}: {error}"))
    }

    /// The one tensor whose name begins so.
    pub(super) fn with_prefix(&self, prefix: &str) -> (String, &Tensor) {
        let mut found = self.tensors.iter().filter(|(name, _)| name.starts_with(prefix));
        match (found.next(), found.next()) {
            (Some((name, tensor)), None) => (name.clone(), tensor),
            (first, _) => panic!("{} tensors begin with {prefix}", if first.is_some() { "several" } else { "no" }),
        }
    }
}

impl Index<&str> for File {
    type Output = Tensor;

    fn index(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }
}

/// Prints the largest difference and where it is; fails if it is more than `tolerance` or not a number.
pub(super) fn compare(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "{what}: shape");
    let values = |tensor: &Tensor| {
        let flat = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all()?.to_vec1::<f64>());
        flat.expect("numbers")
    };
    let (found_values, expected_values) = (values(found), values(expected));
    let differences = found_values.iter().zip(&expected_values).map(|(a, b)| (a - b).abs());
    // Not a number counts as infinitely far.
    let differences = differences.map(|d| if d.is_nan() { f64::INFINITY } else { d });
    let (at, largest) =
        differences.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_else(|| panic!("{what}: nothing in it"));
    let mut place = Vec::new();
    let mut rest = at;
    for &dim in found.dims().iter().rev() {
        place.insert(0, rest % dim);
        rest /= dim;
    }
    println!("{what}: largest difference {largest:.3e} at {place:?} (allowed {tolerance:.1e})");
    assert!(
        largest <= tolerance,
        "{what}: {} at {place:?}, expected {}: {largest:e} apart, {tolerance:e} allowed",
        found_values[at],
        expected_values[at]
    );
}
