//! Checkpoints: safetensors files seen as one set of named tensors, handed out as they are stored.
//!
//! Files on disk are memory-mapped, so opening a checkpoint reads its headers only. An operation packs the stored bytes in the
//! type it computes in, so loading never holds a weight twice: a mapped page is clean, the kernel takes it back. Whatever
//! names a file uses, a network asks for the published ones: see `names.rs`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use ops::conv::Conv;
use ops::{Compute, DType, Device, Linear, Stored, Tensor};
use serde::Deserialize;

use super::error::LoadError;
use super::mapping::Bytes;
use super::model_dir::{Component, ModelDir, is_file_name, join};
use super::names::Naming;
use super::shard::{Entry, Shard};
use super::tensor_list::TensorList;

/// All tensors of one network under their published names.
pub struct Checkpoint {
    /// What an error about no file in particular names: the index, or the only file.
    file: String,
    shards: Vec<Shard>,
    locations: BTreeMap<String, Location>,
    /// Names that were asked for.
    taken: RefCell<BTreeSet<String>>,
}

/// Where a tensor is.
struct Location {
    shard: usize,
    /// Its name in the file.
    stored: String,
}

/// The part of a checkpoint whose names begin alike: `blocks.0.self_attn`, say.
#[derive(Clone)]
pub struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    /// It computes in f32: what is narrower is named below.
    device: Device,
    /// Computes convolutions.
    convolving: Device,
    /// Dense layers that are computed in another type, by the names of their weights.
    narrow: Arc<BTreeMap<String, Compute>>,
    prefix: String,
}

/// `*.safetensors.index.json`: which shard holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The tensors of one network of a model directory. Reads headers only.
    pub fn open(dir: &ModelDir, component: Component) -> Result<Checkpoint, LoadError> {
        let files = dir.network(component)?;
        let Some(index_path) = files.index else {
            let shards = files.shards.iter().map(|path| open_shard(dir, path)).collect::<Result<Vec<_>, _>>()?;
            let file = match &shards[..] {
                [only] => only.file.clone(),
                _ => dir.show(&files.folder),
            };
            return Checkpoint::new(file, shards);
        };

        let file = dir.show(&index_path);
        let index: Index = dir.read(&index_path)?.json()?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        let mut shards = Vec::new();
        let mut shard_of = BTreeMap::new();
        for name in names {
            // An index may come from anywhere: it names files beside itself and no others.
            if !is_file_name(name) || !name.ends_with(".safetensors") {
                return Err(LoadError::file(
                    file,
                    format!("names {name:?}, which is not a safetensors file beside it"),
                ));
            }
            let path = join(&files.folder, name);
            if !dir.has(&path) {
                return Err(LoadError::file(file, format!("names the file {name}, which is not there")));
            }
            shard_of.insert(name.clone(), shards.len());
            shards.push(open_shard(dir, &path)?);
        }
        for (tensor, name) in &index.weight_map {
            if shards[shard_of[name]].get(tensor).is_none() {
                return Err(LoadError::file(
                    file,
                    format!("says that {name} holds the tensor {tensor}, which it does not"),
                ));
            }
        }
        Checkpoint::new(file, shards)
    }

    /// The tensors of one safetensors file, already read.
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, LoadError> {
        let file = "safetensors";
        let shard = Shard::read(file.to_owned(), Bytes::Embedded(Cow::Owned(bytes.to_vec())))?;
        Checkpoint::new(file.to_owned(), vec![shard])
    }

    fn new(file: String, shards: Vec<Shard>) -> Result<Checkpoint, LoadError> {
        let naming = Naming::detect(|name| shards.iter().any(|shard| shard.get(name).is_some()));
        let mut locations: BTreeMap<String, Location> = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            for (stored, _) in shard.tensors() {
                let location = Location { shard: number, stored: stored.to_owned() };
                if let Some(first) = locations.insert(naming.published(stored), location) {
                    let (here, there) = (&shard.file, &shards[first.shard].file);
                    let reason = if first.stored == stored {
                        format!("tensor {stored} stands in {there} as well")
                    } else {
                        format!("tensors {stored} and {} (in {there}) are the same part of the model", first.stored)
                    };
                    return Err(LoadError::file(here, reason));
                }
            }
        }
        drop_embedding_alias(&shards, &mut locations)?;
        Ok(Checkpoint { file, shards, locations, taken: RefCell::default() })
    }

    /// The same checkpoint without the tensors of these names: files may hold parts that drawing has no use for.
    pub fn without(mut self, is_unused: impl Fn(&str) -> bool) -> Checkpoint {
        self.locations.retain(|name, _| !is_unused(name));
        self
    }

    /// All tensors, to be computed with on `device`: in its type where `tensors` allow that, else in f32. An error if one of
    /// `tensors` is missing, or is not what they say.
    pub fn weights(&self, tensors: &TensorList, device: &Device) -> Result<Weights<'_>, LoadError> {
        match self.faults(tensors).find(|fault| !matches!(fault, LoadError::Extra { .. })) {
            Some(fault) => Err(fault),
            None => Ok(Weights {
                checkpoint: self,
                device: device.computing_in(Compute::F32),
                convolving: device.clone(),
                narrow: Arc::new(tensors.narrow(device.compute())),
                prefix: String::new(),
            }),
        }
    }

    /// After a network was loaded: an error if the checkpoint holds a tensor that is none of `tensors`.
    pub fn finish(&self, tensors: &TensorList) -> Result<(), LoadError> {
        let taken = self.taken.borrow();
        let forgotten: Vec<_> = tensors.iter().map(|(name, _)| name).filter(|name| !taken.contains(*name)).collect();
        assert!(forgotten.is_empty(), "a network reads every tensor that it lists, and not {forgotten:?}");
        match self.faults(tensors).find(|fault| matches!(fault, LoadError::Extra { .. })) {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Everything that keeps this checkpoint from being a network of `tensors`, as far as headers tell.
    pub fn faults(&self, tensors: &TensorList) -> impl Iterator<Item = LoadError> {
        let listed: BTreeSet<&str> = tensors.iter().map(|(name, _)| name).collect();
        let wrong = tensors.iter().filter_map(|(name, shape)| self.fault(name, shape));
        let extra =
            self.tensors().filter(move |(name, _)| !listed.contains(name)).map(|(name, entry)| LoadError::Extra {
                file: self.shards[self.locations[name].shard].file.clone(),
                tensor: self.describe(name),
                found: entry.shape.clone(),
            });
        wrong.chain(extra)
    }

    fn fault(&self, name: &str, shape: &[usize]) -> Option<LoadError> {
        let Some((shard, entry)) = self.find(name) else {
            let (file, tensor) = (self.file.clone(), name.to_owned());
            return Some(LoadError::Missing { file, tensor, expected: shape.to_vec() });
        };
        let (file, tensor) = (shard.file.clone(), self.describe(name));
        if entry.shape != shape {
            return Some(LoadError::Shape { file, tensor, expected: shape.to_vec(), found: entry.shape.clone() });
        }
        match DType::named(&entry.dtype.to_string()) {
            Some(dtype) if dtype.is_weight() => None,
            _ => Some(LoadError::Type { file, tensor, found: entry.dtype.to_string() }),
        }
    }

    fn find(&self, name: &str) -> Option<(&Shard, &Entry)> {
        let location = self.locations.get(name)?;
        let shard = &self.shards[location.shard];
        Some((shard, shard.get(&location.stored).expect("locations point at tensors that are there")))
    }

    /// The bytes of the tensor of this published name.
    pub(crate) fn bytes(&self, name: &str) -> Result<&[u8], LoadError> {
        let found = self.find(name).map(|(shard, entry)| shard.bytes_of(entry));
        found.ok_or_else(|| LoadError::file(&self.file, format!("tensor {name} is missing")))
    }

    /// The tensor of this published name as it is stored.
    pub fn stored(&self, name: &str) -> Result<Stored<'_>, LoadError> {
        let (shard, entry) =
            self.find(name).ok_or_else(|| LoadError::file(&self.file, format!("tensor {name} is missing")))?;
        let tensor = self.describe(name);
        let Some(dtype) = DType::named(&entry.dtype.to_string()) else {
            return Err(LoadError::Type { file: shard.file.clone(), tensor, found: entry.dtype.to_string() });
        };
        let called = format!("{}: tensor {tensor}", shard.file);
        Ok(Stored::new(called, dtype, &entry.shape, shard.bytes_of(entry))?)
    }

    /// Every tensor by its published name.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.locations.keys().map(|name| (name.as_str(), self.find(name).expect("a key is there").1))
    }

    /// The shape of a tensor under its published name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|(_, entry)| entry.shape.as_slice())
    }

    /// Bytes of all files together, headers included.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(Shard::file_bytes).sum()
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.shards.len()
    }

    /// A tensor's name for an error: the published one, and the stored one where that differs.
    fn describe(&self, name: &str) -> String {
        match self.locations.get(name) {
            Some(location) if location.stored != name => format!("{name} (stored as {})", location.stored),
            _ => name.to_owned(),
        }
    }
}

/// UMT5 files may hold the embedding twice, or under its alias only. One is enough.
fn drop_embedding_alias(shards: &[Shard], locations: &mut BTreeMap<String, Location>) -> Result<(), LoadError> {
    const SHARED: &str = "shared.weight";
    let Some(alias) = locations.remove("encoder.embed_tokens.weight") else { return Ok(()) };
    let shape = |location: &Location| shards[location.shard].get(&location.stored).map(|stored| stored.shape.clone());
    match locations.get(SHARED) {
        None => _ = locations.insert(SHARED.to_owned(), alias),
        Some(shared) if shape(shared) == shape(&alias) => {}
        Some(shared) => {
            return Err(LoadError::Shape {
                file: shards[alias.shard].file.clone(),
                expected: shape(shared).unwrap_or_default(),
                found: shape(&alias).unwrap_or_default(),
                tensor: alias.stored,
            });
        }
    }
    Ok(())
}

/// One file of a directory.
fn open_shard(dir: &ModelDir, path: &str) -> Result<Shard, LoadError> {
    Shard::read(dir.show(path), dir.map(path)?)
}

impl<'a> Weights<'a> {
    /// The part below this one that `name` begins. `name` may hold dots or be a number.
    pub fn at(&self, name: impl Display) -> Weights<'a> {
        Weights { prefix: self.path(name), ..self.clone() }
    }

    /// What computes with whatever is made of these. Dense layers have their own type: see [`Weights::linear`].
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The same, with convolutions in f32 whatever the device computes in: those next to pictures and latents.
    pub fn in_f32(&self) -> Weights<'a> {
        Weights { convolving: self.device.clone(), ..self.clone() }
    }

    /// What computes with convolutions that are made of these.
    pub fn convolving(&self) -> &Device {
        &self.convolving
    }

    /// The tensor `name` here, as it is stored.
    pub fn stored(&self, name: &str) -> Result<Stored<'a>, LoadError> {
        let path = self.path(name);
        let stored = self.checkpoint.stored(&path)?;
        self.checkpoint.taken.borrow_mut().insert(path);
        Ok(stored)
    }

    /// The small tensor `name` here, such as a norm's weight.
    pub fn tensor(&self, name: &str) -> Result<Tensor, LoadError> {
        Ok(self.stored(name)?.to_f32(&self.device)?)
    }

    /// The dense layer here, of `weight` and `bias`, in the type that the network's list gives it.
    pub fn linear(&self) -> Result<Linear, LoadError> {
        Ok(Linear::new(&self.stored("weight")?, Some(&self.stored("bias")?), &self.for_dense())?)
    }

    /// As [`Weights::linear`], of `weight` alone.
    pub fn linear_without_bias(&self) -> Result<Linear, LoadError> {
        Ok(Linear::new(&self.stored("weight")?, None, &self.for_dense())?)
    }

    /// What computes with the dense layer here.
    fn for_dense(&self) -> Device {
        self.device.computing_in(self.narrow.get(&self.path("weight")).copied().unwrap_or(Compute::F32))
    }

    /// The convolution here, of `weight` and `bias`.
    pub fn conv(&self) -> Result<Conv, LoadError> {
        Ok(Conv::new(&self.stored("weight")?, &self.stored("bias")?, &self.convolving)?)
    }

    /// The convolution here, which halves a picture.
    pub fn downsampling_conv(&self) -> Result<Conv, LoadError> {
        Ok(Conv::downsampling(&self.stored("weight")?, &self.stored("bias")?, &self.convolving)?)
    }

    /// The convolution here, which first doubles a picture.
    pub fn upsampling_conv(&self) -> Result<Conv, LoadError> {
        Ok(Conv::upsampling(&self.stored("weight")?, &self.stored("bias")?, &self.convolving)?)
    }

    /// Is there a tensor of this name here?
    pub fn has(&self, name: &str) -> bool {
        self.checkpoint.locations.contains_key(&self.path(name))
    }

    fn path(&self, name: impl Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }
}

#[cfg(test)]
mod tests;
