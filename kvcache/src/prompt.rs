//! The keys and values that attention to the prompt reads: one prompt's, for every layer.
//!
//! A value, not a cache to be kept fresh: another prompt is another `PromptKvCache`.

use ops::{Result, Tensor};

/// Keys and values of one prompt, `(text length, D)` each, layer by layer.
#[derive(Debug, Clone)]
pub struct PromptKvCache {
    layers: Vec<(Tensor, Tensor)>,
}

impl PromptKvCache {
    /// `layers`: keys and values of every layer, in order.
    pub fn new(layers: Vec<(Tensor, Tensor)>) -> PromptKvCache {
        PromptKvCache { layers }
    }

    /// The keys of `layer`: `(text length, D)`.
    pub fn keys(&self, layer: usize) -> &Tensor {
        &self.layers[layer].0
    }

    /// The values of `layer`: `(text length, D)`.
    pub fn values(&self, layer: usize) -> &Tensor {
        &self.layers[layer].1
    }

    /// What `of` makes of every layer's keys, and of its values.
    pub fn map(&self, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<PromptKvCache> {
        let layers = self.layers.iter().map(|(keys, values)| Ok((of(keys)?, of(values)?)));
        Ok(PromptKvCache { layers: layers.collect::<Result<_>>()? })
    }

    /// Bytes held, all layers together.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|(keys, values)| keys.bytes() + values.bytes()).sum()
    }
}
