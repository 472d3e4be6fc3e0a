//! The tensors that a network has, by name and shape. A checkpoint is compared with this list.

/// Names and shapes, in the order they are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorList(Vec<(String, Vec<usize>)>);

impl TensorList {
    /// One more tensor.
    pub(crate) fn add(&mut self, name: String, shape: &[usize]) {
        self.0.push((name, shape.to_vec()));
    }

    /// A weight of this shape, and the bias of its first side.
    pub(crate) fn layer(&mut self, name: String, shape: &[usize]) {
        self.add(format!("{name}.bias"), &shape[..1]);
        self.add(format!("{name}.weight"), shape);
    }

    /// Every name with its shape.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.0.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))
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
        self.0.iter().map(|(_, shape)| shape.iter().map(|&side| side as u64).product::<u64>()).sum()
    }
}

impl FromIterator<(String, Vec<usize>)> for TensorList {
    fn from_iter<T: IntoIterator<Item = (String, Vec<usize>)>>(tensors: T) -> TensorList {
        TensorList(tensors.into_iter().collect())
    }
}
