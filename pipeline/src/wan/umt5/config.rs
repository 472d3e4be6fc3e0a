//! The text encoder's configuration.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::load::error::LoadError;
use crate::load::file::File;
use crate::load::model_dir::{Component, ModelDir};
use crate::load::object::{HEADS_MAX, LAYERS_MAX, Object, WIDTH_MAX};

/// `text_encoder/config.json`: UMT5.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct TextConfig {
    /// Tokens known.
    pub vocab_size: usize,
    /// Width of a state.
    pub d_model: usize,
    /// Width of a head.
    pub d_kv: usize,
    /// Width inside the feed-forward.
    pub d_ff: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Heads of attention.
    pub num_heads: usize,
    /// Rows of a table of distance biases: a multiple of 4.
    pub relative_attention_num_buckets: usize,
    /// From this distance on all share a row.
    pub relative_attention_max_distance: usize,
    /// Added to a mean square before its root is taken.
    pub layer_norm_epsilon: f64,
}

impl TextConfig {
    /// From `config.json`; UMT5-XXL where there is none, as in the original layout.
    pub fn read(dir: &ModelDir) -> Result<TextConfig, LoadError> {
        match dir.network(Component::TextEncoder)?.config {
            Some(path) => TextConfig::from_file(&dir.read(&path)?),
            None => Ok(TextConfig::umt5_xxl()),
        }
    }

    /// The published model.
    pub fn umt5_xxl() -> TextConfig {
        TextConfig {
            vocab_size: 256_384,
            d_model: 4096,
            d_kv: 64,
            d_ff: 10_240,
            num_layers: 24,
            num_heads: 64,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
        }
    }

    /// From `text_encoder/config.json`.
    pub fn from_file(file: &File) -> Result<TextConfig, LoadError> {
        TextConfig::from_object(&Object::of(file)?)
    }

    fn from_object(object: &Object) -> Result<TextConfig, LoadError> {
        object.only("model_type", &[json!("umt5")])?;
        object.only("feed_forward_proj", &[json!("gated-gelu")])?;
        let buckets = object.count("relative_attention_num_buckets", 4..=4096, Some(32))?;
        if buckets % 4 != 0 {
            let why = "a multiple of 4: half look back, and half of those are exact";
            return Err(object.wrong("relative_attention_num_buckets", why));
        }
        Ok(TextConfig {
            vocab_size: object.count("vocab_size", 1..=1 << 22, None)?,
            d_model: object.count("d_model", 1..=WIDTH_MAX, None)?,
            d_kv: object.count("d_kv", 1..=1024, None)?,
            d_ff: object.count("d_ff", 1..=1 << 18, None)?,
            num_layers: object.count("num_layers", 1..=LAYERS_MAX, None)?,
            num_heads: object.count("num_heads", 1..=HEADS_MAX, None)?,
            relative_attention_num_buckets: buckets,
            // Past the buckets that are exact, or there is nothing to space out.
            relative_attention_max_distance: object.count(
                "relative_attention_max_distance",
                buckets / 4 + 1..=1 << 20,
                Some(128),
            )?,
            layer_norm_epsilon: object.number("layer_norm_epsilon", 1e-12..=1e-2, Some(1e-6))?,
        })
    }
}

impl TryFrom<Value> for TextConfig {
    type Error = LoadError;
    fn try_from(value: Value) -> Result<TextConfig, LoadError> {
        TextConfig::from_object(&Object::new("text_encoder/config.json", value)?)
    }
}
