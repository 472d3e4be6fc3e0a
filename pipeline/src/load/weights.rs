//! Checkpoints: safetensors files seen as one set of named tensors, cast to f32 one at a time.
//!
//! Files on disk are memory-mapped, so opening a checkpoint reads its headers only, and loading one never holds the stored
//! bytes and the tensors both: a mapped page is clean, the kernel takes it back. Whatever names a file uses, a network asks
//! for the published ones: see [`crate::wan::names`].

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::File;

use candle_core::{Device, Shape, Tensor};
use memmap2::Mmap;
use ops::Linear;
use serde::Deserialize;

use super::shard::Shard;
pub use super::shard::Stored;
use crate::load::model_dir::{Component, ModelDir};
use crate::wan::names::Naming;

/// All tensors of one network under their published names.
pub struct Checkpoint {
    /// What an error about no file in particular names: the index, or the only file.
    file: String,
    shards: Vec<Shard>,
    places: BTreeMap<String, Place>,
    /// Names that were asked for: what is left over at the end does not belong.
    taken: RefCell<BTreeSet<String>>,
}

/// Where a tensor is.
struct Place {
    shard: usize,
    /// Its name in the file.
    stored: String,
}

/// One place in a checkpoint: `blocks.0.self_attn`, say.
#[derive(Clone)]
pub struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
}

/// What is wrong with a model directory, and where.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{file}: {reason}")]
    File { file: String, reason: String },
    #[error("{file}: {key} is {value}; it must be {allowed}")]
    Config { file: String, key: String, value: String, allowed: String },
    #[error("{file}: tensor {tensor} is missing; expected shape {expected:?}")]
    Missing { file: String, tensor: String, expected: Vec<usize> },
    #[error("{file}: tensor {tensor} has shape {found:?}; expected {expected:?}")]
    Shape { file: String, tensor: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("{file}: tensor {tensor} (shape {found:?}) is not part of this model")]
    Extra { file: String, tensor: String, found: Vec<usize> },
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl LoadError {
    pub(crate) fn file(file: impl Into<String>, reason: impl Display) -> LoadError {
        LoadError::File { file: file.into(), reason: reason.to_string() }
    }
}

/// The bytes of a file that is too large to read whole.
pub(crate) enum Bytes {
    Mapped(Mmap),
    Embedded(Cow<'static, [u8]>),
}

impl Bytes {
    pub(crate) fn map(file: &File) -> std::io::Result<Bytes> {
        // SAFETY: the mapping is read-only and private to this process. If somebody else truncates or rewrites the file
        // while it is mapped, reads fault or see other numbers; that is the contract of every program that maps its model,
        // and no length or offset is ever read from the mapping a second time after it was checked.
        let map = unsafe { Mmap::map(file)? };
        Ok(Bytes::Mapped(map))
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Embedded(bytes) => bytes,
        }
    }
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
            let shards = files.shards.iter().map(|path| Shard::open(dir, path)).collect::<Result<Vec<_>, _>>()?;
            let file = match &shards[..] {
                [only] => only.file.clone(),
                _ => dir.show(&files.folder),
            };
            return Checkpoint::new(file, shards);
        };

        let file = dir.show(&index_path);
        let index: Index =
            serde_json::from_slice(&dir.read(&index_path)?).map_err(|error| LoadError::file(&file, error))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        let mut shards = Vec::new();
        let mut shard_of = BTreeMap::new();
        for name in names {
            // An index may come from anywhere: it names files beside itself and no others.
            if name.contains(['/', '\\']) || !name.ends_with(".safetensors") {
                return Err(LoadError::file(
                    file,
                    format!("names {name:?}, which is not a safetensors file beside it"),
                ));
            }
            let path = crate::load::model_dir::join(&files.folder, name);
            if !dir.has(&path) {
                return Err(LoadError::file(file, format!("names the file {name}, which is not there")));
            }
            shard_of.insert(name.clone(), shards.len());
            shards.push(Shard::open(dir, &path)?);
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
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            for (stored, _) in shard.tensors() {
                let place = Place { shard: number, stored: stored.to_owned() };
                if let Some(first) = places.insert(naming.published(stored), place) {
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
        drop_embedding_alias(&shards, &mut places)?;
        Ok(Checkpoint { file, shards, places, taken: RefCell::default() })
    }

    pub fn root(&self) -> Weights<'_> {
        Weights { checkpoint: self, prefix: String::new() }
    }

    /// An error if a tensor was never asked for.
    pub fn finish(&self) -> Result<(), LoadError> {
        let taken = self.taken.borrow();
        match self.tensors().find(|(name, _)| !taken.contains(*name)) {
            Some((name, stored)) => Err(LoadError::Extra {
                file: self.shards[self.places[name].shard].file.clone(),
                tensor: self.describe(name),
                found: stored.shape.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Every tensor by its published name, as it is stored.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.places.iter().map(|(name, place)| {
            (
                name.as_str(),
                self.shards[place.shard].get(&place.stored).expect("places point at tensors that are there"),
            )
        })
    }

    /// The shape of a tensor under its published name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let place = self.places.get(name)?;
        Some(&self.shards[place.shard].get(&place.stored)?.shape)
    }

    /// Bytes of all files together, headers included.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(Shard::file_bytes).sum()
    }

    pub fn file_count(&self) -> usize {
        self.shards.len()
    }

    /// A tensor's name for an error: the published one, and the stored one where that differs.
    fn describe(&self, name: &str) -> String {
        match self.places.get(name) {
            Some(place) if place.stored != name => format!("{name} (stored as {})", place.stored),
            _ => name.to_owned(),
        }
    }
}

/// UMT5 files may hold the embedding twice, or under its alias only. One is enough.
fn drop_embedding_alias(shards: &[Shard], places: &mut BTreeMap<String, Place>) -> Result<(), LoadError> {
    const SHARED: &str = "shared.weight";
    let Some(alias) = places.remove("encoder.embed_tokens.weight") else { return Ok(()) };
    let shape = |place: &Place| shards[place.shard].get(&place.stored).map(|stored| stored.shape.clone());
    match places.get(SHARED) {
        None => _ = places.insert(SHARED.to_owned(), alias),
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

impl<'a> Weights<'a> {
    /// The place `name` below this one. `name` may hold dots or be a number.
    pub fn at(&self, name: impl Display) -> Weights<'a> {
        Weights { checkpoint: self.checkpoint, prefix: self.path(name) }
    }

    /// The tensor `name` here, as f32. Its shape must be exactly `shape`.
    pub fn get(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor, LoadError> {
        let (name, shape) = (self.path(name), shape.into());
        let checkpoint = self.checkpoint;
        let place = checkpoint.places.get(&name).ok_or_else(|| LoadError::Missing {
            file: checkpoint.file.clone(),
            tensor: name.clone(),
            expected: shape.dims().to_vec(),
        })?;
        let shard = &checkpoint.shards[place.shard];
        let found = &shard.get(&place.stored).expect("places point at tensors that are there").shape;
        if found != shape.dims() {
            return Err(LoadError::Shape {
                file: shard.file.clone(),
                tensor: checkpoint.describe(&name),
                expected: shape.dims().to_vec(),
                found: found.clone(),
            });
        }
        let tensor = Tensor::from_vec(shard.to_f32(&place.stored)?, shape, &Device::Cpu)?;
        checkpoint.taken.borrow_mut().insert(name);
        Ok(tensor)
    }

    /// The dense layer here, of `weight` and `bias`.
    pub fn linear(&self, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        let bias = self.get("bias", outputs)?;
        Ok(Linear::new(&self.get("weight", (outputs, inputs))?, Some(&bias))?)
    }

    /// The dense layer here, of `weight` alone.
    pub fn linear_without_bias(&self, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        Ok(Linear::new(&self.get("weight", (outputs, inputs))?, None)?)
    }

    /// Leave the tensor `name` unread, if it is here: it says again what another one said.
    pub fn skip(&self, name: &str) {
        self.checkpoint.taken.borrow_mut().insert(self.path(name));
    }

    /// Is there a tensor of this name here?
    pub fn has(&self, name: &str) -> bool {
        self.checkpoint.places.contains_key(&self.path(name))
    }

    fn path(&self, name: impl Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }
}

#[cfg(test)]
mod tests;
