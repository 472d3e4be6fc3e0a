//! One safetensors file: a header that says where each tensor is, checked before anything is believed, then the
//! numbers.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::error::LoadError;
use super::mapping::Bytes;
use super::stand_in::stand_in;

/// The published 14B header is 160 kB.
const HEADER_BYTES_MAX: u64 = 64 << 20;

pub(super) struct Shard {
    /// For errors.
    pub(super) file: String,
    bytes: Bytes,
    tensors: BTreeMap<String, Entry>,
}

/// A tensor's entry in a header.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    range: Range<usize>,
}

impl Entry {
    /// How many numbers it has.
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().map(|&side| side as u64).product()
    }
}

impl Shard {
    /// `file`: what errors call it.
    pub(super) fn read(file: String, bytes: Bytes) -> Result<Shard, LoadError> {
        let tensors = header(&bytes).map_err(|reason| match stand_in(&bytes) {
            Some(what) => LoadError::file(&file, format!("this is {what} ({reason})")),
            None => LoadError::file(&file, reason),
        })?;
        Ok(Shard { file, bytes, tensors })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.tensors.get(name)
    }

    /// The bytes of a tensor that is here.
    pub(super) fn bytes_of(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.range.clone()]
    }

    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Every tensor of the file, or why it is not a safetensors file that can be used.
fn header(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
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
    // Checks that tensors lie side by side without gap or overlap, and that each one's bytes are its shape times its
    // type.
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
            (name, Entry { dtype: info.dtype, shape: info.shape.clone(), range: place(info.data_offsets) })
        })
        .collect())
}
