//! One safetensors file: a header that says where each tensor is, checked before anything is believed, then the numbers.

use std::collections::BTreeMap;
use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::weights::{Bytes, LoadError};
use crate::load::model_dir::ModelDir;

/// The published 14B header is 160 kB.
const HEADER_BYTES_MAX: u64 = 64 << 20;

pub(super) struct Shard {
    /// For errors.
    pub(super) file: String,
    bytes: Bytes,
    tensors: BTreeMap<String, Stored>,
}

/// A tensor as it lies in its file.
#[derive(Debug, Clone)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    range: Range<usize>,
}

impl Stored {
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&side| side as u64).product()
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.range.len() as u64
    }
}

impl Shard {
    pub(super) fn open(dir: &ModelDir, path: &str) -> Result<Shard, LoadError> {
        Shard::read(dir.show(path), dir.map(path)?)
    }

    pub(super) fn read(file: String, bytes: Bytes) -> Result<Shard, LoadError> {
        let tensors = header(&bytes).map_err(|reason| LoadError::file(&file, reason))?;
        Ok(Shard { file, bytes, tensors })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored))
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The numbers of a tensor that is here.
    pub(super) fn to_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let stored = self.get(name).expect("asked for only after it was found");
        let bytes = &self.bytes[stored.range.clone()];
        match stored.dtype {
            Dtype::F32 => Ok(bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()),
            Dtype::BF16 => Ok(bytes
                .as_chunks()
                .0
                .iter()
                .map(|&two| f32::from_bits(u32::from(u16::from_le_bytes(two)) << 16))
                .collect()),
            Dtype::F16 => Ok(f16_to_f32(bytes)),
            other => Err(LoadError::file(
                &self.file,
                format!("tensor {name} is stored as {other}; it must be F32, F16 or BF16"),
            )),
        }
    }
}

/// Through a small aligned buffer, because `half` converts whole slices with one instruction a lane and single numbers with
/// a look at the CPU's features each.
fn f16_to_f32(bytes: &[u8]) -> Vec<f32> {
    const LANE: usize = 1024;
    let mut out = vec![0f32; bytes.len() / 2];
    let mut lane = [f16::ZERO; LANE];
    for (out, bytes) in out.chunks_mut(LANE).zip(bytes.chunks(2 * LANE)) {
        let lane = &mut lane[..out.len()];
        for (number, &two) in lane.iter_mut().zip(bytes.as_chunks().0) {
            *number = f16::from_le_bytes(two);
        }
        lane.convert_to_f32_slice(out);
    }
    out
}

/// Every tensor of the file, or why it is not a safetensors file that can be used.
fn header(bytes: &[u8]) -> Result<BTreeMap<String, Stored>, String> {
    let total = bytes.len() as u64;
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!("not a safetensors file: {total} bytes, and the length of the header alone takes 8"));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX {
        return Err(format!("not a safetensors file: its first 8 bytes announce a header of {length} bytes"));
    }
    let Some(json) = rest.get(..length as usize) else {
        return Err(format!("truncated: its header takes {length} bytes, the whole file has {total}"));
    };
    // Checks that tensors lie side by side without gap or overlap, and that each one's bytes are its shape times its type.
    let metadata: Metadata =
        serde_json::from_slice(json).map_err(|error| format!("its header is not usable: {error}"))?;
    let start = 8 + length as usize;
    // Both are at most the sum of what is in a header of 64 MB, and `Metadata` refuses sums that overflow.
    let described = (start as u64).saturating_add(metadata.data_len() as u64);
    if described != total {
        let what = if described > total { "truncated" } else { "longer than its header says" };
        return Err(format!("{what}: its header describes {described} bytes, the file has {total}"));
    }
    let place = |(begin, end): (usize, usize)| start + begin..start + end;
    Ok(metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            (name, Stored { dtype: info.dtype, shape: info.shape.clone(), range: place(info.data_offsets) })
        })
        .collect())
}
