//! The tensors that a network has, by name and shape, and the type that each is computed in. A checkpoint is compared with this
//! list.

use std::collections::BTreeMap;

use ops::Compute;

/// Names and shapes, in the order they are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorList(Vec<Listed>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    name: String,
    shape: Vec<usize>,
    /// The narrowest type that it may be computed in.
    narrowest: Compute,
}

impl TensorList {
    /// One more tensor.
    pub(crate) fn add(&mut self, name: String, shape: &[usize]) {
        self.0.push(Listed { name, shape: shape.to_vec(), narrowest: Compute::F32 });
    }

    /// The weight of a dense layer, which may be computed in a type as narrow as this.
    pub(crate) fn dense(&mut self, name: String, shape: [usize; 2], narrowest: Compute) {
        self.0.push(Listed { name, shape: shape.to_vec(), narrowest });
    }

    /// As [`TensorList::dense`], with a bias.
    pub(crate) fn dense_layer(&mut self, name: String, shape: [usize; 2], narrowest: Compute) {
        self.add(format!("{name}.bias"), &shape[..1]);
        self.dense(format!("{name}.weight"), shape, narrowest);
    }

    /// A weight of this shape, and the bias of its first side.
    pub(crate) fn layer(&mut self, name: String, shape: &[usize]) {
        self.add(format!("{name}.bias"), &shape[..1]);
        self.add(format!("{name}.weight"), shape);
    }

    /// Every name with its shape.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.0.iter().map(|Listed { name, shape, .. }| (name.as_str(), shape.as_slice()))
    }

    /// The tensors that are computed in a narrower type than f32 where `compute` is asked for.
    pub(crate) fn narrow(&self, compute: Compute) -> BTreeMap<String, Compute> {
        let narrow = self.0.iter().filter(|listed| listed.narrowest.min(compute) != Compute::F32);
        narrow.map(|Listed { name, narrowest, .. }| (name.clone(), compute.min(*narrowest))).collect()
    }

    /// Bytes of all of them in memory where `compute` is asked for.
    pub fn bytes(&self, compute: Compute) -> u64 {
        let held = |Listed { shape, narrowest, .. }: &Listed| {
            let numbers = shape.iter().map(|&side| side as u64).product::<u64>();
            let outputs = shape.first().map_or(1, |&side| side as u64).max(1);
            compute.min(*narrowest).weight_bytes(outputs, numbers / outputs)
        };
        self.0.iter().map(held).sum()
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Numbers in all of them.
    pub fn parameters(&self) -> u64 {
        self.iter().map(|(_, shape)| shape.iter().map(|&side| side as u64).product::<u64>()).sum()
    }
}

impl FromIterator<(String, Vec<usize>)> for TensorList {
    fn from_iter<T: IntoIterator<Item = (String, Vec<usize>)>>(tensors: T) -> TensorList {
        let listed = |(name, shape)| Listed { name, shape, narrowest: Compute::F32 };
        TensorList(tensors.into_iter().map(listed).collect())
    }
}
