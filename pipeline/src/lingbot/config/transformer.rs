//! The transformer's configuration.
//!
//! Two sets of keys are read: diffusers' and Wan's own. A transformer without a configuration is described by its
//! tensors.

use kvcache::KvShape;
use ops::Device;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::load::error::LoadError;
use crate::load::file::File;
use crate::load::model_dir::{Component, ModelDir};
use crate::load::object::{HEADS_MAX, LAYERS_MAX, Object, WIDTH_MAX};
use crate::load::weights::Checkpoint;

/// `transformer/config.json`: the causal diffusion transformer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct TransformerConfig {
    /// Heads of attention.
    pub num_attention_heads: usize,
    /// Width of a head: even, and at least 6.
    pub attention_head_dim: usize,
    /// Width inside the feed-forward.
    pub ffn_dim: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Width of the text encoder's states.
    pub text_dim: usize,
    /// Cosines and sines that the time is told as: even.
    pub freq_dim: usize,
    /// Latent channels that go in: noisy, 4 of mask, condition.
    pub in_channels: usize,
    /// Latent channels that come out.
    pub out_channels: usize,
    /// Added to a variance or mean square before its root is taken.
    pub eps: f64,
    /// Latent frames pinned.
    pub sink_size: usize,
    /// Latent frames visible in all.
    pub sliding_window_num_frames: usize,
    /// Latent frames denoised together.
    pub num_frames_per_block: usize,
    /// The very first latent frame is a chunk of its own.
    pub independent_first_frame: bool,
}

pub(in crate::lingbot) const CHUNK_MAX: usize = 64;
pub(in crate::lingbot) const WINDOW_MAX: usize = crate::world::WINDOW_FRAMES_MAX;

impl TransformerConfig {
    /// What a rollout remembers of latent frames of so many tokens, on this device.
    pub fn remembers(&self, tokens: usize, device: &Device) -> KvShape {
        let packed = device.keeping().packs_history;
        KvShape { layers: self.num_layers, tokens, heads: self.num_attention_heads, packed }
    }

    /// From `config.json`, or where there is none from the shapes of the tensors.
    pub fn read(dir: &ModelDir) -> Result<TransformerConfig, LoadError> {
        let files = dir.network(Component::Transformer)?;
        match &files.config {
            Some(path) => TransformerConfig::from_file(&dir.read(path)?),
            None => {
                let checkpoint = Checkpoint::open(dir, Component::Transformer)?;
                let file = dir.show(&files.folder);
                TransformerConfig::from_object(&Object::new(&file, described_by_tensors(&file, &checkpoint)?)?)
            }
        }
    }

    /// From `transformer/config.json`.
    pub fn from_file(file: &File) -> Result<TransformerConfig, LoadError> {
        TransformerConfig::from_object(&Object::of(file)?)
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
            independent_first_frame: object.flag("independent_first_frame", false)?,
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
pub(in crate::lingbot) fn check_window(
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
