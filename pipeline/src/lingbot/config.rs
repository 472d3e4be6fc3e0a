//! What a model directory says about its networks and how they are run. An impossible configuration is refused here.
//!
//! Two sets of keys are read for the transformer: diffusers' and Wan's own. A model without a configuration is described by
//! its tensors.

use serde::Deserialize;
use serde_json::{Value, json};

pub use super::recipe::{CameraConfig, Lineage, MotionWindowConfig, Policy, Rays, Translation};
use crate::load::model_dir::{Component, ModelDir};
use crate::load::object::Object;
use crate::load::weights::{Checkpoint, LoadError};
use crate::wan::vae::config::VaeConfig;

/// Everything a model directory says besides its tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub transformer: TransformerConfig,
    pub vae: VaeConfig,
    pub text: TextConfig,
    pub policy: Policy,
}

/// `transformer/config.json`: the causal diffusion transformer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct TransformerConfig {
    pub num_attention_heads: usize,
    pub attention_head_dim: usize,
    pub ffn_dim: usize,
    pub num_layers: usize,
    pub text_dim: usize,
    pub freq_dim: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub eps: f64,
    /// Latent frames pinned, visible in all, and denoised together.
    pub sink_size: usize,
    pub sliding_window_num_frames: usize,
    pub num_frames_per_block: usize,
}

/// `text_encoder/config.json`: UMT5.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct TextConfig {
    pub vocab_size: usize,
    pub d_model: usize,
    pub d_kv: usize,
    pub d_ff: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    pub relative_attention_num_buckets: usize,
    pub relative_attention_max_distance: usize,
    pub layer_norm_epsilon: f64,
}

/// No network of this family comes near; and the product of any four fits 64 bits.
pub(super) const WIDTH_MAX: usize = 1 << 15;
pub(super) const HEADS_MAX: usize = 512;
pub(super) const LAYERS_MAX: usize = 512;
pub(super) const CHUNK_MAX: usize = 64;
pub(super) const WINDOW_MAX: usize = crate::world::WINDOW_FRAMES_MAX;

/// Pixels to one latent value on a side, and video frames to one latent frame after the first: what the camera condition
/// and the frame arithmetic are made for.
const SPATIAL_FACTOR: usize = 8;
const TEMPORAL_FACTOR: usize = 4;

impl ModelConfig {
    pub fn read(dir: &ModelDir) -> Result<ModelConfig, LoadError> {
        let transformer = TransformerConfig::read(dir)?;
        let vae = VaeConfig::read(dir)?;
        let text = TextConfig::read(dir)?;
        let policy = Policy::read(dir, &transformer)?;
        let agree = |component: &str, key: &str, value: usize, other: &str, needed: usize| {
            if value == needed {
                return Ok(());
            }
            Err(LoadError::Config {
                file: dir.show(component),
                key: key.to_owned(),
                value: value.to_string(),
                allowed: format!("{needed}, which is {other}"),
            })
        };
        agree("vae", "z_dim", vae.z_dim, "the transformer's out_channels", transformer.out_channels)?;
        agree("text_encoder", "d_model", text.d_model, "the transformer's text_dim", transformer.text_dim)?;
        agree(
            "vae",
            "the side of a latent value in pixels",
            vae.spatial_factor(),
            "the camera's grid",
            SPATIAL_FACTOR,
        )?;
        let frames = "what the chunk arithmetic is made for";
        agree("vae", "the video frames of a latent frame", vae.temporal_factor(), frames, TEMPORAL_FACTOR)?;
        Ok(ModelConfig { transformer, vae, text, policy })
    }
}

impl TransformerConfig {
    /// From `config.json`, or where there is none from the shapes of the tensors.
    pub fn read(dir: &ModelDir) -> Result<TransformerConfig, LoadError> {
        let files = dir.network(Component::Transformer)?;
        match &files.config {
            Some(path) => TransformerConfig::from_json(&dir.show(path), &dir.read(path)?),
            None => {
                let checkpoint = Checkpoint::open(dir, Component::Transformer)?;
                let file = dir.show(&files.folder);
                TransformerConfig::from_object(&Object::new(&file, described_by_tensors(&file, &checkpoint)?)?)
            }
        }
    }

    pub fn from_json(file: &str, json: &[u8]) -> Result<TransformerConfig, LoadError> {
        TransformerConfig::from_object(&Object::parse(file, json)?)
    }

    fn from_object(object: &Object) -> Result<TransformerConfig, LoadError> {
        let original = !object.has("num_attention_heads") && object.has("num_heads");
        let (heads_key, in_key, out_key) = if original {
            ("num_heads", "in_dim", "out_dim")
        } else {
            ("num_attention_heads", "in_channels", "out_channels")
        };
        let num_attention_heads = object.count(heads_key, 1..=HEADS_MAX, None)?;
        let attention_head_dim = if original {
            let width = object.count("dim", 1..=WIDTH_MAX, None)?;
            if width % num_attention_heads != 0 {
                return Err(object.wrong("dim", format!("a multiple of the {num_attention_heads} heads")));
            }
            width / num_attention_heads
        } else {
            object.count("attention_head_dim", 1..=1024, None)?
        };
        let width = num_attention_heads * attention_head_dim;
        if width > WIDTH_MAX {
            return Err(object.refuse("heads times head dimension", width, format!("at most {WIDTH_MAX}")));
        }
        if object.has("dim") && object.count("dim", 1..=WIDTH_MAX, None)? != width {
            let heads = format!("{num_attention_heads} heads of {attention_head_dim}");
            return Err(object.wrong("dim", format!("{width}: {heads}")));
        }
        // Rotary positions turn pairs, and give each of time, height and width at least one.
        if attention_head_dim % 2 != 0 || attention_head_dim < 6 {
            let key = if original { "dim / num_heads" } else { "attention_head_dim" };
            return Err(object.refuse(key, attention_head_dim, "even and at least 6"));
        }

        let out_channels = object.count(out_key, 1..=256, Some(16))?;
        let in_channels = object.count(in_key, 1..=1024, Some(2 * out_channels + 4))?;
        if in_channels != 2 * out_channels + 4 {
            let parts =
                format!("{}: {out_channels} noisy, 4 of mask, {out_channels} of condition", 2 * out_channels + 4);
            return Err(object.wrong(in_key, parts));
        }
        let freq_dim = object.count("freq_dim", 2..=8192, Some(256))?;
        if freq_dim % 2 != 0 {
            return Err(object.wrong("freq_dim", "even: half cosines, half sines"));
        }
        object.only("patch_size", &[json!([1, 2, 2])])?;
        // Wan's own configuration says `true` for the same thing.
        object.only("qk_norm", &[json!("rms_norm_across_heads"), json!(true)])?;
        object.only("cross_attn_norm", &[json!(true)])?;
        object.only("image_dim", &[])?;
        object.only("added_kv_proj_dim", &[])?;
        object.only("pos_embed_seq_len", &[])?;

        // Another name for the window, from before there was one.
        let local = object.has("local_attn_size") && object.only("local_attn_size", &[json!(-1)]).is_err();
        let window_key = if local { "local_attn_size" } else { "sliding_window_num_frames" };
        let config = TransformerConfig {
            num_attention_heads,
            attention_head_dim,
            ffn_dim: object.count("ffn_dim", 1..=1 << 18, None)?,
            num_layers: object.count("num_layers", 1..=LAYERS_MAX, None)?,
            text_dim: object.count("text_dim", 1..=WIDTH_MAX, Some(4096))?,
            freq_dim,
            in_channels,
            out_channels,
            eps: object.number("eps", 1e-12..=1e-2, Some(1e-6))?,
            sink_size: object.count("sink_size", 0..=WINDOW_MAX, Some(9))?,
            sliding_window_num_frames: object.count(window_key, 1..=WINDOW_MAX, Some(18))?,
            num_frames_per_block: object.count("num_frames_per_block", 1..=CHUNK_MAX, Some(3))?,
        };
        let (chunk, window) = (config.num_frames_per_block, config.sliding_window_num_frames);
        check_window(object, ["num_frames_per_block", "sink_size", window_key], chunk, config.sink_size, window)?;
        Ok(config)
    }

    /// Model width `D`.
    pub fn width(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }
}

impl TryFrom<Value> for TransformerConfig {
    type Error = LoadError;
    fn try_from(value: Value) -> Result<TransformerConfig, LoadError> {
        TransformerConfig::from_object(&Object::new("transformer/config.json", value)?)
    }
}

/// A chunk and the pinned frames fit into the window side by side.
pub(super) fn check_window(
    object: &Object,
    [chunk_key, sink_key, window_key]: [&str; 3],
    chunk: usize,
    sink: usize,
    window: usize,
) -> Result<(), LoadError> {
    if sink >= window {
        return Err(object.refuse(sink_key, sink, format!("less than {window_key}, {window}")));
    }
    if chunk > window - sink {
        let room = format!("at most {}: {window_key} {window} less {sink_key} {sink}", window - sink);
        return Err(object.refuse(chunk_key, chunk, room));
    }
    Ok(())
}

/// Wan's own keys, read off the tensors. Heads are 128 wide in every published model.
fn described_by_tensors(file: &str, checkpoint: &Checkpoint) -> Result<Value, LoadError> {
    let shape = |name: &str| {
        let absent = || LoadError::file(file, format!("no config.json, and no tensor {name} to tell the size by"));
        let shape = checkpoint.shape(name).ok_or_else(absent)?;
        match shape {
            [rows, columns, ..] => Ok((*rows, *columns)),
            _ => Err(LoadError::file(file, format!("tensor {name} has shape {shape:?}; expected two sides or more"))),
        }
    };
    let (dim, in_dim) = shape("patch_embedding.weight")?;
    if dim % 128 != 0 {
        let reason = format!("no config.json, and a width of {dim} is not a number of 128-wide heads");
        return Err(LoadError::file(file, reason));
    }
    let block = |name: &str| name.strip_prefix("blocks.")?.split_once('.')?.0.parse::<usize>().ok();
    let layers =
        checkpoint.tensors().filter_map(|(name, _)| block(name)).max().map_or(0, |last| last.saturating_add(1));
    Ok(json!({
        "dim": dim,
        "num_heads": dim / 128,
        "num_layers": layers,
        "in_dim": in_dim,
        "out_dim": shape("head.head.weight")?.0 / 4,
        "ffn_dim": shape("blocks.0.ffn.0.weight")?.0,
        "text_dim": shape("text_embedding.0.weight")?.1,
        "freq_dim": shape("time_embedding.0.weight")?.1,
    }))
}

impl TextConfig {
    /// From `config.json`; UMT5-XXL where there is none, as in the original layout.
    pub fn read(dir: &ModelDir) -> Result<TextConfig, LoadError> {
        match dir.network(Component::TextEncoder)?.config {
            Some(path) => TextConfig::from_json(&dir.show(&path), &dir.read(&path)?),
            None => Ok(TextConfig::umt5_xxl()),
        }
    }

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

    pub fn from_json(file: &str, json: &[u8]) -> Result<TextConfig, LoadError> {
        TextConfig::from_object(&Object::parse(file, json)?)
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

#[cfg(test)]
mod tests;
