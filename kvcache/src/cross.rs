//! The keys and values that cross-attention reads: one prompt's, for every layer.
//!
//! A value, not a cache to be kept fresh: another prompt is another `CrossKvCache`.

use candle_core::Tensor;

/// Keys and values of one prompt, `(text length, D)` each, layer by layer.
#[derive(Debug, Clone)]
pub struct CrossKvCache {
    layers: Vec<(Tensor, Tensor)>,
}

impl CrossKvCache {
    pub fn new(layers: Vec<(Tensor, Tensor)>) -> CrossKvCache {
        CrossKvCache { layers }
    }

    pub fn keys(&self, layer: usize) -> &Tensor {
        &self.layers[layer].0
    }

    pub fn values(&self, layer: usize) -> &Tensor {
        &self.layers[layer].1
    }

    pub fn bytes(&self) -> u64 {
        let block = |t: &Tensor| (t.elem_count() * t.dtype().size_in_bytes()) as u64;
        self.layers.iter().map(|(keys, values)| block(keys) + block(values)).sum()
    }
}
